"""The names of the files in a run folder (see ``ranktag.training.run_folder``) and in a sweep's."""

from __future__ import annotations

# As ``ranktag.models.checkpoint`` has it, which needs torch.
MODEL_FILE = "model.pt"
CONFIG_FILE, HISTORY_FILE, STATE_FILE, CURVES_FILE = "config.json", "history.csv", "state.pt", "curves.png"
MISSING_FILE = "missing.csv"
EVENT_FILES = "events.out.tfevents.*"
LOCK_FILE = ".lock"

RUN_FILES = (MODEL_FILE, CONFIG_FILE, HISTORY_FILE, STATE_FILE, CURVES_FILE, MISSING_FILE)
# What a new run replaces: event files of an old one would be shown with its own.
REPLACED = (*RUN_FILES, EVENT_FILES)

# Of a sweep (see ``ranktag.training.sweep``).
SWEEP_FILE, TABLE_FILE, TRAININGS_FILE, POINTS_FOLDER = "sweep.json", "sweep.csv", "trainings.csv", "points"

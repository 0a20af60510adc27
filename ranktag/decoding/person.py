"""Whose lists are to be written: a person whom the models know, or one who is taken as the mean of those they know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranktag.errors import Usage
from ranktag.models.baselines._shared import Baseline
from ranktag.models.checkpoint import Checkpoint


def notes_on_person(
    person: str | None, checkpoints: Sequence[Checkpoint], runs: Sequence[str | Path] = ()
) -> list[str]:
    """A sentence where a model does not know the person, who is taken as the mean of people then.

    runs: of the checkpoints, to be named. Raises Usage for a model that tells no people apart.
    """
    if person is None:
        return []
    notes = []
    for number, checkpoint in enumerate(checkpoints):
        name = runs[number] if runs else "the model"
        model = checkpoint.model
        if isinstance(model, Baseline) or not model.people:
            raise Usage(
                f"--person {person}: {name} tells no people apart; train one with --model every-step or initial-state "
                "and --person-embedding, or leave it out"
            )
        if person not in model.people:
            shown = ", ".join(f"'{one}'" for one in model.people[:5]) + (", ..." if len(model.people) > 5 else "")
            notes.append(
                f"{name} does not know '{person}', who is taken as the mean of the {len(model.people):,} people that "
                f"it knows: {shown}"
            )
    return notes

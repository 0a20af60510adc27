"""Modules that somebody adds, and the real commands run where they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from outcome import Outcome

TINY = '''"""A tiny network: 24 filters, averaged over the image."""
from ranktag.features.backbone import Backbone
from ranktag.images.pixels import Preprocessing

def build():
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 24, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

BACKBONE = Backbone(
    name="tiny", layers={"pool": 24}, layer="pool", build=build, cut=lambda network, layer: network,
    preprocessing=Preprocessing(40, 32, "bicubic", mean=(0.5, 0.4, 0.3), std=(0.25, 0.25, 0.5)),
)
'''

# In a process of its own: the commands look at what there is when they are imported.
SCRIPT = """
import contextlib, importlib, io, json, sys

folders, calls = json.loads(sys.argv[1])
for package, folder in folders.items():
    importlib.import_module(package).__path__.append(folder)

from ranktag.pipelines import cli
from ranktag.pipelines.shared.running import run

outcomes = []
for call in calls:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(cli.group, "ranktag", call)
    outcomes.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(outcomes))
"""


def run_with(folders: Mapping[str, Path], calls: Sequence[Sequence[object]]) -> list[Outcome]:
    """Run commands, one after the other, where the modules of folders have joined packages: package -> folder."""
    argument = json.dumps(
        [{package: str(folder) for package, folder in folders.items()}, [[str(a) for a in call] for call in calls]]
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, argument], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(*outcome) for outcome in json.loads(done.stdout.splitlines()[-1])]

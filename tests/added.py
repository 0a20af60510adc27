"""Modules that somebody adds, and the real commands run where they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from outcome import Outcome

README = Path(__file__).parents[1] / "README.md"


def of_readme(path: str) -> str:
    """The module that the README shows as ``path`` (below "Extending")."""
    _, _, behind = README.read_text(encoding="utf-8").partition(f"`{path}`")
    code = re.search(r"```python\n(.*?)```", behind, re.DOTALL)
    assert code, f"README.md shows no {path}"
    return code[1]


TINY = of_readme("ranktag/features/backbones/tiny.py")

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

"""What the commands of stage two do without: what they import is waited for at every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from making import make_data, tiny

from ranktag.training.train import train

# The seconds were measured beside the import of torch, which all of them need.
NEEDLESS = {
    "torch._dynamo",  # 1.2 s; to draw random numbers on the meta device imports it
    "torchvision",
    "pandas",
    "matplotlib",
    "PIL",
    "jinja2",
    "sympy",
    "scipy",
}


def imported(*arguments: object) -> set[str]:
    """The modules that are imported when a command has ended."""
    script = "import sys\nfrom ranktag.pipelines.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
    script += "    assert not end.code, end.code\nprint(*sys.modules, file=sys.stderr)"
    # Not the repository, whose folder ranktag/ python -c would take for the installed package.
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("model", ["every-step", "initial-state"])
def test_training_and_export_import_nothing_that_they_do_without(tmp_path: Path, model: str) -> None:
    cache, tags = make_data(tmp_path)
    run = tmp_path / "run"
    train(cache, tags, run, tiny(model=model, members=2, epochs=1, head=0.5))
    for decoder in ("greedy", "mbr"):
        found = imported("export-tags", cache, "--model", run, "-o", tmp_path / f"{decoder}.csv", "--decode", decoder)
        assert "torch" in found and not NEEDLESS & found
    sizes = ("--hidden", 8, "--projection", 8, "--members", 1, "--epochs", 1)
    assert not NEEDLESS - {"matplotlib", "PIL"} & imported(
        "train-from-cache", cache, tags, "-o", tmp_path / "2", *sizes
    )

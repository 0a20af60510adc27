"""A baseline is one module: put into the folder, it is trained, exported and evaluated by its name."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from added import of_readme
from making import make_data

from ranktag.tags.predictions import read_predictions

MODULE = of_readme("ranktag/models/baselines/rare_first.py")
# Runs one command after another in a process in which the folder is one of those of the baselines.
COMMANDS = """
    import json, sys
    import ranktag.models.baselines as baselines
    baselines.__path__.append(sys.argv[1])
    from ranktag.pipelines import cli
    for arguments in json.loads(sys.argv[2]):
        assert cli.run(cli.group, "ranktag", arguments) == 0, arguments
"""


def test_a_module_in_the_folder_is_a_baseline(tmp_path: Path) -> None:
    cache, tags = make_data(tmp_path)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines/rare_first.py").write_text(MODULE)
    run, predictions, report = (str(tmp_path / name) for name in ("run", "p.csv", "report"))
    commands = [
        ["train-from-cache", str(cache), str(tags), "-o", run, "--model", "rare-first"],
        ["train-from-cache", str(cache), str(tags), "-o", run, "--model", "rare-first", "--resume", "--quiet"],
        ["export-tags", str(cache), "--model", run, "-o", predictions, "--num-tags", "3"],
        ["evaluate", predictions, str(tags), "-o", report, "--resamples", "0"],
        ["train-from-cache", "--help"],
    ]
    script = [sys.executable, "-c", textwrap.dedent(COMMANDS), str(tmp_path / "baselines"), json.dumps(commands)]
    # Not the repository, whose folder ranktag/ python -c would take for the installed package.
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    said = "rare-first on 21 train, 6 val, 3 test images, 21 training lists, 6 tags\n"
    assert (done.returncode, done.stderr) == (0, said), done
    # Help is wrapped at hyphens, too.
    assert "first (the same list for every image, rare tags first)" in " ".join(done.stdout.split())
    assert {len(ranked) for ranked in read_predictions(Path(predictions)).values()} == {3}
    assert json.loads((tmp_path / "report/metrics.json").read_text())["rows"][0]["images"] == 3  # the test images

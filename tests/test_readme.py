"""The README's Python page runs as it stands, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ranktag.pipelines import cli

README = Path(__file__).parent.parent / "README.md"


def test_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, behind = README.read_text(encoding="utf-8").partition("## From Python\n")
    (page,) = re.findall(r"```python\n(.*?)```", behind.partition("\n## ")[0], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(page, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "40 images, 0 failed"
    assert "alphabetical" in "\n".join(printed) and len([line for line in printed if ".jpg" in line]) == 5
    assert (tmp_path / "mine.h5").is_file()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^python3 -m venv .*pytest.*$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 1


@pytest.mark.parametrize("name", [n for n in cli.COMMANDS if n not in ("pascal2007", "labelme")])
def test_every_command_is_in_the_readme(name: str) -> None:
    assert name in README.read_text(encoding="utf-8")

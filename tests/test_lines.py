"""No line of code is over 120 characters: the linter excepts those that end with a pragma, and reads Python alone."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_line_is_over_120_characters() -> None:
    files = [
        path
        for folder in ("ranktag", "pipelines", "tests")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".pyi", ".c", ".js", ".css")
    ]
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 120
    ]
    assert len(files) > 100 and long == []

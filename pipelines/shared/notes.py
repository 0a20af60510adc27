"""What a command was told of its files, on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from ranktag.errors import RanktagWarning, one_line


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Within it, a ``RanktagWarning`` is a line on stderr, each sentence once; other warnings are as they were."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RanktagWarning)
        others, said = warnings.showwarning, set[str]()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, RanktagWarning):
                others(message, category, filename, lineno, file, line)
            elif str(message) not in said:
                said.add(str(message))
                click.echo(one_line(str(message)), err=True)

        warnings.showwarning = show
        yield

"""An evaluation as two LaTeX tables, to be put into a paper: the scores, and the differences between rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ranktag.errors import one_line
from ranktag.evaluation.report.text import about_p, difference_table, score_table, title
from ranktag.evaluation.results import EvaluationReport

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def to_latex(report: EvaluationReport) -> str:
    """Two environments ``tabular`` that need no package, with what they show in comments above them."""
    parts = [f"% {one_line(title(report))}", _tabular(score_table(report))]
    if report.differences:
        explained = about_p(report)
        parts += [*([f"% {explained}"] if explained else []), _tabular(difference_table(report))]
    return "\n".join(parts) + "\n"


def _tabular(table: Sequence[Sequence[str]]) -> str:
    lines = [" & ".join(map(_cell, row)) + r" \\" for row in table]
    head = [r"\begin{tabular}{l" + "r" * (len(table[0]) - 1) + "}", r"\hline", lines[0], r"\hline"]
    return "\n".join([*head, *lines[1:], r"\hline", r"\end{tabular}"])


def _cell(text: str) -> str:
    """Text as LaTeX sets it: its special characters, and the signs of numbers in mathematics."""
    escaped = "".join(_SPECIAL.get(c, c) for c in text)
    # A cell that begins with a bracket would be taken for an argument of the line before it.
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", escaped)

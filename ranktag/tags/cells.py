"""Cells of tables: what people, spreadsheets and pandas put where a list of tags, or an image's name, is meant.

A cell that cannot be meant is a ``BadCell``; whoever reads the table lists its row, or
refuses the table.
"""

from __future__ import annotations

import ast
import re

# How pandas, numpy and databases write that there is nothing.
MISSING = frozenset(("nan", "NaN", "None", "<NA>", "NaT", "NULL", "null", "#N/A", "N/A"))
_ERROR = re.compile(r"#(NAME\?|REF!|VALUE!|DIV/0!|NUM!|NULL!|SPILL!|CALC!|#{2,})")
# A text in quotes, as Python, numpy and JSON write it, and what may stand between two of them.
_QUOTED = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*(,?)""", re.DOTALL)
# Every list holds one, and few other cells do.
_BRACKET = re.compile(r"[\[({]")
_LIST = re.compile(r"\s*(?:\[\s*\]|[\[(]\s*[\"'].*[\])])\s*", re.DOTALL)
_BEGUN = re.compile(r"\s*\[\s*[\"'][^|]*", re.DOTALL)
_OTHER_LIST = re.compile(r"\s*(?:array\s*\(|Index\s*\(|(?:frozen)?set\s*\(|\{\s*[\"']).*[)}]\s*", re.DOTALL)
_WITHOUT_QUOTES = re.compile(r"\s*\[[^\[\]]*,[^\[\]]*\]\s*", re.DOTALL)
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATE = re.compile(rf"\d{{1,2}}-{_MONTH}(?:-\d{{2,4}})?|{_MONTH}-\d{{2}}")


class BadCell(Exception):
    """A cell that cannot be used; the message says why, as the end of a sentence that begins with its place."""


def is_missing_text(cell: str) -> bool:
    """Whether a cell is empty, or says that there is nothing ('nan', 'None')."""
    stripped = cell.strip()
    return not stripped or stripped in MISSING


def tags_of_cell(cell: str, separator: str) -> list[str]:
    """The tags of a cell: text joined by ``separator``, or a list as Python, numpy or JSON writes it.

    ``['cat', 'dog']`` is two tags whatever the separator; a cell that says 'nan' or
    'None' is none. Raises BadCell for a list that cannot be read, a set, which has no
    order, and a spreadsheet's error.
    """
    if is_missing_text(cell):
        return []
    if _ERROR.fullmatch(cell.strip()):
        raise BadCell(f"holds '{cell.strip()[:20]}', which a spreadsheet wrote in place of its tags")
    if not _BRACKET.search(cell):
        return cell.split(separator)
    if _LIST.fullmatch(cell):
        return _quoted(cell)
    if _BEGUN.fullmatch(cell):
        raise BadCell(f"holds {cell.strip()[:40]}, a list that does not end; was the cell cut short?")
    if _OTHER_LIST.fullmatch(cell):
        raise BadCell(f"holds {cell.strip()[:40]}, of which the tags' order is not known; write a list, ['a', 'b']")
    # With another separator than the comma this would be one tag, with it the brackets would be tags' letters.
    if _WITHOUT_QUOTES.fullmatch(cell) and (separator == "," or separator not in cell):
        raise BadCell(f"holds {cell.strip()[:40]}, a list without quotes; write ['a', 'b'], or a|b")
    return cell.split(separator)


def is_list_cell(cell: str) -> bool:
    """Whether a cell is read as more than text joined by a separator (see ``tags_of_cell``)."""
    return bool(_BRACKET.search(cell)) and any(
        form.fullmatch(cell) for form in (_LIST, _BEGUN, _OTHER_LIST, _WITHOUT_QUOTES)
    )


def has_other_meaning(cell: str) -> bool:
    """Whether text that is meant as it stands would be read as something else (see ``tags_of_cell``)."""
    return bool(cell.strip() in MISSING or _ERROR.fullmatch(cell.strip()) or is_list_cell(cell))


def checked_image_id(cell: str) -> str:
    """An image id, stripped. Raises BadCell where there is none, or what a spreadsheet or pandas made of one."""
    image_id = cell.strip()
    if is_missing_text(image_id):
        raise BadCell("names no image")
    if _ERROR.fullmatch(image_id):
        raise BadCell(f"names no image: a spreadsheet wrote '{image_id[:20]}' in place of it")
    if re.fullmatch(r"\d+\.0|\d(?:[.,]\d+)?E\+\d+", image_id):
        raise BadCell(f"calls its image '{image_id}', which a program made of a number; keep the column as text")
    if _DATE.fullmatch(image_id):
        raise BadCell(f"calls its image '{image_id}', a date that a spreadsheet made of it; keep the column as text")
    return image_id


def looks_like_a_date(tag: str) -> bool:
    """Whether a tag is what a spreadsheet makes of words such as 1-2 and MAR5."""
    return bool(_DATE.fullmatch(tag))


def _quoted(cell: str) -> list[str]:
    """The texts of a list; numpy writes no comma between them."""
    inside = cell.strip()[1:-1].strip()
    texts, place = [], 0
    while place < len(inside):
        match = _QUOTED.match(inside, place)
        if match is None:
            raise BadCell(f"holds {cell.strip()[:40]}, a list of which more than texts in quotes is there, or less")
        texts.append(_text(match[1], cell))
        place = match.end()
    return texts


def _text(quoted: str, cell: str) -> str:
    try:
        text = ast.literal_eval(quoted)
    except (ValueError, SyntaxError):
        raise BadCell(f"holds {cell.strip()[:40]}, a list that cannot be read") from None
    return str(text)

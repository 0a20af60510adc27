"""CSV tables: what was written is read, and what is wrong is named with its line."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ranktag.errors import RanktagError
from ranktag.files.tables import guard_formula, read_header, read_table, unguard_formula, write_table

# Every character that UTF-8 can hold but NUL: quotes, newlines, formula signs and separators among them.
CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("=+-@'\"\t\r\n,;|\u2028\x85\ufeff"),
    max_size=8,
)


def refused(path: Path, *words: str, required: tuple[str, ...] = ("a", "b"), optional: tuple[str, ...] = ()) -> None:
    with pytest.raises(RanktagError) as error:
        list(read_table(path, required, optional))
    for word in (str(path), *words):
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=6))
@example([("\r", "", ""), ("'=", "''+", "'"), ("\ufeff", "\x85", "\u2028")])
@example([("=1+1", "\t=x", "\r\n")])
def test_round_trip(rows: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_table(path, ("a", "b", "c"), rows)
        # A spreadsheet writes rows of nothing behind a table.
        there = [row for row in rows if any(guard_formula(cell).strip() for cell in row)]
        assert [tuple(cells) for _, cells in read_table(path, ("a", "b", "c"))] == there
        assert read_header(path) == ["a", "b", "c"]


@given(CELL)
def test_a_spreadsheet_sees_no_formula(cell: str) -> None:
    guarded = guard_formula(cell)
    assert not guarded.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguard_formula(guarded) == cell


def test_numbers_are_written_as_they_are() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_table(path, ("a", "b"), [(-1, None), (2.5, "-1")])
        assert path.read_text() == "a,b\n-1,\n2.5,'-1\n"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_any_line_ending_with_or_without_a_byte_order_mark(tmp_path: Path, ending: str, mark: str) -> None:
    path = write(tmp_path, mark + ending.join(["b,other,a", "1,x,2", "", "3,y,4", ""]))
    assert list(read_table(path, ("a", "b"))) == [(2, ["2", "1"]), (4, ["4", "3"])]


def test_columns_are_found_by_name_and_an_optional_one_may_be_missing(tmp_path: Path) -> None:
    path = write(tmp_path, " b ,a\n1,2\n")
    assert list(read_table(path, ("a",), ("c", "b"))) == [(2, ["2", "", "1"])]


def test_lines_are_counted_through_quoted_newlines(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,b\n"1\n2\n3",x\n4,y\n\n"5\r\n6",z\n7\n')
    rows = read_table(path, ("a", "b"))
    assert [next(rows) for _ in range(3)] == [(2, ["1\n2\n3", "x"]), (5, ["4", "y"]), (7, ["5\r\n6", "z"])]
    with pytest.raises(RanktagError, match="line 9 has 1 cells, the header has 2"):
        next(rows)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty", "a,b"]),
        ("\n\n", ["is empty"]),
        ("\ufeff", ["is empty"]),
        ("a,c\n", ["no column 'b'", "'a', 'c'", "ranktag prepare csv"]),
        ("A,B\n", ["no column 'a'", "'A', 'B'"]),
        ("a;c\n1;2\n", ["no column 'b'", "'a', 'c'"]),
        ("a,b,b.1\n1,2,3\n", ["'b' and 'b.1'", "there twice"]),
        ("a,b,a\n", ["names the column 'a' twice"]),
        ("a,b\n1,2\n1,2,3\n", ["line 3 has 3 cells, the header has 2"]),
        ("a,b\n1\n", ["line 2 has 1 cells"]),
        ('a,b\n1,"2\n3,4\n', ["line", "quotes"]),
        ('a,b\n1,"2"x\n', ["line 2", "quotes"]),
        (b"a,b\n1,2\n1,\0\n", ["line 3 holds a NUL byte"]),
        # Russian, Japanese and a Macintosh's French are not read as if they were Windows-1252.
        ("a,b\n1,\u0441\u043e\u0431\u0430\u043a\u0430\n".encode("cp1251"), ["is not UTF-8", "0xf1"]),
        ("a,b\n1,\u72ac\u3068\u732b\n".encode("shift-jis"), ["is not UTF-8"]),
        ("a,b\n1,caf\u00e9\n".encode("mac-roman"), ["is not UTF-8"]),
        (b"\xff\xfea\0,\0b\0\n\0\xd8", ["begins as UTF-16"]),
        (b"\x89PNG\r\n\x1a\n\0\0", ["is not UTF-8"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    refused(write(tmp_path, content), *words)


SPREADSHEET = 'image,Keyword 1,Keyword 2\na.jpg,caf\u00e9,\u201cna\u00efve\u201d\nb.jpg,="007",\n,,\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SPREADSHEET.encode(), ""),
        (SPREADSHEET.encode("utf-8-sig"), ""),
        (SPREADSHEET.encode("cp1252"), "is not UTF-8, read as Windows-1252 ('caf\u00e9')"),
        (SPREADSHEET.encode("utf-16"), "is UTF-16"),
        (SPREADSHEET.encode("utf-16-be"), "is UTF-16"),  # without a mark
        (SPREADSHEET.replace(",", "\t").encode("utf-16"), "tabs"),  # Excel's "Unicode text"
        (SPREADSHEET.replace(",", ";").replace("\n", "\r\n").encode("cp1252"), "semicolons"),  # Excel in Europe
        (b"sep=;\r\n" + SPREADSHEET.replace(",", ";").encode(), ""),
        (b'\xef\xbb\xbf"sep=|"\n' + SPREADSHEET.replace(",", "|").encode(), ""),
        (SPREADSHEET.replace("\n", ",,\n").encode(), ""),  # columns that somebody emptied
    ],
)
def test_what_spreadsheets_save_is_read(tmp_path: Path, content: bytes, said: str) -> None:
    path = write(tmp_path, content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = [cells for _, cells in read_table(path, ("image",), several="Keyword*")]
    assert rows == [["a.jpg", "caf\u00e9", "\u201cna\u00efve\u201d"], ["b.jpg", "007", ""]]
    told = [str(warning.message) for warning in caught]
    assert any(said in text for text in told) if said else not told


def test_an_encoding_that_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1,\u0441\u043e\u0431\u0430\u043a\u0430\n".encode("cp1251"))
    rows = read_table(path, ("b",), encoding="cp1251")
    assert list(rows) == [(2, ["\u0441\u043e\u0431\u0430\u043a\u0430"])]
    for encoding, word in (
        ("ascii", "is not ascii text"),
        ("martian", "none that Python"),
        ("zlib", "none that Python"),
    ):
        with pytest.raises(RanktagError, match=word):
            list(read_table(path, ("b",), encoding=encoding))


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ("x.jpg", [3]),
        ("x.jpg,1,2", [3]),
        ('x.jpg,"dog', [3]),
        ('x.jpg,"dog"gy', [3]),
        ("x\0.jpg,dog", [3]),
        ('x.jpg,"dog\ny.jpg,cat"', [3]),  # one cell, as the quotes say
        ('x.jpg,"dog\n' + 2000 * "long,row\n", [3]),  # a quote that is never closed
        ('x.jpg,"two\nlines"', []),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_read(tmp_path: Path, row: str, lines: list[int]) -> None:
    path, bad = write(tmp_path, f"a,b\na.jpg,1\n{row}\nz.jpg,2\n"), []
    read = [cells for _, cells in read_table(path, ("a", "b"), bad=lambda line, reason: bad.append(line))]
    assert read[0] == ["a.jpg", "1"] and read[-1] == ["z.jpg", "2"] and bad == lines
    if lines:
        refused(path, "line 3")


def test_a_column_named_twice_is_no_matter_if_it_is_not_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,x,x\n1,2,3,4\n")
    assert list(read_table(path, ("a", "b"))) == [(2, ["1", "2"])]
    refused(path, "'x' twice", optional=("x",))


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    refused(tmp_path / "missing.csv", "no such file")
    refused(tmp_path, "is a folder")
    with pytest.raises(RanktagError, match="no such file"):
        read_header(tmp_path / "missing.csv")


def test_cells_longer_than_the_csv_modules_limit_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n" + "x" * 300_000 + ",2\n")
    assert len(next(read_table(path, ("a", "b")))[1][0]) == 300_000


def test_rows_that_cannot_be_made_leave_the_old_table(tmp_path: Path) -> None:
    path = write(tmp_path, "old")

    def rows() -> object:
        yield ("1", "2")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_table(path, ("a", "b"), rows())  # type: ignore[arg-type]
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@given(
    st.binary(max_size=80)
    | st.text(st.sampled_from("ab,\"\n\r;|='"), max_size=40).map(lambda t: ("a,b\n" + t).encode())
)
def test_whatever_the_bytes_only_the_projects_own_error_is_raised(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        message = ""
        try:
            list(read_table(path, ("a", "b")))
        except RanktagError as error:
            message = str(error)
        assert "\n" not in message

"""One module a format of predictions; the file's name is the format's name, ``--format NAME``.

``export-tags``, ``ranktag tag`` and ``ranktag.decode`` know them all. A writer holds two things:

- its docstring, whose first line says in the help of ``--format`` what the format is;
- ``write(images: Iterable[PredictedImage], file: TextIO) -> None``, which writes them
  to an open UTF-8 text file, one after the other as they come.

Text that is for people to read is put on one line with ``ranktag.errors.one_line``; cells
of CSV are written with ``ranktag.files.tables.write_rows``.
"""

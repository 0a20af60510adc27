"""One module a format of annotations; the file's name is the format's name: ``ranktag prepare NAME SOURCE``.

A reader holds two things:

- its docstring, which is the help page of ``ranktag prepare NAME --help``;
- ``read(source: Path, config: ReaderConfig) -> TagListBuilder``. Where the argument
  is called ``sources`` (``Sequence[Path]``), the command takes several. The type of
  ``config``, ``ReaderConfig`` or a subclass of it in the same module, holds the
  reader's settings: each becomes an option of the command.

A file that cannot be used is listed (``TagListBuilder.skip``) and the others are read;
what cannot be read at all is a RanktagError. Nothing heavy is imported at the top.
``ranktag.tags.annotations`` has what readers share:

- ``files.files_below`` finds annotation files and leaves hidden ones out, ``files.refuse_copy``
  knows ``a (1).xml`` beside ``a.xml``;
- ``image_names.Photos`` finds the photo that an annotation is of, where photos are there;
- ``TagListBuilder.add(..., file=..., scope=...)`` says from which file a list is, so that two
  files of one image are never taken for two people;
- ``rows.Rows`` lists bad rows of a table; ``ranktag.files.tables.read_table`` reads one as
  spreadsheets save it, ``ranktag.tags.cells`` reads its cells;
- ``tests/tags/readers/test_faults.py`` tries what archives and spreadsheets do to files on every
  reader: add a row.
"""

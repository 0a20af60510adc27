"""One module a format of annotations; the file's name is the format's name: ``ranktag prepare NAME SOURCE``.

A reader holds two things:

- its docstring, which is the help page of ``ranktag prepare NAME --help``;
- ``read(source: Path, config: ReaderConfig) -> TagListBuilder``. Where the argument
  is called ``sources`` (``Sequence[Path]``), the command takes several. The type of
  ``config``, ``ReaderConfig`` or a subclass of it in the same module, holds the
  reader's settings: each becomes an option of the command.

A file that cannot be used is listed (``TagListBuilder.skip``) and the others are read;
what cannot be read at all is a RanktagError. Nothing heavy is imported at the top.
``ranktag.tags.annotations`` has what readers share.
"""

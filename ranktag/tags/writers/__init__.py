"""One module a format of predictions; the file's name is the format's name, ``--format NAME``.

``export-tags``, ``ranktag tag`` and ``ranktag.decode`` know them all. A writer holds two things:

- its docstring, whose first line says in the help of ``--format`` what the format is;
- a function that writes the images one after the other as they come. Its name says to what
  (``images`` is an ``Iterable[PredictedImage]``, ``output`` an ``Output``, see ``ranktag.tags.outputs``):

      write(images, file: TextIO)                 one UTF-8 text file, or what is printed
      write_file(images, path: Path, output)      one file of another kind, at a temporary path
      write_folder(images, folder: Path, output)  the files that the module's ``FILES`` name (patterns),
                                                  in an empty folder from which they are moved together
      write_beside(images, output)                a file beside each photo: ``output.beside(image, ".txt")``
                                                  says where, ``output.image(image)`` counts what fails

  ``output.image(image)`` serves the others as well. ``PHOTOS = True`` says that a format makes use of
  ``--photos`` (``output.photo(image)``), as those beside photos do anyhow.
  A last parameter ``config: CONFIG``, of a ``ranktag.config.Config`` of its own, gives the format options.
  A function ``check(config: CONFIG)`` raises RanktagError, before anything is computed, for what can be seen then.

Text that is for people to read is put on one line with ``ranktag.errors.one_line``; cells
of CSV are written with ``ranktag.files.tables.write_rows``.
"""

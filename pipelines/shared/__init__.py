"""What the commands share.

A command is made with the class ``Command``, which gives it ``--json`` and ``--log-file``,
and returns a ``Report``, which is shown as text or as JSON:

    @click.command(cls=Command)
    @click.argument("images", type=FilePath)
    @quiet_option
    def command(images: Path, quiet: bool) -> Report:
        '''The help.'''
        found = do_the_work(images, progress(quiet))
        return Report(
            {"output": found.path, "images": found.images},           # --json; plain values, paths, NaN
            [] if quiet else [f"{count(found.images, 'image')}: {found.path}"],  # lines of stdout
            code=1 if found.failed else 0,
        )

Stdout is for results, the lines of the report; what is said on the way is progress and goes to
stderr (``progress(quiet).note``, ``click.echo(..., err=True)``). With ``--json`` stdout holds one
object at the end: the report's facts, and ``command``, ``exit_code`` and ``seconds``; a call that
fails gives ``error`` (the error's ``code``, see ``ranktag.errors``) and ``message`` instead.
Whatever else is printed on stdout then goes to stderr. Where results are printed as they come
(``ranktag tag``), ask ``as_json()`` first.

``running`` runs a command and turns what it raises into a line and an exit code, ``console`` is
where its words go, ``options`` makes click's options from the settings in ``ranktag.config``.
"""

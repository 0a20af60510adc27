"""The epochs of a training for TensorBoard."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from ranktag.errors import NotInstalled
from ranktag.files.atomic import blaming
from ranktag.training.history import Epoch
from ranktag.training.names import EVENT_FILES
from ranktag.training.run_folder import RunFolder


class EventWriter:
    """A TensorBoard event file in the run folder, on disk as of every ``write``.

    Raises RanktagError where TensorBoard is not installed.

    Records are put into the file here, not by TensorBoard's EventFileWriter (which torch's SummaryWriter uses):
    that writes in a thread. Measured with TensorBoard 2.21 on a full disk, the thread printed a traceback of its own
    beside the command's one line, and the error it passed on named no file.
    """

    def __init__(self) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ModuleNotFoundError:
            raise NotInstalled(
                "--tensorboard: TensorBoard is not installed; install it with pip install 'ranktag[tensorboard]'"
            ) from None
        self._event, self._summary, self._records = event_pb2, summary_pb2.Summary, RecordWriter
        self._file: IO[bytes]

    @contextmanager
    def begun(self, folder: RunFolder, epochs: Sequence[Epoch]) -> Iterator[None]:
        """Within, there is a file that holds the epochs so far."""
        # TensorBoard reads the files in the order of their names.
        name = EVENT_FILES.replace("*", f"{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}")
        # An error names the file where it will be, should the run take another's place.
        self._path = folder.path / name
        self._file = open(folder.file(name), "wb")  # noqa: SIM115 - an error of closing it, too, is to name it
        try:
            # TensorBoard is told to forget all that older files say: of a process that was killed they hold epochs that
            # are run again, and lack some that were saved.
            forget = self._event.SessionLog(status=self._event.SessionLog.START)
            self._add(self._event.Event(file_version="brain.Event:2"), self._event.Event(step=0, session_log=forget))
            self.write(epochs)
            yield
        finally:
            with blaming(self._path):
                self._file.close()

    def write(self, epochs: Sequence[Epoch]) -> None:
        """Add epochs. Raises OSError, with the path, where the disk does not take them."""
        for row in epochs:
            values = [
                self._summary.Value(tag=name, simple_value=value)
                for name, value in row._asdict().items()
                if name != "epoch"
            ]
            self._add(self._event.Event(step=row.epoch, summary=self._summary(value=values)))

    def _add(self, *events: Any) -> None:
        with blaming(self._path):
            for event in events:
                event.wall_time = time.time()
                self._records(self._file).write(event.SerializeToString())
            self._file.flush()

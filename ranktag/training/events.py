"""The epochs of a training for TensorBoard."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ranktag.errors import RanktagError
from ranktag.files.atomic import blaming
from ranktag.training.loop import Epoch

EVENT_FILES = "events.out.tfevents.*"


class EventWriter:
    """A TensorBoard event file in the run folder, on disk as of every ``write``. Raises RanktagError where TensorBoard is not installed.

    Written here and not by torch's SummaryWriter: that writes in a thread, which on a full disk prints its own traceback.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ModuleNotFoundError:
            raise RanktagError(
                "--tensorboard: TensorBoard is not installed; install it with pip install 'ranktag[tensorboard]'"
            ) from None
        self._folder, self._event, self._summary, self._records = folder, event_pb2, summary_pb2.Summary, RecordWriter
        self._file: IO[bytes] | None = None

    def begin(self, epochs: Sequence[Epoch]) -> None:
        """Begin a file with the epochs so far."""
        # TensorBoard reads the files in the order of their names.
        self._path = self._folder / EVENT_FILES.replace(
            "*", f"{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        )
        self._file = open(self._path, "wb")
        # It is told to forget all that older files say: of a process that was killed they hold epochs that are run
        # again, and lack some that were saved.
        forget = self._event.SessionLog(status=self._event.SessionLog.START)
        self._add(self._event.Event(file_version="brain.Event:2"), self._event.Event(step=0, session_log=forget))
        self.write(epochs)

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
        assert self._file is not None
        with blaming(self._path):
            for event in events:
                event.wall_time = time.time()
                self._records(self._file).write(event.SerializeToString())
            self._file.flush()

    def close(self) -> None:
        """Close the file, if one was begun."""
        if self._file is not None:
            with blaming(self._path):
                self._file.close()

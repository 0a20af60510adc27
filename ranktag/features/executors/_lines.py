"""Lines that another process writes, read as far as they are there."""

from __future__ import annotations

import os
import select


class Lines:
    """The lines of a pipe. ended: whether its writer has closed it."""

    def __init__(self, descriptor: int) -> None:
        self.ended = False
        self._descriptor, self._rest = descriptor, b""

    def read(self, seconds: float) -> list[bytes]:
        """The whole lines that have come; those that come within so many seconds are waited for."""
        if self.ended or not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        block = os.read(self._descriptor, 1 << 20)
        self.ended = not block
        *lines, self._rest = (self._rest + block).split(b"\n")
        return lines

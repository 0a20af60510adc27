"""Locks on parts of a piece of work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ranktag.files.lock import FileLock


def test_locks_conflict_only_where_shards_do(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "lock")
    assert held.acquire(0) and held.acquire(2)
    code = (
        "import sys; from pathlib import Path; from ranktag.files.lock import FileLock\n"
        f"lock = FileLock(Path({str(tmp_path / 'lock')!r})); print([lock.acquire(k) for k in range(4)])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[False, True, False, True]\n"
    )
    held.close()

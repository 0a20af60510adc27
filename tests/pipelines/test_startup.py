"""Imports that the garbage collector leaves alone."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ranktag.pipelines.shared import startup
from ranktag.pipelines.shared.startup import imports

# In a process of its own: what is frozen stays so.
SCRIPT = """
    import gc
    from ranktag.pipelines.shared.startup import imports

    before = gc.get_freeze_count()
    with imports():
        assert not gc.isenabled()
        import decimal
    assert gc.isenabled()
    print(gc.get_freeze_count() - before, any(one is decimal.__dict__ for one in gc.get_objects()))
"""


def test_what_is_imported_is_never_looked_at_again() -> None:
    script = textwrap.dedent(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    frozen, looked_at = done.stdout.split()
    assert int(frozen) > 1000 and looked_at == "False"


def test_garbage_is_collected_again_after_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError), imports():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled()
    gc.unfreeze()


@pytest.mark.parametrize(
    ("last_minute", "running", "busy"),
    [(0.9, "3/80", False), (1.9, "1/80", False), (1.9, "2/80", True), (1.9, None, True)],
)
def test_the_machine_is_busy_if_others_were_and_are_at_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, last_minute: float, running: str | None, busy: bool
) -> None:
    """Of two processors. running: this program included; None: the system does not say."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (last_minute, 0.0, 0.0))
    monkeypatch.setattr(startup, "LOADS", str(tmp_path / "loadavg"))
    if running:
        (tmp_path / "loadavg").write_text(f"{last_minute} 0.00 0.00 {running} 4711\n")
    assert startup.busy() is busy

"""Imports that the garbage collector leaves alone."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

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

"""Running a function in a process of its own, because a C library may crash or never return on damaged input.

HDF5 2.0 crashes, or runs for ever, on about one in 300 files with a few changed bytes
outside their data, and scipy crashes on some MATLAB files. Such a file has to end in
an error, not take the process along. There are three kinds of process:

- ``run_apart`` starts a fresh interpreter: safe whatever threads this process has, on
  every system, and its answer is JSON. It takes a tenth of a second and the imports.
- ``Apart`` is such an interpreter that is asked again and again, for thousands of files. One that
  ends badly is replaced, so a crash costs the call that met it.
- ``Trial`` forks, in milliseconds and with everything imported, so every feature
  cache can be tried before it is opened, beside other work. A fork copies only the thread that calls: a
  lock that another one holds is never released in the child. So the action may only
  read, and its result is not taken over.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

from ranktag import errors
from ranktag.errors import RanktagError

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
# Of processor time, not of the clock: a slow disk is no reason to give up.
SECONDS = 60

# Without the current folder in sys.path: a json.py that lies there is not to be imported.
_PROGRAM = "import sys; sys.path = [p for p in sys.path if p]; from ranktag.files.isolation import {0}; {0}()"


class EndedBadly(Exception):
    """A function that was run apart gave no answer.

    how: 'crashes', 'never returns' or 'fails', for a message. code: the exit code of
    its process; minus the signal that ended it. killed: from outside, as for want of memory.
    """

    def __init__(self, code: int) -> None:
        self.how, self.code = _how_it_ended(code) or "fails", code
        self.killed = code == -signal.SIGKILL
        super().__init__(f"{self.how} (exit code {code})")


def run_apart(function: Callable[..., Any], *arguments: Any, seconds: int = SECONDS) -> Any:
    """What ``function(*arguments)`` returns in an interpreter of its own.

    function: one of a module's top level, imported there by its name. arguments and
    what it returns: what JSON can hold (tuples come back as lists). seconds: of
    processor time after which it is taken to run for ever.

    Raises the function's RanktagError, and EndedBadly if it does not return.
    """
    call = json.dumps([function.__module__, function.__qualname__, arguments, seconds])
    child = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format("_answer"), call],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    try:
        answered, value = json.loads(child.stdout)
    except (ValueError, TypeError):
        raise EndedBadly(child.returncode) from None
    if child.returncode != 0:
        raise EndedBadly(child.returncode)
    if not answered:
        kind, message = value
        raise getattr(errors, kind)(message)
    return value


def _answer() -> None:
    """The fresh interpreter's part: the call is its argument, the answer goes to standard output."""
    module, name, arguments, seconds = json.loads(sys.argv[1])
    _limit(seconds)
    try:
        answer = (True, getattr(importlib.import_module(module), name)(*arguments))
    except RanktagError as error:
        answer = (False, (type(error).__name__, str(error)))
    json.dump(answer, sys.stdout)


class Apart:
    """A function of a module's top level in an interpreter of its own, called as often as one likes.

    What goes there and comes back is what JSON can hold (tuples come back as lists). The
    process starts with the first call, and anew after one that ended badly. It ends when it is
    closed, or when this process ends, after the call that it is at.
    """

    def __init__(self, function: Callable[..., Any], seconds: int = SECONDS) -> None:
        """seconds: of processor time after which a call is taken to run for ever."""
        self._task = json.dumps([function.__module__, function.__qualname__, seconds])
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns.

        Raises the function's RanktagError and OSError, and EndedBadly if it does not return.
        """
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format("_answer_all"), self._task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(arguments).encode() + b"\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer.endswith(b"\n"):
            raise EndedBadly(self.close())
        kind, value = json.loads(answer)
        if kind == "mistake":
            raise RanktagError(value)
        if kind == "system":
            raise OSError(*value)
        return value

    def close(self) -> int:
        """End the process; its exit code, or minus the signal that ended it."""
        child, self._child = self._child, None
        if child is None:
            return 0
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        child.stdout.close()
        return child.wait()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer_all() -> None:
    """``Apart``'s part in the other process: calls come a line each on standard input, answers go out a line each."""
    # A library that prints must not speak in between.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module, name, seconds = json.loads(sys.argv[1])
    answer: tuple[str, Any]
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(int(used.ru_utime + used.ru_stime) + 1 + seconds)
        try:
            answer = "value", getattr(importlib.import_module(module), name)(*json.loads(line))
        except RanktagError as error:
            answer = "mistake", str(error)
        except OSError as error:
            answer = "system", (error.errno, error.strerror, _text(error.filename))
        out.write(json.dumps(answer) + "\n")
        out.flush()


def _text(name: object) -> str | None:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None


class Trial:
    """An action that runs in a fork of this process, beside what this one does."""

    def __init__(self, action: Callable[[], object], seconds: int = SECONDS) -> None:
        """seconds: of processor time after which it is taken to run for ever. ``action`` must
        only read, and touch no lock that another thread may hold. On macOS nothing is
        tried: a process that uses Apple's libraries cannot be forked safely.
        """
        self._child: int | None = None
        if sys.platform == "darwin":
            return
        with warnings.catch_warnings():
            # Python 3.12 and later warn of forks in processes with threads; the child runs none of what they run.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = os.fork()
        if self._child == 0:
            _act(action, seconds)

    def ended(self) -> str:
        """Wait for its end: what it would have done to this process, 'crashes' or 'never returns'; '' if it returned
        or raised. Asked once."""
        if self._child is None:
            return ""
        try:
            _, status = os.waitpid(self._child, 0)
        except ChildProcessError:
            # Where SIGCHLD is ignored, nobody is told how children end.
            return ""
        finally:
            self._child = None
        return _how_it_ended(os.waitstatus_to_exitcode(status))

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        # Where nobody asked, an error came before.
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self.ended()


def _act(action: Callable[[], object], seconds: int) -> None:
    """The forked child's part; does not return. What is raised does not matter: the parent will meet it too."""
    try:
        # The parent has the one line to say; neither the C library nor a fault handler adds to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _limit(seconds)
        # A look for garbage among what the parent made would copy all of it.
        gc.freeze()
        action()
    finally:
        os._exit(0)


def _limit(seconds: int) -> None:
    """Let this process end by the signal of a crash, without a core dump, and after so much processor time."""
    for number in (*CRASHES, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if hard == resource.RLIM_INFINITY else min(seconds, hard), hard))


def _how_it_ended(code: int) -> str:
    return "never returns" if code == -signal.SIGXCPU else "crashes" if -code in CRASHES else ""

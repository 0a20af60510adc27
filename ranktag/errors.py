"""What stops a command, and each kind's exit code and its word in ``--json``.

The exit codes are those that a nightly job tells apart: 2 the call was wrong, 3 somebody
else is at work, 4 the machine failed. (0 and 1 are of commands that finished.)
"""

from __future__ import annotations

import errno


class RanktagError(Exception):
    """Something the user can mend: the message is one line that says what is wrong, where, and what to do.

    Commands print it on stderr and exit with ``exit_code``; everything else that
    escapes is a defect of ranktag. ``code`` is the kind as programs know it: it stays
    when the words of the message change.
    """

    code = "invalid"
    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Usage(RanktagError):
    """Options or arguments that do not go together or are not possible here."""

    code = "usage"


class NotFound(RanktagError):
    """A file, folder or run that is not there."""

    code = "not-found"


class Exists(RanktagError):
    """Something stands where the output goes, and may not be replaced."""

    code = "exists"


class Denied(RanktagError):
    """A file may not be read or written by this user."""

    code = "no-permission"


class Damaged(RanktagError):
    """A file whose content is not what was written."""

    code = "damaged"


class Mismatch(RanktagError):
    """Files, weights or settings that were made otherwise than those they are used with."""

    code = "mismatch"


class Removals(RanktagError):
    """More of a cache's images are gone than a mistake may take away."""

    code = "removals"


class NotInstalled(RanktagError):
    """A package that is needed and not installed."""

    code = "not-installed"


class Locked(RanktagError):
    """Another process is at work on the same output."""

    code = "locked"
    exit_code = 3


class Outage(RanktagError):
    """The disk, the network or the machine failed, and neither the call nor the data: what is done is kept."""

    code = "outage"
    exit_code = 4


class DiskFull(Outage):
    """No space is left, or the user may not have more of it."""

    code = "disk-full"


class NoMemory(Outage):
    """The memory, of the machine or of its device, is not enough."""

    code = "no-memory"


# What the operating system says when a call was wrong, or the disk is full; all else it says is an outage.
_KINDS: dict[int, type[RanktagError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.EEXIST: Exists,
    errno.ENOTEMPTY: Exists,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EISDIR: RanktagError,
    errno.EINVAL: RanktagError,
    errno.ELOOP: RanktagError,
    errno.ENAMETOOLONG: RanktagError,
    errno.EILSEQ: RanktagError,
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.ENOMEM: NoMemory,
}


def kind_of(error: OSError) -> type[RanktagError]:
    """Which error it is for the user that the operating system refuses something."""
    return _KINDS.get(error.errno, Outage) if error.errno else RanktagError


def kind_called(code: str) -> type[RanktagError]:
    """The error of that word in ``--json``, as another process told it."""
    kinds: tuple[type[RanktagError], ...] = (
        Usage, NotFound, Exists, Denied, Damaged, Mismatch, Removals, NotInstalled, Locked, Outage, DiskFull, NoMemory
    )  # fmt: skip
    return next((kind for kind in kinds if kind.code == code), RanktagError)


def unreadable(where: object, error: OSError, remedy: str, fault: str = "cannot be read") -> RanktagError:
    """The error for a file that the operating system does not give; one of the disk's is no fault of the file's."""
    return kind_of(error)(f"{where}: {fault} ({error.strerror or one_line(str(error))}); {remedy}")


class RanktagWarning(UserWarning):
    """What the user ought to know of something that is done all the same, as a file that is not UTF-8.

    Commands print it on stderr, each sentence once.
    """


def one_line(message: str) -> str:
    """``message`` with control characters (newlines in a file name, say) escaped, so that it prints as one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in message)


def no_image_id(source: object, where: str) -> RanktagError:
    """The error for a row that names no image. where: 'line 3', or 'row 3' of what has no lines."""
    return RanktagError(f"{source}: {where} has no image_id; fill it in or remove the {where.split()[0]}")

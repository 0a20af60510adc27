"""The one exception for mistakes a user can mend."""

from __future__ import annotations


class RanktagError(Exception):
    """Something the user can mend: the message is one line that says what is wrong, where, and what to do.

    Commands print it on stderr and exit with ``exit_code``; everything else that
    escapes is a defect of ranktag.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Outage(RanktagError):
    """The disk, the network or the machine failed, and neither the call nor the data: what is done is kept.

    The exit code is 2, as for all that stopped a command: the contract knows no other for it.
    """


def one_line(message: str) -> str:
    """``message`` with control characters (newlines in a file name, say) escaped, so that it prints as one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in message)

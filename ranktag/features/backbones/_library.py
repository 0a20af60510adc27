"""What libraries of networks have in common: a name looked up, built with its own numbers, measured by a dry run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ranktag.errors import Usage

if TYPE_CHECKING:
    from torch import nn

# The layer of every network of a library: what its classifier is given.
POOLED = "pooled"


def refuse_unknown(library: str, name: str, known: Collection[str]) -> None:
    """Raise RanktagError, with the names most like it, for a network the library does not have."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 3) or [one for one in known if name and name in one][:3]
    meant = f"did you mean {', '.join(f'{library}:{one}' for one in near)}? " if near else ""
    raise Usage(
        f"--backbone {library}:{name}: {library} has no such network; {meant}"
        f"extract-features --list-backbones '{library}:*' lists all"
    )


def built(build: Callable[[], nn.Module]) -> nn.Module:
    """A network with all its own numbers, wherever the caller builds; torch's random numbers stay as they were.

    Not on the meta device: positions and windows may be kept beside the state dict, and no file would replace them.
    """
    import torch

    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        return build().eval()


def width_of(build: Callable[[], nn.Module], crop: int) -> int:
    """D, the numbers that a network gives of an image, by a dry run without numbers where that is possible.

    Raises ValueError, with the reason, for one that gives no single row of numbers.
    """
    import torch

    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.random.fork_rng(devices=[]), torch.inference_mode():
                given = build().eval()(torch.zeros(2, 3, crop, crop))
        # Networks fail on the meta device, or for want of a package, with anything.
        except Exception as error:  # noqa: BLE001
            if device == "cpu":
                raise ValueError(str(error) or type(error).__name__) from None
            continue
        if not isinstance(given, torch.Tensor) or given.ndim != 2:
            raise ValueError("it gives no row of numbers for an image")
        return int(given.shape[1])
    raise AssertionError("unreachable")

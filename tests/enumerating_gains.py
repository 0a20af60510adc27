"""What stands in for drawing lists in the tests of expected gains: every list goes on, in exact shares."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ranktag.decoding.mbr import Codes, Continuations, Draw


class Enumeration(Draw):
    """Stands in for a draw: every list goes on in exact shares."""

    def __init__(self) -> None:
        super().__init__(lists=1, offset=0.0)

    def begin(self, images: int, device: torch.device) -> Codes:
        return Codes(torch.empty(0), torch.empty(0))

    def continuations(self, codes: Codes, weight: Tensor, p: Tensor) -> Continuations:
        parent, tag = (p[:, :-1] > 0).nonzero(as_tuple=True)
        return Continuations(parent, tag, weight[parent] * p[parent, tag], codes)


GAINS = {
    "log": lambda r, n: 1 / math.log2(1 + r),
    "binary": lambda r, n: 1.0,
    "linear": lambda r, n: (n - r + 1) / n,
}

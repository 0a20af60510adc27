"""AdamW of a matrix of which every step uses some of the rows, at the cost of those.

With a share q of the rows used, AdamW moves all of them at every step: one that is not used goes on by its momentum,
which fades. Here a row rests until it is used again, 1 / q steps later on average, and then moves once for all of them.
In 1 / q steps of AdamW, with a gradient g in the first and none in the others,

    the moments fade to   beta_1^(1/q) m + ...  and  beta_2^(1/q) v + ...
    the row moves by      lr m' / sqrt(q v')    where m', v' are the means of g and of its square over the steps used
    and decays by         lr decay w / q

So a step of those used is AdamW's with betas beta^(1/q), the rate lr / sqrt(q) and the decay decay / sqrt(q).
Measured, by turns on a busy machine: an epoch over 4,096 features, of which a fifth is kept, takes 6% to 8% less in
bfloat16 and 4% less in float32 (d = H = 512).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ranktag.compute.adamw import BETAS, move, move_rows
from ranktag.compute.compiled import compiled
from ranktag.compute.table_rows import take_rows


class RowAdamW:
    """AdamW of the rows of ``matrix`` (D, d).

    used: how many of them a step uses. weight_decay, zeros: as of AdamW.
    """

    def __init__(
        self, matrix: Tensor, used: int, weight_decay: float, zeros: Callable[[Tensor], Tensor] = torch.zeros_like
    ) -> None:
        self.matrix = matrix.detach()
        self.share = used / len(matrix)
        self.rate = self.share**-0.5
        self.decay = weight_decay * self.rate
        self.betas = BETAS[0] ** (1.0 / self.share), BETAS[1] ** (1.0 / self.share)
        self.mean, self.square = zeros(self.matrix), zeros(self.matrix)
        # How often a row was used, on average.
        self.steps = zeros(self.matrix.new_empty(()))
        self._taken: tuple[Tensor, Tensor] | None = None

    def take(self, used: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """The rows of the given numbers (R,), (R, d), in ``dtype``, that the next step is to move."""
        rows = take_rows(self.matrix, used, dtype if compiled(self.matrix) else self.matrix.dtype)
        self._taken = used, rows.requires_grad_()
        return rows.to(dtype)

    @property
    def gradient(self) -> Tensor:
        """Of the rows that were taken, (R, d)."""
        assert self._taken is not None and self._taken[1].grad is not None, "taken, and back-propagated to"
        return self._taken[1].grad

    @torch.no_grad()
    def step(self, lr: float | Tensor, scale: float | Tensor | None) -> None:
        """Move what was taken by its gradient divided by ``scale``, at learning rate ``lr`` of AdamW."""
        assert self._taken is not None, "rows are taken before a step"
        (used, rows), gradient = self._taken, self.gradient
        self._taken = None
        if compiled(rows):
            move_rows(
                self.matrix,
                gradient,
                self.mean,
                self.square,
                self.steps,
                cast(float, lr) * self.rate,
                self.betas,
                self.decay,
                scale,
                used=used,
                counted=self.share,
            )
            return
        mean, square = self.mean.index_select(0, used), self.square.index_select(0, used)
        # Torch's kernel counts the rest of a step.
        self.steps.add_(self.share - 1.0)
        moved = rows.detach()
        move([moved], [gradient], [mean], [square], [self.steps], lr * self.rate, self.betas, self.decay, scale, [])
        for whole, part in ((self.matrix, moved), (self.mean, mean), (self.square, square)):
            whole.index_copy_(0, used, part)

    def state_dict(self) -> dict[str, Tensor]:
        """All that a step changes beside the matrix."""
        return {"mean": self.mean, "square": self.square, "steps": self.steps}

"""AdamW by torch's fused kernel, called as a function.

The class ``torch.optim.AdamW`` is the same arithmetic, but making one imports ``torch._dynamo``: measured, as the
median of seven fresh processes, its first step took 1.07 s and the function's 0.004 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from ranktag.compute.row_adamw import RowAdamW

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamW:
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019; matrices decay, vectors do not.

    rows: moves a matrix beside the parameters, of which a step uses some rows. zeros: makes what is kept of a tensor.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        weight_decay: float,
        rows: RowAdamW | None = None,
        zeros: Callable[[Tensor], Tensor] = torch.zeros_like,
    ) -> None:
        every = list(parameters)
        self.rows = rows
        self.groups = [([p for p in every if p.dim() > 1], weight_decay), ([p for p in every if p.dim() <= 1], 0.0)]
        self.mean = [[zeros(p) for p in group] for group, _ in self.groups]
        self.square = [[zeros(p) for p in group] for group, _ in self.groups]
        self.steps = [[zeros(p.detach().new_empty(())) for p in group] for group, _ in self.groups]

    @torch.no_grad()
    def step(self, lr: float | Tensor, clip: float = 0.0) -> None:
        """Move the parameters by their gradients at learning rate ``lr``, and forget the gradients.

        lr: a number, or a tensor () on the parameters' device. clip: the norm that gradients together are scaled down
        to if theirs is larger; 0 is off.
        """
        scale = None
        if clip:
            gradients = [cast(Tensor, p.grad) for group, _ in self.groups for p in group]
            gradients += [] if self.rows is None else [self.rows.gradient]
            # The kernel divides by it on the way, which saves a pass over the gradients.
            scale = (torch.stack(torch._foreach_norm(gradients)).norm() / clip).clamp(min=1.0)
            if scale.device.type == "cpu" and scale == 1.0:
                # The kernel would also write back what it divides. On a GPU, asking means waiting for it.
                scale = None
        for (group, decay), mean, square, steps in zip(self.groups, self.mean, self.square, self.steps):
            gradients = [cast(Tensor, p.grad) for p in group]
            move(cast(list[Tensor], group), gradients, mean, square, steps, lr, BETAS, decay, scale)
            for parameter in group:
                parameter.grad = None
        if self.rows is not None:
            self.rows.step(lr, scale)

    def tensors(self) -> list[Tensor]:
        """All that a step changes beside the parameters."""
        own = [x for groups in (self.mean, self.square, self.steps) for group in groups for x in group]
        return own if self.rows is None else [*own, *self.rows.state_dict().values()]

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to go on exactly."""
        state = {"mean": self.mean, "square": self.square, "steps": self.steps}
        return state if self.rows is None else state | {"rows": self.rows.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same parameters."""
        for name in ("mean", "square", "steps"):
            for ours, theirs in zip(getattr(self, name), state[name], strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    a.copy_(b)
        if self.rows is not None:
            for name, a in self.rows.state_dict().items():
                a.copy_(state["rows"][name])


def move(
    parameters: list[Tensor],
    gradients: list[Tensor],
    mean: list[Tensor],
    square: list[Tensor],
    steps: list[Tensor],
    lr: float | Tensor,
    betas: tuple[float, float],
    decay: float,
    scale: Tensor | None,
) -> None:
    """A step of tensors in place, by their gradients divided by ``scale``."""
    adamw(
        parameters,
        gradients,
        mean,
        square,
        [],
        steps,
        fused=True,
        grad_scale=scale,
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )

"""AdamW: by a compiled kernel where there is one, or by torch's fused one, called as a function.

Measured by turns, an epoch by torch's takes 15% longer in bfloat16 (d = H = 512), and 14% by default on PASCAL VOC.

The class ``torch.optim.AdamW`` is the same arithmetic, but making one imports ``torch._dynamo``: measured, as the
median of seven fresh processes, its first step took 1.07 s and the function's 0.004 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ranktag.compute.compiled import address, compiled, kernels, threads

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
        self._zeros = zeros
        self.groups = [([p for p in every if p.dim() > 1], weight_decay), ([p for p in every if p.dim() <= 1], 0.0)]
        self.mean = [[zeros(p) for p in group] for group, _ in self.groups]
        self.square = [[zeros(p) for p in group] for group, _ in self.groups]
        self.steps = [[zeros(p.detach().new_empty(())) for p in group] for group, _ in self.groups]
        # The parameters in the type that is computed in, kept up with them by the kernel.
        self._rounded: dict[Tensor, Tensor] = {}

    def keep_rounded(self, parameters: Iterable[Tensor], dtype: torch.dtype) -> None:
        """Keep a copy in ``dtype`` of some of the parameters, for ``weight``, if the kernel can.

        Measured by turns, with weights that are rounded, and gradients that are given more bits again, at every step an
        epoch takes 7% longer in bfloat16 (d = H = 512), and 10% longer by default on PASCAL VOC.
        """
        for p in parameters:
            if dtype == torch.bfloat16 and compiled(p):
                self._rounded[p] = self._zeros(p.detach().to(dtype)).copy_(p.detach()).requires_grad_()

    def weight(self, parameter: Tensor, dtype: torch.dtype) -> Tensor:
        """A parameter to compute with, in ``dtype``: ``step`` moves the parameter by the gradient that comes to it."""
        rounded = self._rounded.get(parameter)
        return parameter.to(dtype) if rounded is None or rounded.dtype != dtype else rounded

    @torch.no_grad()
    def step(self, lr: float | Tensor, clip: float = 0.0) -> None:
        """Move the parameters by their gradients at learning rate ``lr``, and forget the gradients.

        lr: a number, or a tensor () on the parameters' device. clip: the norm that gradients together are scaled down
        to if theirs is larger; 0 is off.
        """
        gradients = [[_in_order(cast(Tensor, self._leaf(p).grad), p) for p in group] for group, _ in self.groups]
        scale = None
        if clip:
            every = [g for group in gradients for g in group] + ([] if self.rows is None else [self.rows.gradient])
            # The kernel divides by it on the way, which saves a pass over the gradients.
            scale = _over(every, clip)
        for (group, decay), g, mean, square, steps in zip(self.groups, gradients, self.mean, self.square, self.steps):
            rounded = [self._rounded.get(p) for p in group]
            move(cast(list[Tensor], group), g, mean, square, steps, lr, BETAS, decay, scale, rounded)
            for parameter in group:
                self._leaf(parameter).grad = None
        if self.rows is not None:
            self.rows.step(lr, scale)

    def _leaf(self, parameter: nn.Parameter) -> Tensor:
        """What the gradient comes to."""
        return self._rounded.get(parameter, parameter)

    def tensors(self) -> list[Tensor]:
        """All that a step changes beside the parameters."""
        own = [x for groups in (self.mean, self.square, self.steps) for group in groups for x in group]
        return own if self.rows is None else [*own, *self.rows.state_dict().values()]

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``load_state_dict`` needs to go on exactly."""
        state = {"mean": self.mean, "square": self.square, "steps": self.steps}
        return state if self.rows is None else state | {"rows": self.rows.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same parameters, which have been loaded before."""
        for name in ("mean", "square", "steps"):
            for ours, theirs in zip(getattr(self, name), state[name], strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    a.copy_(b)
        if self.rows is not None:
            for name, a in self.rows.state_dict().items():
                a.copy_(state["rows"][name])
        for p, rounded in self._rounded.items():
            rounded.detach().copy_(p.detach())


def move(
    parameters: list[Tensor],
    gradients: list[Tensor],
    mean: list[Tensor],
    square: list[Tensor],
    steps: list[Tensor],
    lr: float | Tensor,
    betas: tuple[float, float],
    decay: float,
    scale: float | Tensor | None,
    rounded: Sequence[Tensor | None],
) -> None:
    """A step of tensors in place, by their gradients divided by ``scale``.

    rounded: of each a bfloat16 copy that is to follow it, if there is one; only of tensors that are ``compiled``.
    """
    if parameters and compiled(parameters[0]):
        for p, g, m, v, step, copy in zip(parameters, gradients, mean, square, steps, rounded):
            move_rows(p, g, m, v, step, cast(float, lr), betas, decay, scale, rounded=copy)
        return
    adamw(
        parameters,
        gradients,
        mean,
        square,
        [],
        steps,
        fused=True,
        grad_scale=cast(Tensor | None, scale),
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=decay,
        eps=EPSILON,
        amsgrad=False,
        maximize=False,
    )


def move_rows(
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    steps: Tensor,
    lr: float,
    betas: tuple[float, float],
    decay: float,
    scale: float | Tensor | None,
    used: Tensor | None = None,
    rounded: Tensor | None = None,
    counted: float = 1.0,
) -> None:
    """A step, ``counted`` for so many, of a ``compiled`` tensor without gaps in memory, or of those rows of it (R, d)
    whose numbers are ``used`` (R,); gradient: theirs, float32 or bfloat16."""
    kernels.adamw(
        *_shape(gradient),
        1.0 if scale is None else float(scale),
        lr,
        decay,
        *betas,
        EPSILON,
        counted,
        *map(address, (used, weights, mean, square, gradient, rounded, steps)),
    )


def _in_order(gradient: Tensor, weights: Tensor) -> Tensor:
    """The gradient with its numbers in the order in memory that the weights have, as both kernels expect it."""
    if gradient.stride() == weights.stride():
        return gradient
    return torch.empty_like(weights, dtype=gradient.dtype).copy_(gradient)


def _over(gradients: list[Tensor], clip: float) -> float | Tensor | None:
    """How many times ``clip`` the norm of all together is, where it is more; a number where they are all ``compiled``.

    Torch's norm takes three times as long on a processor.
    """
    if not all(map(compiled, gradients)):
        scale = (torch.stack(torch._foreach_norm(gradients)).norm() / clip).clamp(min=1.0)
        # Torch's would also write back what it divides. On a GPU, asking means waiting for it.
        return None if scale.device.type == "cpu" and scale == 1.0 else scale
    shapes = [_shape(g) for g in gradients]
    sums = torch.empty(max(rows for _, _, rows, _ in shapes))
    squares = [kernels.squares(*shape, address(g), address(sums)) for g, shape in zip(gradients, shapes)]
    norm = math.sqrt(sum(squares))
    # What is not a number is not below anything.
    return None if norm <= clip else norm / clip


def _shape(numbers: Tensor) -> tuple[int, int, int, int]:
    """A kernel's first arguments for a tensor without gaps in memory: threads, whether it is bfloat16, rows, width."""
    rows = len(numbers) if numbers.dim() > 1 else 1
    return threads(numbers), int(numbers.dtype == torch.bfloat16), rows, numbers.numel() // max(1, rows)

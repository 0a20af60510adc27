"""Ridge regression of a tag's gain and presence on the features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ranktag.models.baselines._shared import Attempt, Baseline, BaselineConfig, Score, SparseRows, sparse_targets
from ranktag.models.ranking import ExpectedGains
from ranktag.training_data.examples import Examples, standardisation

# In units of the mean eigenvalue of the Gram matrix. Tried on the validation images; the best is kept.
PENALTIES = tuple(10.0 ** (exponent / 4) for exponent in range(-8, 13))


@dataclass(frozen=True)
class LinearConfig(BaselineConfig):
    """penalty: of the squared weights, in units of the mean eigenvalue of the Gram matrix."""

    penalty: float


class Model(Baseline):
    """y = ((x - mean) / scale) W + bias, of gain and presence side by side.

    Buffers: ``mean``, ``scale`` (D), ``weight`` (D, 2V), ``bias`` (2V).
    """

    Config = LinearConfig
    config: LinearConfig
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, config: LinearConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        self.register_buffer("weight", torch.zeros(config.features, 2 * config.vocabulary))
        self.register_buffer("bias", torch.zeros(2 * config.vocabulary))

    def predict(self, features: Tensor) -> ExpectedGains:
        """See ``Baseline``."""
        y = ((features.float() - self.mean) / self.scale) @ self.weight + self.bias
        gain, presence = y.chunk(2, dim=1)
        # The sum of the regressions is the regression of the sum: the length before each is cut to a probability.
        return ExpectedGains(gain, presence.clamp(0.0, 1.0), presence.sum(dim=1).clamp(min=0.0))


def fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]:
    """Solve W = (X'X + penalty I)^-1 X'Y for every penalty, where the features are, and keep the best by ``score`` of
    the validation images."""
    y = sparse_targets(training)
    mean, scale = standardisation(training)
    bias = y.mean().to(mean.device)

    def rows(examples: Examples) -> Iterator[Tensor]:
        for _, block in examples.blocks():
            yield (block - mean) / scale

    value, left, right = _decompose(rows(training), y, bias, mean.shape[0])
    # Validation predictions for any penalty are one small product away.
    seen = torch.cat([block @ left for block in rows(validation)])
    unit = float(value.clamp(min=0).mean()) or 1.0
    v = len(training.known)

    def solve(penalty: float) -> Tensor:
        return (right / (value + penalty * unit)[:, None]).float()

    attempts = {p: Attempt(f"penalty={p:g}", score(seen @ solve(p)[:, :v] + bias[:v])) for p in PENALTIES}
    penalty = max(attempts, key=lambda p: attempts[p].score)
    model = Model(LinearConfig(mean.shape[0], v, penalty))
    model.mean, model.scale, model.weight, model.bias = mean, scale, left @ solve(penalty), bias
    return model.cpu(), list(attempts.values())


def _decompose(rows: Iterator[Tensor], y: SparseRows, bias: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """L (K), A (D, K) float32 and B (K, 2V) float64, by which W = A (L + penalty)^-1 B for every penalty at once.

    One eigendecomposition serves all penalties: of X'X (D, D) or, where there are
    fewer images than features, of XX' (N, N), whose W = X'(XX' + penalty I)^-1 Y is the same.
    rows: X (N, D) a block at a time. y: (N, 2V), of which Y is the difference from its mean, ``bias``.
    """
    if len(y) <= dim:
        x = torch.cat(list(rows))
        value, basis = torch.linalg.eigh((x @ x.t()).double())
        # W = X' Q (L + penalty)^-1 Q'Y
        return value, x.t() @ basis.float(), basis.t() @ (y[:].to(bias.device) - bias).double()
    gram = torch.zeros(dim, dim, dtype=torch.float64, device=bias.device)
    product = torch.zeros(dim, y.shape[1], dtype=torch.float64, device=bias.device)
    start = 0
    for block in rows:
        gram += block.t() @ block
        product += block.t().double() @ (y[start : start + len(block)].to(bias.device) - bias).double()
        start += len(block)
    value, basis = torch.linalg.eigh(gram)
    return value, basis.float(), basis.t() @ product

"""Training steps on a GPU, each launched as a whole.

A recording works on tensors of fixed shapes, so lists are padded to the longest of their batch, and there is one
recording for every such length. What is added is computed and not looked at: a GPU is far from busy with these sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ranktag.compute.device import sent
from ranktag.compute.recording import RecordedWork
from ranktag.training_data.examples import Examples, PackedLists

# Steps up to which every length has its own recording; longer ones are rounded up to a multiple of ROUNDED_TO.
EXACT = 8
ROUNDED_TO = 4


class RecordedSteps(RecordedWork):
    """Steps of one LSTM on lists of ``examples``.

    learn: (features (B, D), lists, learning rate (), on the device) -> the batch's mean loss a tag (); it changes
    ``state``, and draws from ``generator``.
    """

    def __init__(
        self,
        learn: Callable[[Tensor, PackedLists, Tensor], Tensor],
        state: Sequence[Tensor],
        generator: torch.Generator,
        examples: Examples,
        device: torch.device,
    ) -> None:
        super().__init__(self._padded, state, generator, device)
        self._learn, self._examples = learn, examples
        self._lists = examples.table(device)
        self._resident = examples.row.device.type == device.type
        self._rate = torch.zeros((), device=device)

    def __call__(self, chosen: Tensor, rate: float) -> Tensor:
        """Learn from the lists of the given numbers (B,), within ``on_stream``; the batch's loss, ()."""
        there = sent(chosen, self._device)
        features = sent(self._examples.features_of(there if self._resident else chosen), self._device)
        self._rate.fill_(rate)
        return self.launch(there, features, others=(rounded(self._examples.steps_of(chosen)),))

    def _padded(self, numbers: Tensor, batch: Tensor, steps: int) -> Tensor:
        return self._learn(batch, self._lists.pad(numbers, steps), self._rate)


def rounded(steps: int) -> int:
    """How many steps lists are padded to whose longest has so many."""
    return steps if steps <= EXACT else -(-steps // ROUNDED_TO) * ROUNDED_TO

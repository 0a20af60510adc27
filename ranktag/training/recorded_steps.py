"""Training steps on a GPU, each launched as a whole.

A recording works on tensors of fixed shapes, so lists are padded to the longest of their batch, and there is one
recording for every such length. What is added is computed and not looked at: a GPU is far from busy with these sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ranktag.compute.recording import Recording
from ranktag.training_data.examples import Examples, PackedLists

# Steps up to which every length has its own recording; longer ones are rounded up to a multiple of ROUNDED_TO.
EXACT = 8
ROUNDED_TO = 4


class RecordedSteps:
    """Steps of one LSTM on lists of ``examples``, on a stream of their own, so that several LSTMs' run side by side.

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
        self.stream = torch.cuda.Stream(device)
        self._learn, self._state, self._generator = learn, state, generator
        self._examples, self._device = examples, device
        self._lists = examples.table(device)
        self._resident = examples.row.device.type == device.type
        self._rate = torch.zeros((), device=device)
        # By the number of lists and of steps: what is recorded, and the tensors that it reads a batch from.
        self._recordings: dict[tuple[int, int], tuple[Recording, Tensor, Tensor]] = {}

    def begin(self) -> None:
        """Let what is launched from now on be behind what was launched so far on the current stream."""
        self.stream.wait_stream(torch.cuda.current_stream(self._device))

    def wait(self) -> None:
        """Let the current stream wait for all that was launched."""
        torch.cuda.current_stream(self._device).wait_stream(self.stream)

    @contextmanager
    def on_stream(self) -> Iterator[None]:
        """Within, work is launched beside that of other streams."""
        with torch.cuda.device(self._device), torch.cuda.stream(self.stream):
            yield

    def __call__(self, chosen: Tensor, rate: float) -> Tensor:
        """Learn from the lists of the given numbers (B,), within ``on_stream``; the batch's loss, ()."""
        shape = len(chosen), rounded(self._examples.steps_of(chosen))
        # Pinned, or the copy would wait for all that was launched before.
        there = chosen.pin_memory().to(self._device, non_blocking=True)
        features = self._examples.features_of(there if self._resident else chosen)
        if shape not in self._recordings:
            self._recordings[shape] = self._recorded(shape, features)
        recording, numbers, batch = self._recordings[shape]
        numbers.copy_(there)
        batch.copy_(features)
        self._rate.fill_(rate)
        return recording().clone()

    def _recorded(self, shape: tuple[int, int], features: Tensor) -> tuple[Recording, Tensor, Tensor]:
        numbers = torch.zeros(shape[0], dtype=torch.int64, device=self._device)
        batch = torch.zeros(features.shape, dtype=features.dtype, device=self._device)

        def work() -> Tensor:
            return self._learn(batch, self._lists.pad(numbers, shape[1]), self._rate)

        beside = next((recording for recording, *_ in self._recordings.values()), None)
        return Recording(work, self._state, self._generator, beside), numbers, batch


def rounded(steps: int) -> int:
    """How many steps lists are padded to whose longest has so many."""
    return steps if steps <= EXACT else -(-steps // ROUNDED_TO) * ROUNDED_TO

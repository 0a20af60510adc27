"""Work on a GPU that is recorded once and launched as a whole from then on: a CUDA graph.

A training step of an LSTM is some four hundred kernels of two microseconds each. Measured on an H200: launched one by
one, the GPU waited for Python for seven eighths of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Recording:
    """What ``work`` does on the current stream, which is not the device's usual one; a call does it again, on whatever
    its tensors then hold, and does not wait.

    work: reads and writes tensors that stay where they are, waits for nothing, and returns a tensor, which the next
    call overwrites. state: all that it changes and that outlives it; recording leaves it as it was. generator: that
    it draws from, of the same device. beside: another recording that is never launched at once with this one: they
    work in the same memory.
    """

    def __init__(
        self,
        work: Callable[[], Tensor],
        state: Sequence[Tensor],
        generator: torch.Generator,
        beside: Recording | None = None,
    ) -> None:
        # Once for nothing: what a kernel's first call sets up must not be recorded.
        before, drawn = [x.detach().clone() for x in state], generator.get_state()
        work()
        with torch.no_grad():
            for now, was in zip(state, before):
                now.copy_(was)
        generator.set_state(drawn)
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        pool = None if beside is None else beside._graph.pool()
        # Another thread's work, on another stream, is no mistake.
        with torch.cuda.graph(self._graph, pool, torch.cuda.current_stream(), "thread_local"):
            self._result = work()

    def __call__(self) -> Tensor:
        """Launch it on the current stream; what it returned is there when the stream has come so far."""
        self._graph.replay()
        return self._result


class RecordedWork:
    """Work on tensors of few shapes, recorded once for each, on a stream of its own, so that several run side by side.

    work: see ``Recording``; it is given tensors on the device, and what else it is called with. state, generator: see
    there.
    """

    def __init__(
        self,
        work: Callable[..., Tensor],
        state: Sequence[Tensor],
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.stream = torch.cuda.Stream(device)
        self._work, self._state, self._generator, self._device = work, state, generator, device
        # By the tensors' shapes and what else there is: what is recorded, and the tensors that it reads.
        self._recordings: dict[tuple[Any, ...], tuple[Recording, list[Tensor]]] = {}

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

    def launch(self, *tensors: Tensor, others: tuple[Any, ...] = ()) -> Tensor:
        """Do the work on tensors that are on the device, within ``on_stream``, and return what it returns."""
        key = (*(x.shape for x in tensors), *others)
        if key not in self._recordings:
            self._recordings[key] = self._recorded(tensors, others)
        recording, places = self._recordings[key]
        for place, x in zip(places, tensors):
            place.copy_(x)
        return recording().clone()

    def _recorded(self, tensors: Sequence[Tensor], others: tuple[Any, ...]) -> tuple[Recording, list[Tensor]]:
        places = [torch.zeros_like(x) for x in tensors]
        beside = next((recording for recording, _ in self._recordings.values()), None)
        return Recording(lambda: self._work(*places, *others), self._state, self._generator, beside), places

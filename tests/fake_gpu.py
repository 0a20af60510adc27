"""Two GPUs that are not there, for machines without one: torch's 'cuda' with the processor's numbers.

Whatever is made on 'cuda:0' or 'cuda:1', or moved there, is a ``GpuTensor``: it holds a tensor of the processor, on
which the operations run, so real numbers come out. What a GPU refuses is refused in torch's own words: an operation
on tensors of two devices, ``numpy()``, a generator of another device. And what a GPU copies into pinned memory is
NaN there until an event recorded behind the copy, or the device, is waited for, as if it came as late as it can;
pinned memory that is overwritten before a copy from it has ended fails where the copy is waited for.

It tells nothing of speed, of a GPU's own rounding and sums, or of how its kernels run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten

DEVICES = 2
# What torch's insides take the device for: a type whose gradients are computed in the thread that asks for them.
INSIDE = "lazy"
# What may take tensors of the processor beside those of a GPU; pointwise operations and fillings may take numbers.
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
FILLING = (aten.fill_.Tensor, aten.fill.Tensor, aten.masked_fill_.Tensor, aten.masked_fill.Tensor)


class GpuTensor(Tensor):
    """A tensor on a GPU that is not there. held: its numbers, on the processor. place: where it says it is."""

    held: Tensor
    place: torch.device
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor, place: torch.device) -> GpuTensor:
        # In inference mode, too, a view of what was made outside of it is no inference tensor.
        with torch.inference_mode(held.is_inference()):
            made: GpuTensor = Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                held.stride(),
                held.storage_offset(),
                dtype=held.dtype,
                device=f"{INSIDE}:{place.index}",
            )
        made.held, made.place = held, place
        return made

    @property
    def device(self) -> torch.device:
        return self.place

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: GpuTensor) -> None:
        self.held, self.place = value.held, value.place
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]

    def to(self, *arguments: Any, **named: Any) -> Tensor:
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*arguments, **named)
        place = self.place if device is None else resolved(device)
        if place == self.place and dtype in (None, self.dtype) and memory_format is None:
            return self
        return super().to(
            device=place or device,
            dtype=dtype or self.dtype,
            non_blocking=non_blocking,
            memory_format=memory_format or torch.preserve_format,
        )

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self) -> Any:
        raise TypeError(f"can't convert {self.place} device type tensor to numpy. Use Tensor.cpu() to copy it first.")

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def __repr__(self, **_: Any) -> str:
        return f"{self.held!r} on {self.place}"

    def __reduce_ex__(self, protocol: int) -> Any:
        # In a file, as one reads it where there is no GPU.
        return self.detach().cpu().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return FakeGpu.here.compute(func, args, kwargs or {})


class FakeGpu(TorchDispatchMode):
    """Two GPUs that are not there. Entered by ``fake_gpu``.

    computed: how many operations ran on each. capability, memory: what each says of itself; memory in bytes, free
    and in all. fail_at: the number of operations after which one raises ``failure``.
    """

    here: FakeGpu

    def __init__(self) -> None:
        super().__init__()
        self.current = 0
        self.computed = [0] * DEVICES
        self.capability = (9, 0)
        self.memory = (70 * 2**30, 80 * 2**30)
        self.fail_at: int | None = None
        self.failure: Exception = torch.AcceleratorError("CUDA error: unspecified launch failure")
        # What is recorded at the moment.
        self.recording: CUDAGraph | None = None
        self._under_way: list[list[_Copy]] = [[] for _ in range(DEVICES)]
        # Held, so that no other tensor comes to lie where one has been.
        self._pinned: dict[int, Tensor] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Or torch's compiler is imported, which takes seconds.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.compute(func, args, kwargs or {})

    def compute(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """An operation of torch's, wherever its tensors are."""
        if func._can_decompose():
            # In inference mode such an operation comes here before it is taken apart.
            with self:
                return func.decompose(*args, **kwargs)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        source = next((x.place for x in tensors if isinstance(x, GpuTensor)), None)
        asked = kwargs.get("device")
        target = source if asked is None else resolved(asked)
        if source is None and target is None:
            return self._on_processor(func, args, kwargs)
        _refuse_mixed(func, tensors, args, source)
        self._count(source or target)
        if func in COPIES and kwargs.get("non_blocking", len(args) > 2 and args[2]):
            return self._copy_aside(func, args, kwargs, source, target)
        if source is not None and (target is None or _leaves_the_device(func, args)):
            self.refuse_while_recording(func)
            self.synchronise(source)
        elif func in COPIES and not all(isinstance(x, GpuTensor) for x in tensors):
            self.refuse_while_recording(func)
        named = {name: value for name, value in kwargs.items() if name != "pin_memory"}
        if target is not None and asked is not None:
            named["device"] = torch.device("cpu")
        if self.recording is not None:
            return self.recording.computed(func, args, named, target)
        return _computed(func, args, named, target)

    def _on_processor(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if func is aten.is_pinned.default:
            return self.is_pinned(args[0])
        if func is aten._pin_memory.default:
            return self._pin(args[0].clone())
        named = {name: value for name, value in kwargs.items() if name != "pin_memory"}
        made = func(*args, **named)
        return self._pin(made) if kwargs.get("pin_memory") else made

    def _pin(self, tensor: Tensor) -> Tensor:
        self._pinned[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def is_pinned(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, GpuTensor) and tensor.untyped_storage().data_ptr() in self._pinned

    def _count(self, place: torch.device) -> None:
        self.computed[place.index] += 1
        if self.fail_at is not None and sum(self.computed) >= self.fail_at:
            raise self.failure

    def refuse_while_recording(self, func: Any) -> None:
        if self.recording is not None:
            raise torch.AcceleratorError(f"CUDA error: operation not permitted when stream is capturing [{func}]")

    def _copy_aside(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], source: Any, target: torch.device | None
    ) -> Tensor:
        """A copy that does not wait: between pinned memory and a GPU it is under way afterwards."""
        named = {name: value for name, value in kwargs.items() if name in ("dtype", "memory_format")}
        if func is aten._to_copy.default:
            made = _computed(func, args[:1], named, target)
            if target is None:
                made = self._pin(made.clone())
                self._under_way[source.index].append(_Arriving(made))
            elif self.is_pinned(args[0]):
                self._under_way[target.index].append(_Leaving(args[0]))
            return made
        into, of = args[:2]
        _computed(func, (into, of), {}, source)
        if self.is_pinned(into):
            self._under_way[of.place.index].append(_Arriving(into))
        elif self.is_pinned(of):
            self._under_way[into.place.index].append(_Leaving(of))
        return into

    def synchronise(self, place: torch.device, among: Sequence[_Copy] | None = None) -> None:
        """Wait for the copies under way on a device, or for those of them that are ``among`` some."""
        waiting = self._under_way[place.index]
        for copy in list(waiting):
            if among is None or copy in among:
                waiting.remove(copy)
                copy.end()

    def under_way(self, place: torch.device) -> list[_Copy]:
        return list(self._under_way[place.index])


class _Copy:
    """A copy that nobody has waited for."""

    def end(self) -> None:
        raise NotImplementedError


class _Arriving(_Copy):
    """Into pinned memory: what is copied shows at the end."""

    def __init__(self, into: Tensor) -> None:
        self.into, self.numbers = into, into.clone()
        into.fill_(float("nan") if into.is_floating_point() else 99)

    def end(self) -> None:
        with torch.inference_mode():
            self.into.copy_(self.numbers)


class _Leaving(_Copy):
    """Out of pinned memory, which must stay as it is till the end."""

    def __init__(self, of: Tensor) -> None:
        self.of, self.numbers = of, of.clone()

    def end(self) -> None:
        same = torch.equal(self.of.view(torch.uint8), self.numbers.view(torch.uint8))
        assert same, "pinned memory was overwritten before its copy to the GPU had ended"


class CUDAGraph:
    """In place of ``torch.cuda.CUDAGraph``: operations whose results nobody sees before they are done again.

    As on a GPU, what is recorded is not computed: what tensors held before, and the generators, are as they were.
    """

    def __init__(self) -> None:
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._made: set[int] = set()
        self._generators: list[torch.Generator] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        self._generators.append(generator)

    def pool(self) -> CUDAGraph:
        return self

    def computed(self, func: Any, args: Sequence[Any], named: Mapping[str, Any], target: torch.device | None) -> Any:
        """An operation that is being recorded."""
        drawn = named.get("generator")
        # Another object for the same generator.
        if drawn is not None and not any(torch.equal(drawn.get_state(), x.get_state()) for x in self._generators):
            raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode.")
        arguments = tree_map(_held, (tuple(args), dict(named)))
        for x in tree_leaves(arguments):
            if not isinstance(x, Tensor):
                continue
            storage = x.untyped_storage()
            if storage.data_ptr() not in self._made and storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = storage, storage.clone()
        made = _computed(func, args, named, target)
        results = [_held(x) for x in tree_leaves(made) if isinstance(x, Tensor)]
        for x in results:
            if x.untyped_storage().data_ptr() not in self._before:
                self._made.add(x.untyped_storage().data_ptr())
        self._operations.append((func, *arguments, results))
        return made

    def ended(self, drawn: Sequence[Tensor]) -> None:
        for generator, state in zip(self._generators, drawn):
            generator.set_state(state)
        for storage, before in self._before.values():
            storage.copy_(before)
        for *_, results in self._operations:
            for x in results:
                if x.untyped_storage().data_ptr() in self._made and x.is_floating_point():
                    x.fill_(float("nan"))

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, named, results in self._operations:
                again = [x for x in tree_leaves(func(*args, **named)) if isinstance(x, Tensor)]
                for was, now in zip(results, again, strict=True):
                    if now.data_ptr() != was.data_ptr():
                        was.copy_(now)

    def recorded(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._generators]


def _held(x: Any) -> Any:
    return x.held if isinstance(x, GpuTensor) else x


@contextmanager
def recorded(graph: CUDAGraph, pool: Any = None, stream: Any = None, mode: str = "global") -> Iterator[None]:
    """In place of ``torch.cuda.graph``."""
    assert stream is not Stream.usual, "the device's usual stream cannot be recorded"
    drawn = graph.recorded()
    FakeGpu.here.recording = graph
    try:
        yield
    finally:
        FakeGpu.here.recording = None
    graph.ended(drawn)


class Stream:
    """In place of ``torch.cuda.Stream``: all is done when it is asked for, so one is behind the other anyway."""

    usual: Stream
    current: Stream

    def __init__(self, device: Any = None) -> None:
        resolved("cuda" if device is None else device)

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream)


@contextmanager
def current_stream(stream: Stream) -> Iterator[None]:
    """In place of ``torch.cuda.stream``."""
    before, Stream.current = Stream.current, stream
    try:
        yield
    finally:
        Stream.current = before


class Event:
    """In place of ``torch.cuda.Event``."""

    def __init__(self, **_: Any) -> None:
        self._place, self._behind = torch.device("cuda", 0), list[_Copy]()

    def record(self) -> None:
        self._place = torch.device("cuda", FakeGpu.here.current)
        self._behind = FakeGpu.here.under_way(self._place)

    def synchronize(self) -> None:
        FakeGpu.here.synchronise(self._place, self._behind)


class Generator(torch.Generator):
    """In place of ``torch.Generator``: the processor's numbers on any device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made: Generator = super().__new__(cls, "cpu")
        made.place = resolved(device) or torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.place


class _Calls(TorchFunctionMode):
    """What is looked at before torch's insides: they make another object of a generator, and look for a driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if func is torch.tensor and named.get("device") is not None:
            return func(*args, **{**named, "device": None}).to(named["device"])
        if named.get("generator") is not None:
            made = isinstance(args[0], Tensor) and args[0].device
            wanted = made or torch.device(named.get("device") or "cpu")
            found = named["generator"].device
            if found != (resolved(wanted) or wanted):
                raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")
        return func(*args, **named)


def resolved(device: Any) -> torch.device | None:
    """'cuda', 'cuda:1' or 1 as a device with its number; None for another type. Raises what torch does if it is not
    there."""
    named = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if named.type not in ("cuda", INSIDE):
        return None
    index = FakeGpu.here.current if named.index is None else named.index
    if index >= DEVICES:
        raise torch.AcceleratorError("CUDA error: invalid device ordinal")
    return torch.device("cuda", index)


def _computed(func: Any, args: Sequence[Any], named: Mapping[str, Any], target: torch.device | None) -> Any:
    """An operation on the processor's numbers; what comes of it is on ``target``, None for the processor itself.

    What an operation writes into is returned as what it was.
    """
    given: dict[int, Tensor] = {}

    def held(x: Any) -> Any:
        if not isinstance(x, GpuTensor):
            return x
        given[id(x.held)] = x
        return x.held

    def placed(x: Any) -> Any:
        if not isinstance(x, Tensor) or target is None:
            return x
        return given[id(x)] if id(x) in given else GpuTensor(x, target)

    return tree_map(placed, func(*tree_map(held, tuple(args)), **tree_map(held, dict(named))))


def _leaves_the_device(func: Any, args: Sequence[Any]) -> bool:
    """Whether the processor waits for what comes of an operation."""
    if func is aten.copy_.default:
        return not isinstance(args[0], GpuTensor)
    return func in (aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default)


def _refuse_mixed(func: Any, tensors: Sequence[Tensor], args: Sequence[Any], place: torch.device | None) -> None:
    """Raise what torch does for tensors of two devices in one operation."""
    if func in COPIES:
        return
    if func in INDEXING:
        indexed = args[0]
        if not isinstance(indexed, GpuTensor):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor "
                f"({indexed.device}) [{func}]"
            )
        tensors = [indexed, *(x for x in args[2:3] if x.dim())]
    numbers = torch.Tag.pointwise in func.tags or func in FILLING
    found = {x.device for x in tensors if isinstance(x, GpuTensor) or x.dim() or not numbers}
    if len(found) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{' and '.join(sorted(map(str, found)))}! [{func}]"
        )


@contextmanager
def current_device(device: Any) -> Iterator[None]:
    """In place of ``torch.cuda.device``."""
    before, place = FakeGpu.here.current, resolved(device)
    assert place is not None, device
    FakeGpu.here.current = place.index
    try:
        yield
    finally:
        FakeGpu.here.current = before


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """Within, torch has two GPUs, in this thread."""
    gpu = FakeGpu.here = FakeGpu()
    Stream.usual = Stream.current = Stream()
    # On a machine without a driver, torch would look for one where a tensor says that it is on 'cuda'.
    torch._C._ensureCUDADeviceGuardSet()
    with pytest.MonkeyPatch.context() as patch, gpu, _Calls():
        patch.setattr(torch, "Generator", Generator)
        for name, value in _cuda(gpu).items():
            patch.setattr(torch.cuda, name, value)
        yield gpu


def _cuda(gpu: FakeGpu) -> dict[str, Any]:
    """What stands in for the functions of ``torch.cuda``."""

    def of(value: Callable[[], Any]) -> Callable[..., Any]:
        def asked(device: Any = None) -> Any:
            resolved("cuda" if device is None else device)
            return value()

        return asked

    def synchronize(device: Any = None) -> None:
        place = resolved("cuda" if device is None else device)
        assert place is not None, device
        gpu.synchronise(place)

    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: DEVICES,
        "current_device": lambda: gpu.current,
        "device": current_device,
        "get_device_capability": of(lambda: gpu.capability),
        "get_device_name": of(lambda: "a GPU that is not there"),
        "mem_get_info": of(lambda: gpu.memory),
        "synchronize": synchronize,
        "Event": Event,
        "Stream": Stream,
        "stream": current_stream,
        "current_stream": of(lambda: Stream.current),
        "CUDAGraph": CUDAGraph,
        "graph": recorded,
    }

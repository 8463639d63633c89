"""Functions of tensors whose work on a GPU is recorded once and replayed from then on.

Fifty small steps are bound by Python and by the launches of their kernels: a replay is one launch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

WARM_UPS = 2
"""Calls before the recording, in which libraries choose their kernels and workspaces."""


class Graph(Protocol):
    """Work on a device that can be done again."""

    def record(self, work: Callable[[], None]) -> None:
        """Do `work` and remember it."""

    def replay(self) -> None:
        """Do it again, on the same memory."""


class CudaGraph:
    """Work on a GPU, recorded.

    Args:
        pool: memory that it shares with other graphs, of which none runs beside it.
    """

    def __init__(self, pool: Any = None) -> None:
        self.graph, self.pool = torch.cuda.CUDAGraph(), pool

    def record(self, work: Callable[[], None]) -> None:
        """Do `work` a few times beside the present stream, then record it."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self.graph, pool=self.pool, capture_error_mode="thread_local"):
            work()

    def replay(self) -> None:
        """One launch."""
        self.graph.replay()


class Repeated:
    """Work that is called again: a graph for devices that have none, on the same memory."""

    work: Callable[[], None]

    def record(self, work: Callable[[], None]) -> None:
        """Do `work` and remember it."""
        self.work = work
        work()

    def replay(self) -> None:
        """Call it again."""
        self.work()


class Captured:
    """A function of tensors and numbers, as one replay of what its first call did.

    The function gets numbers as tensors: whole ones as (1,) int64, others as () float64. What it
    returns, a tensor or a tuple of tensors, is overwritten by the next call.

    Args:
        function: reads no tensor back and draws nothing; its shapes never change.
        graph: empty.
        device: where the numbers are put.
    """

    def __init__(self, function: Callable[..., Any], graph: Graph, device: Any = None) -> None:
        self.function, self.graph, self.device = function, graph, device
        self.inputs: list[torch.Tensor] = []
        self.outputs: tuple[torch.Tensor, ...] = ()
        self.single = False

    def __call__(self, *inputs: torch.Tensor | float) -> Any:
        """What the function makes of other inputs of the same shapes."""
        if not self.outputs:
            self.inputs = [_buffer(one, self.device) for one in inputs]
            self.graph.record(self._work)
        else:
            for there, one in zip(self.inputs, inputs, strict=True):
                there.copy_(one) if isinstance(one, torch.Tensor) else there.fill_(one)
        self.graph.replay()
        return self.outputs[0] if self.single else self.outputs

    def _work(self) -> None:
        made = self.function(*self.inputs)
        self.single = isinstance(made, torch.Tensor)
        results = (made,) if self.single else tuple(made)
        if self.outputs:  # of the first warm-up: memory that no graph will use for anything else
            torch._foreach_copy_(list(self.outputs), list(results))
        else:
            self.outputs = results


def _buffer(value: torch.Tensor | float, device: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, int):
        return torch.full((1,), value, device=device)
    return torch.full((), value, device=device, dtype=torch.float64)

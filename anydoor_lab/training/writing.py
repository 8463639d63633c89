"""Checkpoints written beside the training: from a copy, one at a time, errors told soon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch


def copied(tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors as they are now, in memory of their own on the CPU (pinned behind a GPU)."""
    groups: dict[str, dict[str, torch.Tensor]] = {}
    on_gpu = False
    for group, named in tensors.items():
        groups[group] = {}
        for name, tensor in named.items():
            on_gpu |= tensor.is_cuda
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            groups[group][name] = kept.copy_(tensor.detach(), non_blocking=True)
    if on_gpu:
        torch.cuda.synchronize()
    return groups


class Writing:
    """At most one thing that is being written in the background."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, write: Callable[[], Any]) -> None:
        """Write in the background, after what was begun before is whole.

        Raises:
            Exception: what was written before has failed.
        """
        self.finish()
        # no daemon: an interpreter that ends waits for it
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint")
        self._thread.start()

    def _run(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except Exception as error:
            self._error = error

    def check(self) -> None:
        """Raise what has failed in the background; nothing is waited for."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait for what is being written.

        Raises:
            Exception: it has failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

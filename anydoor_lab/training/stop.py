"""Signals: the step is finished and saved before the process ends.

The first SIGINT (Ctrl-C), SIGTERM, SIGUSR1 or SIGUSR2 ends training after its current step, on all
processes after the same one; a second ends it at once. What ends the process then is whoever
listened before: a launcher's own handler (submitit's requeues the job, or passes SIGTERM over),
else Ctrl-C as everywhere (130), and for the other signals the exit code 128 + number (143 for
SIGTERM).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate import Accelerator

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
SAME = 1.0
"""Seconds in which a signal counts once: a launcher passes on what all processes were sent."""


class Listening:
    """A context in which stopping signals are noted; nothing changes outside the main thread, and
    signals that were ignored before stay ignored."""

    def __init__(self) -> None:
        self.signal = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Listening:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear) or signal.SIG_DFL
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @property
    def name(self) -> str:
        """The noted signal's name."""
        return signal.Signals(self.signal).name

    def asked(self, accelerator: Accelerator) -> bool:
        """Whether to stop after this step; all processes must ask, and get the same answer."""
        agreed = self.signal
        if accelerator.num_processes > 1:
            noted = torch.tensor(agreed, device=accelerator.device)
            torch.distributed.all_reduce(noted, op=torch.distributed.ReduceOp.MAX)
            agreed = int(noted)
            self.signal = agreed or self.signal  # one that came meanwhile is for the next step
        return agreed != 0

    def leave(self) -> None:
        """End as the noted signal asks; comes back where a launcher's handler passes it over.

        Raises:
            KeyboardInterrupt: it was Ctrl-C.
            SystemExit: with 128 + its number.
        """
        number, before = self.signal, self._before.get(self.signal)
        self.signal = 0
        if callable(before):
            before(number, None)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self.signal:
            self.signal, self._since = number, time.monotonic()
            print(f"{self.name}: ends after this step; once more: at once", file=sys.stderr)
        elif time.monotonic() - self._since > SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def pass_over_signals(worker: int) -> None:
    """For a process that loads samples: signals to the whole group are its parent's to follow.

    Only the second SIGTERM ends it.
    """
    del worker
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _only_once)


def _only_once(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)

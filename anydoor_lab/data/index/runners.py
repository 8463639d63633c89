"""Who indexes the parts: this machine's processes, jobs of a cluster, or Ray. The same function
does it everywhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from anydoor_lab.data.index.build import index_part
from anydoor_lab.data.index.views import Spec
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError, RunError

AHEAD = 3
"""Parts that wait for each process, so that none waits for a part."""


class Runner(Protocol):
    """Indexes parts and says which files are ready, in any order."""

    def __call__(self, specs: Sequence[Spec], **settings: Any) -> Iterator[Path]:
        """The files of all parts."""


def local(specs: Sequence[Spec], *, workers: int | None = None) -> Iterator[Path]:
    """Index with processes of this machine; with 0 workers, in this process.

    Raises:
        ValueError: `workers` is negative.
        RuntimeError: a process was killed, as by the system when memory ran out.
    """
    workers = _processors() if workers is None else workers
    if workers < 0:
        raise InputError(f"index.workers is {workers}; expected 0 (this process) or more")
    if workers == 0 or len(specs) < 2:
        yield from map(index_part, specs)
        return
    # spawned: a fork would copy pyarrow's locks in whatever state they are
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(specs)), context, _ignore_interrupts)
    try:
        yield from _as_ready(pool, iter(specs), AHEAD * workers)
    except BrokenProcessPool as error:
        raise RunError(
            "a process that indexed was killed, perhaps because memory ran out; what is finished "
            "stays: run the command again, with fewer index.workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_ready(pool: ProcessPoolExecutor, specs: Iterator[Spec], ahead: int) -> Iterator[Path]:
    waiting: set[Future[Path]] = {pool.submit(index_part, s) for s in islice(specs, ahead)}
    while waiting:
        ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        waiting |= {pool.submit(index_part, spec) for spec in islice(specs, len(ready))}
        for future in ready:
            yield future.result()


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def runner_of(name: str) -> Runner:
    """The runner of that name.

    Raises:
        ValueError: there is none.
    """
    check_choice("index.runner", name, tuple(RUNNERS))
    return RUNNERS[name]


RUNNERS: Mapping[str, Runner] = {"local": local}

"""Who works on the parts of a set: this machine's processes, jobs of a cluster, or Ray. The same
function does it everywhere."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError, RunError

AHEAD = 3
"""Parts that wait for each process, so that none waits for a part."""


JOBS = 16
"""Jobs of a cluster, unless the user says how many."""
POLL_S = 2.0
"""Between two looks at a cluster's jobs."""


class Piece(Protocol):
    """A piece of work that can be sent to another process."""

    @property
    def folder(self) -> str:
        """One that all machines see."""


_P = TypeVar("_P", bound=Piece)
_R = TypeVar("_R")
Work = Callable[[_P], _R]
"""What is done with a piece: a function at the top of a module, as `index_part`."""


class Runner(Protocol):
    """Works on pieces and gives what comes of them, in any order."""

    def __call__(
        self, work: Work[_P, _R], pieces: Sequence[_P], *, workers: int | None,
        cluster: Mapping[str, Any],
    ) -> Iterator[_R]:  # fmt: skip
        """What comes of all pieces.

        Args:
            work: what is done with each.
            pieces: the parts of a set, or others.
            workers: how many processes or jobs; None: as many as suit.
            cluster: what a cluster is asked for, in its own words.
        """


def local(
    work: Work[_P, _R], pieces: Sequence[_P], *, workers: int | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> Iterator[_R]:  # fmt: skip
    """Work with processes of this machine; with 0 workers, in this process.

    Raises:
        ValueError: `workers` is negative, or `cluster` is given.
        RuntimeError: a process was killed, as by the system when memory ran out.
    """
    if cluster:
        raise InputError("index.cluster is for index.runner=submitit or ray; leave it out")
    workers = processors() if workers is None else workers
    if workers < 0:
        raise InputError(f"index.workers is {workers}; expected 0 (this process) or more")
    if workers == 0 or len(pieces) < 2:
        yield from map(work, pieces)
        return
    # spawned: a fork would copy pyarrow's locks in whatever state they are
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(pieces)), context, _ignore_interrupts)
    try:
        yield from _as_ready(pool, work, iter(pieces), AHEAD * workers)
    except BrokenProcessPool as error:
        raise RunError(
            "a process was killed, perhaps because memory ran out; what is finished "
            "stays: run the command again, with fewer index.workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _as_ready(
    pool: ProcessPoolExecutor, work: Work[_P, _R], pieces: Iterator[_P], ahead: int
) -> Iterator[_R]:
    waiting: set[Future[_R]] = {pool.submit(work, one) for one in islice(pieces, ahead)}
    while waiting:
        ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        waiting |= {pool.submit(work, one) for one in islice(pieces, len(ready))}
        for future in ready:
            yield future.result()


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def submitit(
    work: Work[_P, _R], pieces: Sequence[_P], *, workers: int | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> Iterator[_R]:  # fmt: skip
    """Work with jobs of SLURM, one array of them; without SLURM, with jobs of this machine.

    The pieces' folder, where the jobs also write their logs, must be one that all machines see.

    Args:
        work: what is done with each piece.
        pieces: the parts.
        workers: how many jobs; None: `JOBS`.
        cluster: what submitit's executor takes: `slurm_partition`, `timeout_min`, `cluster` ...

    Raises:
        ValueError: submitit is not installed, or `cluster` has what it does not know.
        RuntimeError: a job failed.
    """
    jobs = _library("submitit", "sweep")
    wanted = dict(cluster or {})
    logs = Path(pieces[0].folder) / "jobs"
    try:
        executor = jobs.AutoExecutor(folder=logs, cluster=wanted.pop("cluster", None))
        executor.update_parameters(name="index", **{"timeout_min": 600, **wanted})
    except (NameError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"index.cluster is not what submitit takes ({error})") from error
    started = executor.map_array(partial(_several, work), _shares(pieces, workers or JOBS))
    try:
        for job in jobs.helpers.as_completed(started, poll_frequency=POLL_S):
            yield from _result(job, logs)
    except BaseException:
        for job in started:
            job.cancel()
        raise


def _result(job: Any, logs: Path) -> list[Any]:
    error = job.exception()
    if error is not None:
        last = str(error).strip().splitlines()[-1]
        raise RunError(
            f"job {job.job_id} failed ({last}); its log is in {logs}; what is finished stays: run "
            "the command again"
        ) from error
    done: list[Any] = job.result()
    return done


def ray(
    work: Work[_P, _R], pieces: Sequence[_P], *, workers: int | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> Iterator[_R]:  # fmt: skip
    """Work with Ray Data, on a cluster that runs or one of this machine's processes.

    Args:
        work: what is done with each piece.
        pieces: the parts.
        workers: how many parts at a time; None: as many as Ray has processors.
        cluster: what `ray.init` takes: `address`, `num_cpus` ...

    Raises:
        ValueError: Ray is not installed, or `cluster` has what it does not know.
        RuntimeError: a part failed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of us
    cloud, data = _library("ray", "ray"), _library("ray.data", "ray")
    usual = {"include_dashboard": False, "logging_level": logging.WARNING}
    try:
        cloud.init(ignore_reinit_error=True, **{**usual, **(cluster or {})})
    except (TypeError, ValueError, ConnectionError) as error:
        raise InputError(f"index.cluster is not what ray.init takes ({error})") from error
    try:
        data.DataContext.get_current().enable_progress_bars = False  # ours is enough
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        items = [{"piece": pickle.dumps((work, piece))} for piece in pieces]
        table = data.from_items(items, override_num_blocks=len(items))
        pool = data.TaskPoolStrategy(size=workers)
        for row in table.map(_row_done, compute=pool).iter_rows():
            yield pickle.loads(row["done"])
    except cloud.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise RunError(f"a part failed ({last}); what is finished stays: run it again") from error
    finally:
        cloud.shutdown()


def _row_done(row: dict[str, bytes]) -> dict[str, bytes]:
    work, piece = pickle.loads(row["piece"])
    return {"done": pickle.dumps(work(piece))}


def _several(work: Work[_P, _R], pieces: Sequence[_P]) -> list[_R]:
    return [work(piece) for piece in pieces]


def _shares(pieces: Sequence[_P], number: int) -> list[list[_P]]:
    """The parts dealt out evenly to so many jobs, none of them empty."""
    return [list(pieces[n::number]) for n in range(min(number, len(pieces)))]


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"this index.runner needs {name}, not installed; install the extra: "
            f"pip install 'anydoor-lab[{extra}]'"
        ) from error


def runner_of(name: str) -> Runner:
    """The runner of that name.

    Raises:
        ValueError: there is none.
    """
    check_choice("index.runner", name, tuple(RUNNERS))
    return RUNNERS[name]


RUNNERS: Mapping[str, Runner] = {"local": local, "submitit": submitit, "ray": ray}

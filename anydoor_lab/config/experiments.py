"""What every experiments/<id>/run.py does: its arguments, its errors, and the sweep of an id."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anydoor_lab.config.door import REFUSED
from anydoor_lab.structures.errors import AnyDoorError, InputError
from anydoor_lab.structures.files import write_whole

DATA = ("things", "world")
FAST = ("train.steps=2", "train.batch_size=2", "train.workers=0", "model.num_inference_steps=1",
        "logger=silent", "eval=fast", "eval.num_pairs=2", "eval.num_diverse=0",
        "eval.num_shown=2", "metrics=[clip,dino]", "share=false",
        "init=embedded:anydoor")  # fmt: skip
"""Settings of a training that only shows that everything works."""
KEPT = ("rows.csv", "agreement.csv", "table_*", "figure_*", "pictures_*")
"""What of a sweep's folder an experiment keeps."""
REFUSALS = (AnyDoorError, FileNotFoundError, FileExistsError)
"""What a wrong input raises; its sentence is enough."""
SWEEP_OF = {"fig8_id_extractors": "table3_id_extractors", "fig9_collages": "table4_collages"}
"""The experiments that show the runs of another one's sweep."""
WITHOUT_RUNS = ("table1_datasets", "fig3_focus", "fig10_try_on", "fig11_applications")
"""The experiments that keep no scored runs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an experiment was asked for with.

    Args:
        experiment: its id.
        fast: a few steps and pairs, to see that it works.
        device: auto, cpu or cuda.
        data: names of conf/data.
        seeds: of training, where something is trained.
        out: the folder its files go to.
    """

    experiment: str
    fast: bool
    device: str
    data: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path


Experiment = Callable[[Asked], None]


def runs_of(experiment: str, fast: bool) -> Path:
    """Where the runs of an experiment go: below runs/fast those that only show that it works."""
    return Path("runs") / ("fast" if fast else "") / experiment


def run_experiment(
    script: str, experiment: Experiment, arguments: Sequence[str] | None = None
) -> None:
    """Run an experiment with a command line's arguments; a wrong input ends in one sentence and 2.

    Args:
        script: the run.py, in the folder of the experiment's id.
        experiment: what it does.
        arguments: of the command line; its own where None.
    """
    with refusals():
        experiment(read_arguments(Path(script).resolve().parent, arguments))


@contextmanager
def refusals() -> Iterator[None]:
    """Inside, a wrong input ends the command in one sentence and exit code 2."""
    try:
        yield
    except REFUSALS as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(REFUSED)


def read_arguments(folder: Path, arguments: Sequence[str] | None) -> Asked:
    """The arguments that all experiments take; `--fast` writes below runs/fast of this folder.

    Raises:
        ValueError: there is no GPU where one is asked for.
    """
    parser = argparse.ArgumentParser(prog=f"experiments/{folder.name}/run.py")
    parser.add_argument("--fast", action="store_true", help="a few steps, to see that it works")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--data", nargs="+", default=list(DATA), help="things, world or both")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of training")
    parser.add_argument("--out", type=Path, help="folder of what is written; this one by default")
    found = parser.parse_args(arguments)
    use_device(found.device)
    out = found.out or (runs_of(folder.name, fast=True) if found.fast else folder)
    data, seeds = (found.data[-1:], found.seeds[:1]) if found.fast else (found.data, found.seeds)
    return Asked(folder.name, found.fast, found.device, tuple(data), tuple(seeds), out)


def use_device(device: str) -> None:
    """Have everything of this process on the CPU where that is asked for.

    Raises:
        ValueError: there is no GPU where one is asked for.
    """
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device is cuda and this machine has no GPU; use auto or cpu")


def sweep_results(asked: Asked, kept: Sequence[str] = KEPT) -> None:
    """Train what the sweep of an experiment lacks, and copy what it came to into `asked.out`.

    Args:
        asked: its `data` and `seeds` are swept over.
        kept: patterns of the files that are copied.

    Raises:
        SystemExit: a run failed; its sentence is printed.
    """
    name = SWEEP_OF.get(asked.experiment, asked.experiment)
    folder = runs_of(name, asked.fast)
    repeated = [f"data={','.join(asked.data)}", f"seed={','.join(map(str, asked.seeds))}"]
    quick = FAST if asked.fast else ()
    call = [f"experiment={name}", *repeated, *quick, f"hydra.sweep.dir={folder}"]
    run_command("train", call)
    for pattern in kept:
        for path in sorted(folder.glob(pattern)):
            if path.resolve() != (asked.out / path.name).resolve():
                write_whole(asked.out / path.name, path.read_bytes())
                print(f"kept     {asked.out / path.name}")


def run_command(command: str, arguments: Sequence[str]) -> None:
    """`python -m anydoor_lab.<command> <arguments>` in this process.

    Raises:
        SystemExit: it was refused, or failed.
    """
    before = sys.argv
    sys.argv = [f"{command}.py", *arguments]
    try:
        runpy.run_module(f"anydoor_lab.{command}", run_name="__main__", alter_sys=True)
    finally:
        sys.argv = before


def not_run(asked: Asked, why: str) -> None:
    """Say what an experiment that cannot run yet waits for."""
    print(f"{asked.experiment} is not run: {why}")

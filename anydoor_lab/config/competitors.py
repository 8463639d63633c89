"""The paper's competitors beside each other: one that cannot run, or fails, stops no other."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydoor_lab.config.compose import plain
from anydoor_lab.config.experiments import REFUSALS, Asked, runs_of
from anydoor_lab.config.studies import bench_of, embedded_pipeline, scored_by, settings_of
from anydoor_lab.structures.errors import InputError, NotRunError, RunError
from anydoor_lab.structures.names import conf_dir, conf_folders

if TYPE_CHECKING:
    from anydoor_lab.report.scored import Scored


class Attempts:
    """Several methods tried one after the other.

    Attributes:
        lacking: by data set and method, why one has no scores, as a table notes it.
        failed: those of them that failed, where others were only not there to be run.
    """

    def __init__(self) -> None:
        self.lacking: dict[str, dict[str, str]] = {}
        self.failed: list[str] = []

    @contextmanager
    def attempt(self, name: str, data: str) -> Iterator[None]:
        """Inside, what a method lacks or how it fails is noted and printed, and no more."""
        from anydoor_lab.models.sources import MissingError

        try:
            yield
        except (MissingError, NotRunError) as error:
            self.lacking.setdefault(data, {})[name] = f"not run: {_sentence(error)}"
            print(f"not run  {name} on {data}: {_sentence(error)}", flush=True)
        except Exception as error:  # a method may be the user's own and raise anything
            if not isinstance(error, REFUSALS):
                traceback.print_exc()
            self.lacking.setdefault(data, {})[name] = f"failed: {_sentence(error)}"
            self.failed.append(f"{name} on {data} ({_sentence(error)})")
            print(f"failed   {name} on {data}: {_sentence(error)}", file=sys.stderr)

    def check(self) -> None:
        """Raise RuntimeError if a method failed."""
        if self.failed:
            raise RunError(
                f"{len(self.failed)} failed: {', '.join(self.failed)}; what the others came to is "
                "kept, and the same command tries again"
            )


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def compare_methods(
    asked: Asked, methods: Sequence[str], place: Path | None = None
) -> list[Scored]:
    """Score methods on the same held-out pairs and write their table, figure and picture grid.

    A method whose class, library or weights are missing stands in the table as not run, one that
    fails as failed.

    Args:
        asked: see `Asked`.
        methods: names of conf/method.
        place: where the methods' own folders go; below runs/ where None.

    Raises:
        ValueError: nothing could be run.
        RuntimeError: a method failed; what the others came to is written.
    """
    from anydoor_lab.report.experiment import write_results

    runs: list[Scored] = []
    attempts = Attempts()
    place = place or runs_of(asked.experiment, asked.fast)
    for data in asked.data:
        bench = bench_of(settings_of(asked, data))
        for name in methods:
            with attempts.attempt(name, data):
                method, settings = method_called(asked, data, name)
                folder = place / data / name
                runs.append(scored_by(bench, method, name, data, folder, settings))
    if runs:
        write_results(runs, asked.out, asked.experiment, attempts.lacking)
    attempts.check()
    if not runs:
        raise InputError("none of the methods can run here; see above what each of them lacks")
    return runs


def method_called(
    asked: Asked, data: str, name: str, *overrides: str
) -> tuple[Any, dict[str, Any]]:
    """A method of conf/method and the settings it was made from.

    Raises:
        NotRunError: there is none of that name, or a library that it needs is missing.
        MissingError: weights that it needs are missing.
        ValueError: one of its settings is not possible.
    """
    from anydoor_lab.config.assemble import build_method, needs_pipeline

    if not any((f / "method" / f"{name}.yaml").is_file() for f in (conf_dir(), *conf_folders())):
        raise NotRunError(f"conf/method has no {name}")
    cfg = settings_of(asked, data, f"method={name}", *overrides)
    try:
        pipeline = embedded_pipeline(asked) if needs_pipeline(cfg.method) else None
        return build_method(cfg.method, pipeline, asked.device), plain(cfg)
    except ImportError as error:
        raise NotRunError(str(error)) from error

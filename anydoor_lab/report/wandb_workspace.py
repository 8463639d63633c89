"""W&B's dashboard of a sweep, laid out by code (extra `wandb`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anydoor_lab.report.scored import read_runs
from anydoor_lab.report.scores import metric_columns
from anydoor_lab.runs.tracking import RESULTS, has_key
from anydoor_lab.structures.errors import InputError


def save_workspace(sweep: Path, group: str, project: str) -> str:
    """Save the workspace of a sweep's runs at W&B; its address.

    Args:
        sweep: folder of the runs.
        group: under which W&B has them: the experiment's id or the sweep's name.
        project: of W&B.

    Raises:
        ValueError: nobody is logged in to W&B, or the package is not installed.
    """
    if not has_key():
        raise InputError("W&B has no key; run `wandb login`, or leave workspace=false")
    import wandb

    made = workspace(sweep, group, project, wandb.Api().default_entity or "")
    made.save()
    return str(made.url)


def workspace(sweep: Path, group: str, project: str, entity: str) -> Any:
    """The workspace: scores with their interval's ends, losses by timestep, result pictures.

    Raises:
        ValueError: there is no finished run, or the package is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as spaces
    except ImportError as error:
        wanted = "pip install 'anydoor-lab[wandb]'"
        raise InputError(f"{error.name} is not installed; {wanted}") from error
    runs = read_runs(sweep, group)
    bars = [
        panels.BarPlot(title=key, metrics=[f"final/{key}{end}" for end in ("", "_low", "_high")])
        for key in (column.key for column in metric_columns(run.row for run in runs))
    ]
    losses = [
        panels.LinePlot(title="loss", x="step", y=["loss"]),
        panels.LinePlot(title="loss by timestep", x="step", metric_regex=r"loss/t_.*"),
    ]
    shown = [panels.MediaBrowser(media_keys=[key]) for key in ("samples/final", RESULTS)]
    sections: dict[str, Any] = {"Scores": bars, "Results": shown, "Losses": losses}
    return spaces.Workspace(
        entity=entity,
        project=project,
        name=group,
        sections=[
            spaces.Section(name=name, panels=held, is_open=True) for name, held in sections.items()
        ],
        runset_settings=spaces.RunsetSettings(filters=[spaces.Metric("Group") == group]),
    )

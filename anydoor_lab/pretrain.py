"""The door to the embedded networks: `python -m anydoor_lab.pretrain part=vae out=runs/parts`."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from anydoor_lab.config.compose import leaf, plain
from anydoor_lab.config.door import door
from anydoor_lab.runs.provenance import commit
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from anydoor_lab.training.fit import FitSettings, Progress, TrainingState


@door("pretrain")
def main(cfg: DictConfig) -> None:
    """Train one part, or with `part=all` every part in the order in which they need each other."""
    if "order" not in cfg.part:
        pretrain(cfg)
        return
    for part in cfg.part.order:
        pretrain(_chosen(part))


def _chosen(part: str) -> DictConfig:
    """The same command's config with another part."""
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig

    overrides = [text for text in HydraConfig.get().overrides.task if not text.startswith("part=")]
    return compose("pretrain", overrides=[*overrides, f"part={part}"])


def pretrain(cfg: DictConfig) -> Path:
    """Train the part of `cfg` or go on with it, write it with its card, and return its folder.

    Raises:
        ValueError: the folder holds this part finished already, or one of another recipe begun.
    """
    import torch
    from accelerate import Accelerator

    from anydoor_lab.models.embedded import is_part
    from anydoor_lab.pretraining.folders import round_to_half, write_card
    from anydoor_lab.training.fit import FitSettings, start

    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    folder = Path(cfg.out) / cfg.part.name
    if is_part(folder):
        raise InputError(f"{folder} holds a finished part; remove it or choose another out=")
    pools = {split: _filled(cfg, split) for split in ("train", "held_out")}
    torch.manual_seed(cfg.part.fit.seed)
    needed = _needed(cfg)
    base = {"base": needed.pop("base")} if "base" in needed else {}  # what the network begins as
    objective = leaf(cfg.part.objective)(leaf(cfg.part.network)(**base), **needed)
    begun_from = _begun(cfg, objective.network)
    objective.to(memory_format=torch.channels_last)  # a tenth faster on a CPU, a quarter on a GPU
    samples, held_out = (_samples(cfg, pool) for pool in pools.values())
    settings = FitSettings(**plain(cfg.part.fit))
    half = check_precision(cfg.precision)
    accelerator = Accelerator(cpu=cfg.device == "cpu", mixed_precision=half)
    state = start(objective, settings, accelerator)
    facts = _trained(cfg, state, samples, settings, {**_facts(cfg), **begun_from})
    leading = state.accelerator.is_main_process
    if torch.distributed.is_initialized():  # the scores are one process's: no metric may wait
        torch.distributed.destroy_process_group()
    if not leading:
        return folder
    with state.averaged():
        # where the held-out pictures are, and as files hold it
        objective.to("cpu").to(memory_format=torch.contiguous_format)
        round_to_half(objective.network)
        objective.finish(samples, cfg.num_scored)
        folder.mkdir(parents=True, exist_ok=True)
        objective.save(folder)
        picture = _draw(cfg, objective, held_out)
        scores = objective.scores(held_out, cfg.num_scored)
    bench = {"bench": _benched(cfg, folder)} if cfg.part.get("bench") else {}
    card = write_card(folder, {**facts, "scores": scores, **bench})
    print(f"{cfg.part.name}: {scores}\ncard: {card}\npicture: {picture}")
    return folder


def check_precision(name: str) -> str:
    """The word that accelerate has for `precision`.

    Raises:
        ValueError: it is neither fp32 nor bf16.
    """
    check_choice("precision", name, ("fp32", "bf16"))
    return "no" if name == "fp32" else name


def _filled(cfg: DictConfig, split: str) -> Any:
    """The pool of frames of one split, drawn now unless its file is there; with `entries: null`
    the source itself."""
    if cfg.entries is None:
        return leaf(cfg.world)(split=split)
    from tqdm import tqdm

    from anydoor_lab.pretraining.frames import FramePool

    pool = FramePool(
        leaf(cfg.world)(split=split), cfg.entries[split], cfg.pool_seed, Path(cfg.pool)
    )
    for _ in tqdm(pool.fill(), f"frames ({split})", len(pool), unit="identity", leave=False):
        pass
    return pool


def _begun(cfg: DictConfig, network: Any) -> dict[str, Any]:
    """Give `network` the weights of the finished part `begin`; what the card says of that part."""
    if not cfg.begin:
        return {}
    from anydoor_lab.models.embedded import locate
    from anydoor_lab.pretraining.folders import read_card

    folder = Path(locate(cfg.begin))
    place = {"subfolder": cfg.part.subfolder} if "subfolder" in cfg.part else {}
    network.load_state_dict(type(network).from_pretrained(folder, **place).state_dict())
    card = read_card(folder)
    kept = ("weights", "samples_seen", "commit", "begun_from")
    return {"begun_from": {name: card[name] for name in kept if name in card}}


def _needed(cfg: DictConfig) -> dict[str, Path]:
    """The folders of the parts this one is built on: freshly trained ones, else the embedded."""
    from anydoor_lab.models.joint import part_beside

    own = Path(cfg.out) / cfg.part.name
    return {name: part_beside(own, name) for name in cfg.part.get("needs", [])}


def _samples(cfg: DictConfig, pool: Any) -> Any:
    return leaf(cfg.part.samples)(pool, **_needed(cfg))


def _trained(
    cfg: DictConfig,
    state: TrainingState,
    samples: Any,
    settings: FitSettings,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint where there is one; the card's `facts`."""
    from anydoor_lab.training.checkpoint import newest_checkpoint
    from anydoor_lab.training.fit import fit
    from anydoor_lab.training.stop import Listening

    folder = Path(cfg.out) / f"{cfg.part.name}.training"
    found = newest_checkpoint(folder)
    if found:
        if cfg.resume != "auto":
            raise InputError(f"{folder} holds a begun training; remove it or use resume=auto")
        if _lasting(found.facts["recipe"]) != _lasting(facts["recipe"]):
            raise InputError(f"{folder} was begun with another recipe; remove it or change out=")
        facts = {name: found.facts[name] for name in facts} | {"recipe": facts["recipe"]}
        state.restore(found)
        facts["samples_seen"] = state.step * settings.batch_size
    before, began = facts["seconds"], time.perf_counter()
    steps = fit(state, samples, settings, folder, facts)
    leading = state.accelerator.is_main_process
    with Listening() as listening:
        for progress in _shown(steps, state.step, settings) if leading else steps:
            facts["seconds"] = round(before + time.perf_counter() - began, 1)
            facts["samples_seen"] = progress.samples
            if listening.asked(state.accelerator):
                state.save(folder, facts, settings.keep_checkpoints)
                state.accelerator.wait_for_everyone()
                listening.leave()
    return facts


_FREE = ("steps", "workers", "checkpoint_every")


def _lasting(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what may change while it is followed: how long it trains, how many
    processes draw, how it is scored."""
    fit = {name: value for name, value in recipe["fit"].items() if name not in _FREE}
    return {**recipe, "fit": fit, "bench": None}


def _shown(steps: Iterator[Progress], first: int, settings: FitSettings) -> Iterator[Progress]:
    """The same steps, with a bar of samples per second, time left and the newest metrics."""
    from tqdm import tqdm

    size = settings.batch_size
    with tqdm(total=settings.steps * size, initial=first * size, unit="sample") as bar:
        for progress in steps:
            bar.update(size)
            if progress.metrics:
                hidden = ("samples_per_second", "skipped_steps")
                shown = {k: v for k, v in progress.metrics.items() if k not in hidden}
                bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})
            yield progress


def _facts(cfg: DictConfig) -> dict[str, Any]:
    """What a card says before training: recipe, seed, commit, hardware."""
    import torch

    entries = cfg.entries and plain(cfg.entries)
    shared = {"world": plain(cfg.world), "entries": entries, "pool_seed": cfg.pool_seed}
    return {
        "part": cfg.part.name,
        "recipe": plain(cfg.part),
        "frames": shared,
        "seed": cfg.part.fit.seed,
        "commit": commit(),
        "hardware": f"{cfg.device} ({platform.machine()}), {torch.get_num_threads()} thread(s)",
        "samples_seen": 0,
        "seconds": 0.0,
    }


def _benched(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """The scores of a placing network on held-out pairs, as `evaluate` writes them, with each
    preset."""
    from anydoor_lab.config.assemble import build_bench
    from anydoor_lab.config.pipelines import load_pipeline
    from anydoor_lab.diffusion.presets import PRESETS
    from anydoor_lab.methods.anydoor import AnyDoorMethod
    from anydoor_lab.report.scores import without_singles

    bench = build_bench(_evaluation(cfg.part.bench))
    pipeline, measured = load_pipeline(folder), []
    for preset in reversed(PRESETS):  # the table's last model is the one it stands for
        method = AnyDoorMethod(pipeline, bench.settings.shape, preset)
        row, results = bench.score(method, cfg.part.name)
        measured.append(row)
    target = Path(cfg.out) / f"{cfg.part.name}.scores"
    scores = bench.report([*measured, *bench.anchors()], results, target)
    kept = ("protocol", "seed", "n", "scale")
    rows = [without_singles(row) for row in scores["rows"]]
    short = [{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in rows]
    return {**{name: scores[name] for name in kept}, "rows": short}


def _evaluation(settings: DictConfig) -> DictConfig:
    """The config of `evaluate` with other settings of `eval`; inside a command or not."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from anydoor_lab.structures.names import conf_dir

    overrides = [f"eval.{name}={value}" for name, value in plain(settings).items()]
    with ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():
            stack.enter_context(initialize_config_dir(str(conf_dir()), version_base="1.3"))
        return compose("evaluate", overrides=overrides)


def _draw(cfg: DictConfig, objective: Any, samples: Any) -> Path:
    from anydoor_lab.structures.images import write_image

    path = Path(cfg.out) / f"{cfg.part.name}.png"
    write_image(path, objective.picture(samples))
    return path


if __name__ == "__main__":
    main()

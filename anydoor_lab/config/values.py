"""Values of the settings that can be judged by themselves, before any network is loaded.

The rooms check their own arguments; here the same bounds stand once more, because importing torch
takes seconds and a slip of the finger should not. A test holds the two together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.models.embedded import PREFIX, embedded_folder, locate
from anydoor_lab.models.hub import parsed
from anydoor_lab.structures.checks import check_choice, is_whole
from anydoor_lab.structures.errors import InputError

PRESETS = ("exact", "fast", "draft")
PRECISIONS = ("fp32", "bf16", "fp16")
CHOICES: dict[str, Mapping[str, tuple[str, ...]]] = {
    "": {
        "train.precision": ("fp32", "bf16", "bf16_autocast", "fp16"),
        "train.frozen_precision": PRECISIONS,
        "train.trained": ("paper", "official", "all", "lora"),
        "train.optimizer": ("adamw", "adamw8bit"),
        "data.cache": ("latents", "tokens", "both"),
        "eval.crop": ("box", "box+mask"),
        "eval.shape": ("box", "mask"),
        "eval.preset": PRESETS,
    },
    "generate": {
        "preset": PRESETS,
        "shape": ("box", "mask"),
        "blend": ("box", "mask", "crop"),
        "dtype": ("auto", *PRECISIONS),
        "offload": ("auto", "none", "model", "sequential"),
    },
    "convert": {"layout": ("diffusers", "official")},
    "export": {"layout": ("pipeline", "lora"), "precision": ("fp16", "fp32")},
}
"""By command ("" = every command) and key: what may stand there; null is always allowed."""
LARGEST_SEED = 2**32 - 1
COUNT, STEPS, SEED = (1, 10**9), (1, 1000), (0, LARGEST_SEED)
WHOLE = {
    "num_proposals": (1, 1000),
    "num_inference_steps": STEPS,
    "model.num_inference_steps": STEPS,
    "seed": SEED,
    "data_seed": SEED,
    "pool": (0, 10**9),
    "eval.seed": SEED,
    "eval.num_diverse": (0, 10**9),
    "train.warmup_steps": (0, 10**9),
    "train.workers": (0, 1024),
    "train.lora_rank": (1, 10**5),
    "model.resolution": (8, 10**5),
    "model.id_size": (8, 10**5),
    **{f"eval.{name}": COUNT for name in ("num_pairs", "num_seeds", "num_shown", "batch_size")},
    **{
        f"train.{name}": COUNT
        for name in ("steps", "batch_size", "micro_batches", "log_every", "checkpoint_every",
                     "keep_checkpoints", "sample_every")
    },
}  # fmt: skip
"""Whole numbers: the least and the largest."""
SHARE, ANY = (0.0, 1.0), (0.0, math.inf)
NUMBERS = {
    "guidance_scale": ANY,
    "model.guidance_scale": ANY,
    "train.learning_rate": ANY,
    "train.weight_decay": ANY,
    "train.gradient_clip": ANY,
    "train.region_weight": ANY,
    "train.decay_share": SHARE,
    "train.ema_decay": SHARE,
    "train.still_share": SHARE,
    "train.cond_drop_prob": SHARE,
}
"""Finite numbers: the least and the largest."""
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
FOLDERS = ("data.root", "data.scenes", "data.references")
WITHOUT_WEIGHTS = ("base", "scratch")


def check_values(cfg: DictConfig, command: str) -> None:
    """Refuse what cannot be, in the settings of a command.

    Raises:
        ValueError: the first value that is not possible, or path that is not there.
    """
    for key, choices in {**CHOICES[""], **CHOICES.get(command, {})}.items():
        value = _value(cfg, key)
        if value is not None:
            check_choice(key, value, choices)
    for key, (least, largest) in WHOLE.items():
        if command != "pretrain" or key != "pool":
            _check_number(key, _value(cfg, key), least, largest, whole=True)
    for key, (low, high) in NUMBERS.items():
        _check_number(key, _value(cfg, key), low, high, whole=False)
    device = _value(cfg, "device")
    if device is not None and not DEVICE.fullmatch(str(device)):
        raise InputError(f"device is {device!r}; expected auto, cpu, cuda or cuda:<number>")
    for key in FOLDERS:
        _check_folder(key, _value(cfg, key))
    lora = _value(cfg, "lora")
    if lora is not None and not Path(str(lora)).exists():
        raise InputError(f"lora is {lora}, which does not exist; give the adapters' folder")
    if command in ("train", "evaluate", "generate", "export"):
        check_weights_are_there("init" if command == "train" else "run", cfg)


def _value(cfg: DictConfig, key: str) -> Any:
    """The value at a key; None where there is none, or where it is not set yet."""
    return OmegaConf.select(cfg, key, throw_on_missing=False)


def _check_number(key: str, value: Any, least: float, largest: float, whole: bool) -> None:
    if value is None:
        return
    kind = is_whole(value) if whole else _is_number(value)
    if not kind or not least <= value <= largest:
        said = "a whole number" if whole else "a number"
        bounds = f"from {least:g}" if largest >= 10**9 and largest != LARGEST_SEED else (
            f"from {least:g} to {largest:d}" if whole else f"from {least:g} to {largest:g}"
        )  # fmt: skip
        raise InputError(f"{key} is {value!r}; expected {said} {bounds}")


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _check_folder(key: str, value: Any) -> None:
    if value is not None and not Path(str(value)).is_dir():
        seen = "is no folder" if Path(str(value)).exists() else "does not exist"
        raise InputError(f"{key} is {value}, which {seen}; give the folder that holds the pictures")


def absence(folder: Path) -> str:
    """What to do where a pipeline's folder is none: the end of a sentence about it."""
    seen = "is a file" if folder.exists() else "does not exist"
    way = (
        "give the folder of a run or of a pipeline (a checkpoint file becomes one by python -m "
        "anydoor_lab.convert)"
    )
    if not folder.exists() and parsed(str(folder)):
        way += f"; a name on the hub is fetched by: python -m anydoor_lab.convert source={folder}"
    return f"{seen}; {way}"


def check_weights_are_there(key: str, cfg: DictConfig) -> None:
    """Refuse a `run` or `init` that is neither a run's folder nor a pipeline's.

    Raises:
        ValueError: it is not there, or holds neither `config.yaml` nor `model_index.json`.
    """
    source = _value(cfg, key)
    if source is None or (key == "init" and source in WITHOUT_WEIGHTS):
        return
    if str(source).startswith(PREFIX):
        embedded_folder(str(source).removeprefix(PREFIX))
        return
    folder = Path(locate(source))
    if not folder.is_dir():
        raise InputError(f"{key} is {folder}, which {absence(folder)}")
    if not any((folder / name).is_file() for name in ("config.yaml", "model_index.json")):
        raise InputError(
            f"{key} is {folder}, which is no run's folder (it has no config.yaml) and no "
            "pipeline's (no model_index.json); give one that train, export or convert made"
        )

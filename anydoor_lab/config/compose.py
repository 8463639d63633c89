"""Where the YAML stands, and how it reaches the library.

The library below floor 6 never sees an OmegaConf type: `plain` hands over dictionaries, `leaf` a
callable waiting for its run-time arguments. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir, conf_folders, named

MAX_NAME = 120
PLAIN = re.compile(r"(?!.*__)[a-zA-Z][\w.]*=[\w.-]+(,[\w.-]+)*(?<!_)", re.ASCII)
"""An override that its part of a folder's name tells from all others."""
UNNAMED = ("train.resume", "overwrite", "share", "data.cache", "experiment")


def compose_config(config_name: str, *choices: str) -> DictConfig:
    """What a door's command line would choose, for notebooks and scripts.

    Args:
        config_name: the door: train, evaluate, generate ...
        choices: as on the command line: `model=tiny`, `idx=clip`, `train.steps=20` ...
    """
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, overrides=list(choices))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config as nested dicts, lists and scalars, interpolations resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a `???` is unset or a reference leads nowhere.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return values


def leaf(cfg: DictConfig, maker: str = "") -> Callable[..., Any]:
    """What the node's `_target_` names, with the node's other keys bound, to be called with the
    run-time objects.

    Nested nodes arrive as plain dicts and lists, never built and never as OmegaConf types.

    Args:
        cfg: the node.
        maker: name of the class method to be called in the place of the class itself.

    Raises:
        ValueError: the node has no `_target_`, it is no public name, or one of the other keys is
            no parameter of it.
    """
    if "_target_" not in cfg:
        raise InputError(f"expected a node with _target_, found the keys {sorted(map(str, cfg))}")
    keys = plain(cfg)
    name = keys.pop("_target_")
    target = getattr(named(name), maker) if maker else named(name)
    refuse_unknown(name, target, keys)
    return functools.partial(target, **keys)


def refuse_unknown(name: str, target: Callable[..., Any], keys: dict[str, Any]) -> None:
    """Raise ValueError where one of `keys` is no parameter of the target that is called `name`."""
    unknown = sorted(unknown_keys(target, keys))
    if unknown:
        near = difflib.get_close_matches(unknown[0], settings(target), 1)
        meant = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(settings(target))}"
        raise InputError(f"{name} has no setting {', '.join(unknown)}{meant}")


def settings(target: Callable[..., Any]) -> list[str]:
    """The names of the keyword arguments that a class or function takes."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [p.name for p in inspect.signature(target).parameters.values() if p.kind not in kinds]


def unknown_keys(target: Callable[..., Any], keys: dict[str, Any]) -> set[str]:
    """Which of `keys` are no parameters of `target`."""
    kinds = [p.kind for p in inspect.signature(target).parameters.values()]
    return set() if inspect.Parameter.VAR_KEYWORD in kinds else set(keys) - set(settings(target))


def output_folder() -> Path:
    """The folder Hydra made for this run (`hydra.run.dir`, in a sweep `hydra.sweep.dir`/...)."""
    return Path(HydraConfig.get().runtime.output_dir)


def run_name(overrides: Sequence[str]) -> str:
    """A folder's name for a command's overrides: plain, at most 120 characters, nothing that a
    shell or Hydra would read as a sign of its own.

    `idx=clip seed=1` gives `idx-clip__seed-1`, a sweep's `idx=clip,vgg` gives `idx-clip+vgg`. The
    same choices always give the same name; none gives `default`. Overrides that do not change what
    is computed (`UNNAMED`) are left out.
    """
    kept = sorted(o for o in overrides if o.lstrip("+").split("=")[0] not in UNNAMED)
    plain_name = "__".join(o.replace("=", "-", 1).replace(",", "+") for o in kept) or "default"
    if len(plain_name) <= MAX_NAME and all(PLAIN.fullmatch(o) for o in kept):
        return plain_name
    safe = re.sub(r"[^\w.+-]+", "_", plain_name, flags=re.ASCII).strip("_.")
    digest = hashlib.sha256(",".join(kept).encode()).hexdigest()[:8]
    return f"{safe[: MAX_NAME - 9]}-{digest}"


def by_init(init: str, begun: float, tuned: float) -> float:
    """`begun` where training begins with a base or with nothing, `tuned` with trained weights."""
    return begun if init in ("base", "scratch") else tuned


class PartsSearchPath(SearchPathPlugin):
    """Hydra's search path with the `conf` folders of the user's registered modules."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them behind the package's own."""
        for folder in conf_folders():
            search_path.append(provider="anydoor-parts", path=f"file://{folder}")


Plugins.instance().register(PartsSearchPath)
OmegaConf.register_new_resolver("by_init", by_init, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)
# cached: a sweep's folder is named once, by the whole command, and stays the same in its jobs
OmegaConf.register_new_resolver("sweep_name", run_name, replace=True, use_cache=True)

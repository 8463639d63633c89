"""What a number depends on beside its settings: code, libraries, machine."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "numpy", "opencv-python-headless")


def commit() -> str:
    """The checkout's commit, with `+changes` where code or settings differ from it, files that git
    does not know included; empty outside of git."""
    package = Path(__file__).resolve().parents[1]
    if not _git("ls-files", "--", __file__, at=package):  # installed beside another project's code
        return ""
    found = _git("rev-parse", "--short=12", "HEAD", at=package)
    changed = _git("status", "--porcelain", "--untracked-files=no", at=package)
    fresh = _git("ls-files", "--others", "--exclude-standard", "--", ".", *_conf(), at=package)
    return found + ("+changes" if changed or fresh else "")


def _conf() -> list[str]:
    """The settings' folder beside the package, where there is one."""
    conf = Path(__file__).resolve().parents[2] / "conf"
    return [str(conf)] if conf.is_dir() else []


def _git(*arguments: str, at: Path) -> str:
    """What git answers; empty where it cannot."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=at, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions."""
    found = {"python": platform.python_version()}
    for name in ("anydoor-lab", *LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def picture_facts(seed: int, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a generated PNG carries, for `read_facts`: its seed, its recipe, and the code's commit.

    Args:
        seed: this picture's own.
        recipe: the settings it was asked for with.
    """
    made = {"commit": commit(), "version": version("anydoor-lab")}
    return {"seed": seed, "recipe": dict(recipe), **made}


def available_memory() -> int:
    """Bytes of memory that can be had without swapping; 0 where the system does not tell."""
    path = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", path.read_text()) if path.is_file() else None
    return int(found[1]) * 1024 if found else 0


def config_hash(config: Mapping[str, Any]) -> str:
    """12 hex digits that are equal exactly where the settings are equal."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""Scores that need a package or weights of their own, and what is said where they are missing."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from anydoor_lab.metrics.lpips import HEADS, lpips
from anydoor_lab.metrics.text import PACKAGE, TextScore, likeness
from anydoor_lab.models.idx.vgg import Vgg16
from commands import command

reads = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason=f"{PACKAGE} (extra 'ocr') is not installed"
)


def written(text: str, colour: tuple[int, int, int] = (20, 20, 160)) -> np.ndarray:
    """A region with a word in it."""
    region = np.full((90, 220, 3), 245, np.uint8)
    cv2.putText(region, text, (12, 58), cv2.FONT_HERSHEY_SIMPLEX, 1.3, colour, 3)
    return region


@reads
def test_text_that_is_kept_scores_high_changed_text_lower_and_none_has_no_score() -> None:
    metric = TextScore()
    plain = np.full((90, 220, 3), 245, np.uint8)
    generated = [written("TEXTURE"), written("TEXTILE", (160, 20, 20)), plain, plain]
    references = [written("TEXTURE"), written("TEXTURE"), written("TEXTURE"), plain]
    kept, changed, lost, nothing = metric.scores(generated, references).tolist()
    assert kept == 100 and 40 < changed < 100 and lost == 0 and np.isnan(nothing)


def test_likeness_is_the_share_of_letters_that_need_no_change() -> None:
    assert likeness("ABCD", "ABCD") == 100
    assert likeness("ABXD", "ABCD") == 75
    assert likeness("", "ABCD") == 0
    assert likeness("ABCDABCD", "ABCD") == 50


@pytest.fixture(scope="module")
def vgg_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with random weights of VGG-16's own size, by torchvision's names."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "model.safetensors"
    save_file(Vgg16().state_dict(), path)
    return path


def by_definition(network: Vgg16, one: np.ndarray, other: np.ndarray) -> float:
    """Zhang et al. 2018, Eq. 1, in float64, layer by layer."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64)[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64)[:, None, None]
    heads = torch.load(HEADS, map_location="cpu", weights_only=True)
    hidden = [
        ((torch.from_numpy(p).double().permute(2, 0, 1) / 127.5 - 1 - shift) / scale)[None]
        for p in (one, other)
    ]
    total, stage = 0.0, 0
    layers = list(network.double().requires_grad_(False).features)
    for number, layer in enumerate(layers):
        hidden = [layer(h) for h in hidden]
        if isinstance(layer, nn.ReLU) and isinstance(layers[number + 1], nn.MaxPool2d):
            unit = [h / torch.sqrt((h**2).sum(dim=1, keepdim=True) + 1e-8) for h in hidden]
            weights = heads[f"lin{stage}.model.1.weight"].double()[0]
            total += float((weights * (unit[0] - unit[1])[0] ** 2).sum(dim=0).mean())
            stage += 1
    assert stage == 5
    return total


def test_lpips_is_its_definition_and_zero_for_equal_pictures(vgg_at: Path) -> None:
    rng = np.random.default_rng(0)
    scene, result = rng.integers(0, 256, (2, 90, 90, 3), np.uint8)
    mask = np.zeros((90, 90), bool)
    mask[10:74, 20:84] = True
    metric = lpips(str(vgg_at))
    same, different = metric.scores([scene, result], [scene, scene], [mask, mask]).tolist()
    network = Vgg16()
    network.load_state_dict(load_file(vgg_at))
    expected = by_definition(network, result[10:74, 20:84], scene[10:74, 20:84])
    assert same == 0 and different == pytest.approx(expected, rel=1e-4)
    folder = lpips(str(vgg_at.parent)).scores([result], [scene], [mask])
    assert folder.tolist() == [different]


def test_lpips_refuses_a_smaller_network_and_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs VGG-16 itself"):
        lpips("embedded:vgg")
    with pytest.raises(ValueError, match="LPIPS needs the weights of VGG-16"):
        lpips(None)
    with pytest.raises(ValueError, match=r"metrics\.lpips\.weights"):
        lpips(str(tmp_path / "nothing"))


def test_a_metric_that_is_not_here_is_said_under_the_table_of_the_others(tmp_path: Path) -> None:
    call = ["method=copy_paste", "eval=fast", "eval.num_pairs=2", f"hydra.run.dir={tmp_path}"]
    done = command("evaluate", *call, "metrics=[lab_difference,lpips]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "lpips not run: LPIPS needs the weights of VGG-16" in done.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["not_run"]) == ["lpips"]
    assert (tmp_path / "rows.csv").is_file() and (tmp_path / "rows.parquet").is_file()
    alone = command("evaluate", *call, "metrics=[lpips]", "overwrite=true", cwd=tmp_path)
    assert alone.returncode == 2 and "lpips cannot run: LPIPS needs" in alone.stderr
    assert json.loads((tmp_path / "scores.json").read_text()) == scores, "what is there stays"

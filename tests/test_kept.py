"""What frozen networks make of batches, kept for other runs: the same bits, and never stale."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import inside
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.runs.tracking import read_metrics
from anydoor_lab.training.kept import kept_outputs
from networks import model_overrides
from small import batch_of, small_objective
from test_ledger import QUICK


def test_losses_and_gradients_are_the_same_bits_with_and_without(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    found = []
    for kept in (False, True, True):
        objective = small_objective(pipeline.model, cond_drop_prob=0.3)
        if kept:
            objective.model.kept = kept_outputs(objective.model, tmp_path, "fp32")
        losses = []
        for first in (0, 4):
            loss = objective(batch_of(range(first, first + 4)))["loss"]
            loss.backward()
            losses.append(loss.item())
        gradients = [p.grad for p in objective.parameters() if p.grad is not None]
        found.append((losses, gradients))
        files = list(tmp_path.rglob("*.kept"))
        assert len(files) == 4 * kept  # two batches, two networks
    for losses, gradients in found[1:]:
        assert losses == found[0][0]
        assert all(torch.equal(a, b) for a, b in zip(gradients, found[0][1], strict=True))


def test_nothing_is_computed_twice_and_a_damaged_file_is_made_again(
    pipeline: AnyDoorPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy.deepcopy(pipeline.model)
    model.kept = kept_outputs(model, tmp_path, "fp32")
    target = batch_of(range(3))["target"]
    expected = model.latents(target)
    asked: list[Any] = []
    encode = model.vae.encode
    monkeypatch.setattr(model.vae, "encode", lambda x: asked.append(x) or encode(x))
    assert torch.equal(model.latents(target), expected) and not asked
    (path,) = tmp_path.rglob("*.kept")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert torch.equal(model.latents(target), expected) and len(asked) == 1
    assert torch.equal(model.latents(target), expected) and len(asked) == 1


def test_other_weights_or_tokens_are_kept_apart(pipeline: AnyDoorPipeline, tmp_path: Path) -> None:
    model = copy.deepcopy(pipeline.model)
    before = kept_outputs(model, tmp_path, "fp32").networks
    model.id_extractor.projector.weight.data += 1  # it is trained: its input is what is kept
    assert kept_outputs(model, tmp_path, "fp32").networks == before
    model.id_extractor.register_to_config(tokens="global")
    model.vae.post_quant_conv.weight.data += 1
    after = kept_outputs(model, tmp_path, "fp32").networks
    assert after["features"] != before["features"] and after["latents"] != before["latents"]


def test_a_run_that_shares_logs_the_losses_of_one_that_does_not(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    logged = []
    for name, share in (("alone", False), ("first", True), ("second", True)):
        own = [f"share={share}", "logger=local", "train.log_every=1", "train.steps=3"]
        place = f"hydra.run.dir={tmp_path / name}"
        settings = [*QUICK, *model_overrides(networks), *own, place]
        ended = inside.run("train", *settings, cwd=tmp_path)
        assert ended.code == 0, ended.err[-3000:]
        logged.append([row["loss"] for row in read_metrics(tmp_path / name)])
    assert logged[0] == logged[1] == logged[2] and len(logged[0]) == 3
    kinds = {path.relative_to(tmp_path / "cache").parts[1] for path in tmp_path.rglob("cache/*/*")}
    assert kinds >= {"pairs", "frozen"}

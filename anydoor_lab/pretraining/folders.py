"""How a finished part is kept: folders in the libraries' own formats, fp16, with a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from anydoor_lab.models.embedded import CARD, is_part
from anydoor_lab.structures.errors import InputError
from anydoor_lab.training.checkpoint import hash_tensors


def save_encoder(network: PreTrainedModel, folder: Path) -> None:
    """Write a transformers network with fp16 weights.

    The config says float32, so that `from_pretrained` gives a network a CPU can run.
    """
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    network.save_pretrained(folder, state_dict=halves)


def round_to_half(network: torch.nn.Module) -> None:
    """Round the weights to what fp16 keeps, so that scores are those of the saved weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())


def weights_hash(folder: Path) -> str:
    """SHA-256 over the tensors of every safetensors file below `folder`; see `hash_tensors`."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        tensors |= {f"{path.relative_to(folder)}:{n}": t for n, t in load_file(path).items()}
    return hash_tensors(tensors)


def write_card(folder: Path, facts: dict[str, Any]) -> Path:
    """Write `card.json` into a part's folder: `facts` and the hash of its weights."""
    card = folder / CARD
    card.write_text(json.dumps({**facts, "weights": weights_hash(folder)}, indent=1) + "\n")
    return card


def read_card(folder: Path) -> dict[str, Any]:
    """The facts of a finished part.

    Raises:
        ValueError: there is no card in `folder`.
    """
    if not is_part(folder):
        raise InputError(f"{folder} holds no finished part (no {CARD}); pretrain it first")
    facts: dict[str, Any] = json.loads((folder / CARD).read_text())
    return facts

"""Pictures and coarse captions in contrast: the tiny CLIP and the CLIP-like judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from anydoor_lab.data.things.catalogue import packaged_things
from anydoor_lab.data.world.objects import COLOURS, LETTERS
from anydoor_lab.data.world.shapes import SHAPES
from anydoor_lab.pretraining.contrast import retrieval_scores
from anydoor_lab.pretraining.folders import save_encoder
from anydoor_lab.pretraining.frames import FramePool, channels_first, sheet, view
from anydoor_lab.structures.rng import rng_for

TEMPLATES = (
    "{}",
    "a photo of {}",
    "a picture of {}",
    "{} in a scene",
    "there is {} here",
    "a photo of the {}",
)
"""How a caption such as "a red star" is put; the article falls away after "the"."""

SPECIAL = ("[PAD]", "[BOS]", "[UNK]", "[EOS]")
MAX_WORDS = 12


def caption_tokenizer(things: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words: the templates', the world's shapes and colours, and with
    `things` those of the packaged things' captions."""
    words = " ".join(TEMPLATES).replace("{}", "a an").split() + [*COLOURS, *SHAPES]
    if things:
        words += sorted({word for thing in packaged_things() for word in thing.caption.split()})
        words += ["photograph", "shape", "letter", "with", "of", *LETTERS]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*SPECIAL, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        bos_token="[BOS]",
        unk_token="[UNK]",
        eos_token="[EOS]",
        model_max_length=MAX_WORDS,
    )


def tokenizer_of(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that lies beside a text tower."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer


def clip(
    vision: dict[str, Any], text: dict[str, Any], projection_dim: int, things: bool = False
) -> CLIPModel:
    """An untrained `CLIPModel` for `caption_tokenizer`, the towers with these settings."""
    words = {
        "vocab_size": len(caption_tokenizer(things)),
        "max_position_embeddings": MAX_WORDS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 3,
    }
    config = CLIPConfig(
        vision_config={**vision, "projection_dim": projection_dim},
        text_config={**text, **words, "projection_dim": projection_dim},
        projection_dim=projection_dim,
    )
    return CLIPModel(config)


def put(caption: str, template: str) -> str:
    """The caption in a template: "a red star" in "a photo of the {}" is "... the red star"."""
    if "the {}" in template:
        caption = caption.split(" ", 1)[1]
    return template.format(caption)


class CaptionSamples:
    """A look at an object and its caption: {"image", "ids", "attention", "caption"}.

    "image" is (3, S, S) normalised as for CLIP, "ids" and "attention" (MAX_WORDS,) int64,
    "caption" a number that is the same exactly for the same caption.

    Args:
        frames: the identities.
        seed: decides every draw.
        looks: keyword arguments of `view`.
        side_px: S.
        things: as of `caption_tokenizer`.
    """

    def __init__(
        self,
        frames: FramePool,
        *,
        seed: int,
        looks: dict[str, Any],
        side_px: int = 64,
        things: bool = False,
    ) -> None:
        self.frames, self.seed, self.looks, self.side_px = frames, seed, looks, side_px
        self.tokenizer = caption_tokenizer(things)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "captioned look")
        entry = int(rng.integers(len(self.frames)))
        caption = self.frames.attributes(entry).caption
        text = put(caption, TEMPLATES[int(rng.integers(len(TEMPLATES)))])
        frame = self.frames.frames(entry)[int(rng.integers(2))]
        ids, attention = tokenized(self.tokenizer, [text])
        return {
            "image": channels_first(view(frame, self.side_px, rng, **self.looks), "clip"),
            "ids": ids[0],
            "attention": attention[0],
            "caption": crc32(caption.encode()),
        }


def tokenized(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(B, MAX_WORDS) int64 ids and attention of `texts`."""
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=MAX_WORDS)
    return np.array(encoded["input_ids"]), np.array(encoded["attention_mask"])


class CaptionContrast(nn.Module):
    """CLIP's symmetric InfoNCE, in which equal captions in a batch all count as right.

    Args:
        network: the two towers to train.
    """

    def __init__(self, network: CLIPModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`loss` and `hit` (share of pictures given a right caption of the batch)."""
        outputs = self.network(
            input_ids=batch["ids"],
            attention_mask=batch["attention"],
            pixel_values=batch["image"],
        )
        same = (batch["caption"][:, None] == batch["caption"]).float()
        right = same / same.sum(dim=1, keepdim=True)
        logits = outputs.logits_per_image
        loss = functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
        hit = same.gather(1, logits.argmax(dim=1, keepdim=True)).mean()
        return {"loss": loss / 2, "hit": hit}

    def finish(self, samples: CaptionSamples, count: int) -> None:
        """Keep the samples' tokenizer, to be written beside the towers."""
        self.tokenizer = samples.tokenizer

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, D) projected picture embeddings of length 1."""
        pooled = self.network.vision_model(pixel_values=images).pooler_output
        return functional.normalize(self.network.visual_projection(pooled), dim=-1)

    @torch.no_grad()
    def scores(self, samples: CaptionSamples, count: int) -> dict[str, float]:
        """Retrieval as `retrieval_scores`; `caption` is the share of pictures whose best caption
        of all colours and shapes of the world is right."""
        frames, side = samples.frames, samples.side_px
        scores = retrieval_scores(self.embed, frames, count, side, "clip")
        true = [frames.attributes(entry).caption for entry in range(count)]
        choices = sorted(set(true))
        texts = self._text_embeddings(samples.tokenizer, choices)
        right = 0
        for entry in range(count):
            look = view(frames.frames(entry)[0], side, rng_for(0, entry, "plain"), 0.0, (1, 1))
            image = torch.from_numpy(channels_first(look, "clip"))[None]
            right += choices[int((self.embed(image) @ texts.T).argmax())] == true[entry]
        return scores | {"caption": right / count, "captions": float(len(choices))}

    def _text_embeddings(
        self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
    ) -> torch.Tensor:
        ids, attention = (torch.from_numpy(values) for values in tokenized(tokenizer, texts))
        pooled = self.network.text_model(input_ids=ids, attention_mask=attention).pooler_output
        return functional.normalize(self.network.text_projection(pooled), dim=-1)

    def picture(self, samples: CaptionSamples) -> np.ndarray:
        """Looks as the network sees them."""
        looks = []
        for index in range(24):
            rng = rng_for(samples.seed, index, "picture")
            looks.append(
                view(samples.frames.frames(index)[0], samples.side_px, rng, **samples.looks)
            )
        return sheet([looks[:12], looks[12:]])

    def save(self, folder: Path) -> None:
        """Write both towers in transformers' format, fp16, and the tokenizer beside them."""
        save_encoder(self.network, folder)
        self.tokenizer.save_pretrained(folder)

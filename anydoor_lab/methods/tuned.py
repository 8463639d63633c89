"""DreamBooth and Custom Diffusion: tuned on the subject's photographs, then told to place it."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import EllipsisType
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tqdm import tqdm

from anydoor_lab.methods.inpainting import Inpainting, Needs, read_pipeline
from anydoor_lab.methods.tuning import (
    KeptTunings,
    Learned,
    Subject,
    Tuning,
    TuningSettings,
    photo_of,
    read_subjects,
)
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair

Undo = Callable[[], None]
Trained = tuple[torch.Tensor, EllipsisType | list[int]]
"""A parameter, and its rows that training changes."""
_INDEXED = re.compile(r".+?: (.+) #\d+")  # a subject of `data.pairs`: its set, group and number


@dataclass(eq=False, kw_only=True)
class Tuned(Inpainting):
    """What DreamBooth and Custom Diffusion share.

    The text-to-image model is tuned on photographs: those of `photos`, or the pair's own reference.
    What was tuned is kept within `KEPT_BYTES`, and pairs are asked for by subject, so that each is
    tuned once. Then it paints the region by inpainting without an inpainting model: what is outside
    is put back at every step.

    Args:
        photos: folder of photographs of one subject, or of a folder for each. Of several, a pair
            whose `subject` is one of them is shown by the model tuned on it alone; another pair
            by the model tuned on all at once, as the subject whose folder its origin names.
            None: the pair's reference.
        kind: what the subjects are, as a word of a prompt.
        steps, learning_rate, batch_size, seed, prior_weight, num_prior: as `TuningSettings`.

    Raises:
        ValueError: a value out of range, or photographs that cannot be read.
    """

    needs = Needs("stable-diffusion-v1-5/stable-diffusion-v1-5", 24, "CreativeML OpenRAIL-M")
    pipeline_name = "StableDiffusionInpaintPipeline"
    by_subject: ClassVar[bool] = True
    photos: str | Path | None = None
    kind: str = "object"
    steps: int = 400
    learning_rate: float = 5e-6
    batch_size: int = 1
    seed: int = 0
    prior_weight: float = 0.0
    num_prior: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        names = TuningSettings.__dataclass_fields__
        self.settings = TuningSettings(**{name: getattr(self, name) for name in names})
        self._known = read_subjects(Path(self.photos)) if self.photos else {}
        self.losses: list[float] = []
        self._tuned_on: tuple[str, ...] | None = None
        self._kept = KeptTunings()
        self._undo: Undo | None = None
        self.subjects: list[Subject] = []

    @abstractmethod
    def words(self, number: int) -> list[str]:
        """What stands for each of so many subjects in a prompt."""

    @abstractmethod
    def trained(self, pipeline: Any) -> list[dict[str, Any]]:
        """What is trained, as an optimizer's groups."""

    @abstractmethod
    def learned(self, pipeline: Any) -> list[Trained]:
        """The same as far as training on the present subjects changes it."""

    def loaded(self) -> Any:
        """The text-to-image model in 32 bits, as an inpainting pipeline.

        Raises:
            ValueError: it is an inpainting model.
        """
        made = read_pipeline(self.pipeline_class, self.folder, "cpu")
        channels = made.unet.config.in_channels
        if channels != 4:
            raise InputError(
                f"method.source {self.folder} has a UNet of {channels} channels; tuning takes a "
                "text-to-image model, of 4"
            )
        return made

    def tune(self, photos: dict[str, list[Image.Image]]) -> None:
        """Tune the pipeline on these photographs by subject, from its own weights on."""
        pipeline = self.pipeline
        self._tuned_on = None
        if self._undo:
            self._undo()
        words = self.words(len(photos))
        self.subjects = [
            Subject(name, shown, word)
            for (name, shown), word in zip(photos.items(), words, strict=True)
        ]
        groups = self.trained(pipeline)
        before = [(p, p.detach().clone()) for group in groups for p in group["params"]]

        def undo() -> None:
            with torch.no_grad():
                for parameter, value in before:
                    parameter.copy_(value)

        self._undo = undo
        tuning = Tuning(pipeline, self.subjects, self.settings, self.resolution, self.kind)
        told = f"tuning on {', '.join(photos) or 'photographs'}"
        bar = tqdm(tuning.steps(groups), told, self.settings.steps, leave=False, unit="step")
        self.losses = list(bar)

    def imagined(self, prompt: str, seed: int = 0) -> Image.Image:
        """A picture by text alone, in which `{0}`, `{1}` ... stand for the subjects (Fig. 6)."""
        keys = StableDiffusionPipeline._get_signature_keys(StableDiffusionPipeline)[0]
        parts = {name: part for name, part in self.pipeline.components.items() if name in keys}
        own = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        own.set_progress_bar_config(disable=True)
        named = [f"{subject.word} {self.kind}" for subject in self.subjects]
        made: Image.Image = own(
            prompt.format(*named),
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            **self.size,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        return made

    def __call__(
        self,
        pairs: Sequence[Pair],
        seeds: Sequence[Sequence[int]],
        rngs: Sequence[np.random.Generator],
    ) -> list[Result]:
        """As `methods.anydoor.Method`; a result follows from its pair, its seed and the settings,
        among them the seed of tuning."""
        asked = [self._asked(pair) for pair in pairs]
        order = [self._tuned_on, *(tuple(photos) for photos, _ in asked)]
        made: list[list[Result]] = [[]] * len(asked)
        for number in sorted(range(len(asked)), key=lambda k: order.index(order[k + 1])):
            photos, name = asked[number]
            self._bring(photos)
            word = next(subject.word for subject in self.subjects if subject.name == name)
            self.prompt = f"a photo of {word} {self.kind}"
            only = slice(number, number + 1)
            made[number] = super().__call__(pairs[only], seeds[only], rngs[only])
        return [result for results in made for result in results]

    def _asked(self, pair: Pair) -> tuple[dict[str, list[Image.Image]], str]:
        """The photographs by subject that a pair's model is tuned on, and which subject it shows.

        Raises:
            ValueError: nothing says which of several.
        """
        if not self._known:
            photo = photo_of(pair.reference, pair.reference_mask)
            name = f"reference {hashlib.blake2b(photo.tobytes(), digest_size=8).hexdigest()}"
            return {name: [photo]}, name
        group = _INDEXED.fullmatch(pair.subject)
        for name in (pair.subject, group[1] if group else ""):
            if name in self._known:
                return {name: self._known[name]}, name
        origin = PurePosixPath(pair.origin).parts
        found = [name for name in self._known if name in origin or len(self._known) == 1]
        if len(found) != 1:
            raise InputError(
                f"the pair {pair.origin!r} lies in none of method.photos's folders "
                f"({', '.join(self._known)}), and its subject {pair.subject!r} is none of them; "
                "name the references' folders alike"
            )
        return self._known, found[0]

    def _bring(self, photos: dict[str, list[Image.Image]]) -> None:
        """Have the pipeline tuned on these photographs: as it was before, or else now."""
        key = tuple(photos)
        if key == self._tuned_on:
            return
        before = self._kept.take(key)  # first: there may be room for one alone
        if self._tuned_on is not None:
            trained = self.learned(self.pipeline)
            values = [parameter[rows].detach().to("cpu", copy=True) for parameter, rows in trained]
            self._kept.put(self._tuned_on, Learned(self.subjects, self.losses, values))
            self._tuned_on = None
        if before:
            self._restore(before)
        else:
            self.tune(photos)
        self._tuned_on = key

    def _restore(self, before: Learned) -> None:
        """Set the pipeline back to an earlier tuning."""
        self.subjects, self.losses = before.subjects, before.losses
        with torch.no_grad():
            trained = self.learned(self.pipeline)
            for (parameter, rows), value in zip(trained, before.values, strict=True):
                parameter[rows] = value.to(parameter)


class DreamBooth(Tuned):
    """DreamBooth (Ruiz et al. 2023): UNet and text encoder learn what a rare word stands for."""

    def words(self, number: int) -> list[str]:
        """Rare words of CLIP's vocabulary.

        Raises:
            ValueError: more subjects than there are words.
        """
        if number > len(_RARE):
            raise InputError(
                f"{number} subjects; DreamBooth tunes at most {len(_RARE)} at once; give fewer "
                "folders in method.photos, or pairs that name their subject"
            )
        return list(_RARE[:number])

    def trained(self, pipeline: Any) -> list[dict[str, Any]]:
        """Both networks whole."""
        return [{"params": [parameter for parameter, _ in self.learned(pipeline)]}]

    def learned(self, pipeline: Any) -> list[Trained]:
        """Both networks whole."""
        networks = (pipeline.unet, pipeline.text_encoder)
        return [(p, ...) for network in networks for p in network.parameters()]


_RARE = ("sks", "zwx", "olis", "ktn", "pll", "ucd")


@dataclass(eq=False, kw_only=True)
class CustomDiffusion(Tuned):
    """Custom Diffusion (Kumari et al. 2023): keys and values of the UNet's cross-attention, and a
    new word a subject, whose embedding begins as that of `kind`."""

    needs = Needs("stable-diffusion-v1-5/stable-diffusion-v1-5", 12, "CreativeML OpenRAIL-M")
    steps: int = 250
    learning_rate: float = 1e-5
    batch_size: int = 2
    _mask: Any = field(default=None, init=False, repr=False)

    def words(self, number: int) -> list[str]:
        """New words, as many."""
        return [f"<subject-{k}>" for k in range(number)]

    def trained(self, pipeline: Any) -> list[dict[str, Any]]:
        """Keys and values, and the new words' embeddings; those of all other words stay."""
        rows = self._new_words(pipeline)
        embeddings = pipeline.text_encoder.get_input_embeddings().weight
        only = torch.zeros(len(embeddings), 1, device=embeddings.device)
        only[rows] = 1
        if self._mask:
            self._mask.remove()
        embeddings.requires_grad_(True)  # only then it takes a hook
        self._mask = embeddings.register_hook(lambda gradient: gradient * only)
        weights = [parameter for parameter, _ in self.learned(pipeline)[:-1]]
        return [{"params": weights}, {"params": [embeddings], "weight_decay": 0.0}]

    def learned(self, pipeline: Any) -> list[Trained]:
        """Keys and values whole, and of the embeddings the rows of the subjects' words."""
        names = ("attn2.to_k.weight", "attn2.to_v.weight")
        weights = [p for name, p in pipeline.unet.named_parameters() if name.endswith(names)]
        words = [subject.word for subject in self.subjects]
        rows: list[int] = pipeline.tokenizer.convert_tokens_to_ids(words)
        embeddings = pipeline.text_encoder.get_input_embeddings().weight
        return [*((weight, ...) for weight in weights), (embeddings, rows)]

    def _new_words(self, pipeline: Any) -> list[int]:
        """The numbers of the subjects' words, which the text encoder knows as the kind's word."""
        words, encoder = pipeline.tokenizer, pipeline.text_encoder
        new = [subject.word for subject in self.subjects]
        words.add_tokens(new)
        if encoder.get_input_embeddings().num_embeddings < len(words):
            encoder.resize_token_embeddings(len(words), mean_resizing=False)
        like = words(self.kind, add_special_tokens=False).input_ids
        rows: list[int] = words.convert_tokens_to_ids(new)
        with torch.no_grad():
            known = encoder.get_input_embeddings().weight
            known[rows] = known[like].mean(dim=0)
        return rows

"""DreamBooth and Custom Diffusion: tuned on the subject's photographs, then told to place it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tqdm import tqdm

from anydoor_lab.methods.inpainting import Inpainting, Needs, read_pipeline
from anydoor_lab.methods.tuning import Subject, Tuning, TuningSettings, photo_of, read_subjects
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair

Undo = Callable[[], None]


@dataclass(eq=False, kw_only=True)
class Tuned(Inpainting):
    """What DreamBooth and Custom Diffusion share.

    The text-to-image model is tuned on photographs: those of `photos`, all subjects at once, or
    the pair's own reference, anew for every reference. Then it paints the region by inpainting
    without an inpainting model: what is outside is put back at every step.

    Args:
        photos: folder of photographs of one subject, or of a folder for each; of several, a pair
            shows the one whose folder its origin names. None: the pair's reference.
        kind: what the subjects are, as a word of a prompt.
        steps, learning_rate, batch_size, seed, prior_weight, num_prior: as `TuningSettings`.

    Raises:
        ValueError: a value out of range, or photographs that cannot be read.
    """

    needs = Needs("stable-diffusion-v1-5/stable-diffusion-v1-5", 24, "CreativeML OpenRAIL-M")
    pipeline_name = "StableDiffusionInpaintPipeline"
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
        self._tuned_on: object = None
        self._undo: Undo | None = None
        self.subjects: list[Subject] = []

    @abstractmethod
    def words(self, number: int) -> list[str]:
        """What stands for each of so many subjects in a prompt."""

    @abstractmethod
    def trained(self, pipeline: Any) -> list[dict[str, Any]]:
        """What is trained, as an optimizer's groups."""

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
        results = []
        for pair, several, rng in zip(pairs, seeds, rngs, strict=True):
            word = self._tuned_for(pair).word
            self.prompt = f"a photo of {word} {self.kind}"
            results += super().__call__([pair], [several], [rng])
        return results

    def _tuned_for(self, pair: Pair) -> Subject:
        """The subject of a pair, on which the pipeline is tuned now."""
        if not self._known:
            if self._tuned_on is not pair.reference:
                self._tuned_on = None
                self.tune({"reference": [photo_of(pair.reference, pair.reference_mask)]})
                self._tuned_on = pair.reference
            return self.subjects[0]
        if self._tuned_on is not self._known:
            self.tune(self._known)
            self._tuned_on = self._known
        if len(self.subjects) == 1:
            return self.subjects[0]
        origin = PurePosixPath(pair.origin).parts
        found = [subject for subject in self.subjects if subject.name in origin]
        if len(found) != 1:
            names = ", ".join(subject.name for subject in self.subjects)
            raise InputError(
                f"the pair {pair.origin!r} lies in none of method.photos's folders ({names}); name "
                "the references' folders alike"
            )
        return found[0]


class DreamBooth(Tuned):
    """DreamBooth (Ruiz et al. 2023): UNet and text encoder learn what a rare word stands for."""

    def words(self, number: int) -> list[str]:
        """Rare words of CLIP's vocabulary.

        Raises:
            ValueError: more subjects than there are words.
        """
        if number > len(_RARE):
            raise InputError(f"{number} subjects; DreamBooth tunes at most {len(_RARE)} at once")
        return list(_RARE[:number])

    def trained(self, pipeline: Any) -> list[dict[str, Any]]:
        """Both networks whole."""
        networks = (pipeline.unet, pipeline.text_encoder)
        return [{"params": [p for network in networks for p in network.parameters()]}]


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

    def __post_init__(self) -> None:
        super().__post_init__()
        self._mask: Any = None

    def words(self, number: int) -> list[str]:
        """New words, as many."""
        return [f"<subject-{k}>" for k in range(number)]

    def trained(self, pipeline: Any) -> list[dict[str, Any]]:
        """Keys and values, and the new words' embeddings; those of all other words stay."""
        rows = self._new_words(pipeline)
        embeddings = pipeline.text_encoder.get_input_embeddings().weight
        names = ("attn2.to_k.weight", "attn2.to_v.weight")
        weights = [p for name, p in pipeline.unet.named_parameters() if name.endswith(names)]
        only = torch.zeros(len(embeddings), 1, device=embeddings.device)
        only[rows] = 1
        if self._mask:
            self._mask.remove()
        embeddings.requires_grad_(True)  # only then it takes a hook
        self._mask = embeddings.register_hook(lambda gradient: gradient * only)
        return [{"params": weights}, {"params": [embeddings], "weight_decay": 0.0}]

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

"""AnyDoor: (latents, t, conditioning) -> the diffusion network's output (Figure 2, right half)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, Literal, get_args

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.models.lora import add_adapters
from anydoor_lab.models.projections import TokenProjections
from anydoor_lab.models.unet import decode_noise, decoder_modules, encode_noisy
from anydoor_lab.models.vae import (
    decode_latents,
    latents_of,
    latents_shape,
    latents_side,
    posterior_of,
)
from anydoor_lab.structures.errors import InputError

Compute = Callable[[torch.Tensor], torch.Tensor]
Kept = Callable[[torch.Tensor, Compute], torch.Tensor]
"""Asked for what a frozen network makes of a batch: what it is shown, and how to compute that."""
Trained = Literal["paper", "official", "all", "lora"]


class AnyDoor(nn.Module):
    """The four networks of Figure 2 and the way data takes through them.

    Args:
        unet: the base diffusion network; encoder and middle stay frozen (Sec. 3.3).
        vae: images to latents and back; frozen.
        branches: trained ControlNet-style branches by name; the paper's one is called
            `detail_extractor` (Sec. 3.2). The maps of several are added.
        id_extractor: a frozen encoder with a trained projector (Sec. 3.1).

    Attributes:
        kept: asked in the place of the frozen networks where it is set: a network's name, what it
            is shown, and how to compute what it makes of that. A call's own `kept` goes first.
    """

    detail_extractor: DetailExtractor
    kept: Callable[[str, torch.Tensor, Compute], torch.Tensor] | None = None

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        branches: Mapping[str, DetailExtractor],
        id_extractor: IdExtractor,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.id_extractor = id_extractor

    @property
    def branches(self) -> dict[str, DetailExtractor]:
        """All branches by name."""
        return {n: b for n, b in self.named_children() if isinstance(b, DetailExtractor)}

    @property
    def inputs(self) -> dict[str, int]:
        """What the branches read: the channels of each picture by its name."""
        return {name: n for branch in self.branches.values() for name, n in branch.inputs.items()}

    @property
    def latents_side(self) -> int:
        """Side of the square of the autoencoder's latents that the UNet reads as one; mostly 1."""
        return latents_side(self.vae, self.unet.config.in_channels)

    @property
    def projectors(self) -> list[nn.Module]:
        """From an encoder's features to ID tokens."""
        return [self.id_extractor.projector]

    def freeze(self, trained: Trained = "paper", lora_rank: int = 16) -> AnyDoor:
        """Leave gradients only where training needs them; returns itself.

        `paper`: the branches, UNet decoder and output, projector (Figure 2's flames).
        `official`: the same without the projector, which the released code never trains.
        `all`: the whole UNet too, for training without a pretrained base.
        `lora`: adapters of `lora_rank` in detail extractor and decoder, and nothing else.

        Raises:
            ValueError: `trained` is none of them.
        """
        if trained not in get_args(Trained):
            raise InputError(f"train.trained is {trained!r}; expected paper, official, all or lora")
        self.requires_grad_(False)
        if trained == "lora":
            for parameter in add_adapters(self, lora_rank):
                parameter.requires_grad_(True)
            return self
        parts = [self.unet] if trained == "all" else decoder_modules(self.unet)
        for part in (*parts, *self.branches.values()):
            part.requires_grad_(True)
        for projector in self.projectors:
            projector.requires_grad_(trained != "official")
        for branch in self.branches.values():
            branch.conv_in.requires_grad_(False)
        return self

    @torch.no_grad()
    def latents(
        self,
        target: torch.Tensor,
        noise: torch.Tensor | None = None,
        *,
        kept: Kept | None = None,
    ) -> torch.Tensor:
        """Scaled latents (B, 4, h, w) of `target` (B, 3, R, R) in [-1, 1]; no gradient.

        With `noise` (B, 4, h, w, standard normal) drawn from the posterior, else its mode.
        """
        encode = partial(posterior_of, self.vae)
        parameters = self._frozen("latents", target.to(self.vae.dtype), encode, kept)
        return latents_of(self.vae, parameters, noise, self.latents_side)

    def latent_shape(self, target: torch.Tensor) -> tuple[int, ...]:
        """(C, h, w) of the latents of `target` (B, 3, R, R)."""
        height, width = target.shape[-2:]
        return latents_shape(self.vae, self.unet.config.in_channels, height, width)

    def images(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, R, R), nominally in [-1, 1], of scaled `latents`."""
        return decode_latents(self.vae, latents, self.latents_side)

    @torch.no_grad()
    def decoded(self, latents: torch.Tensor) -> np.ndarray:
        """The same as an array, float32, of latents of any precision."""
        return self.images(latents.to(self.vae.dtype)).float().cpu().numpy()

    def tokens(self, id_image: torch.Tensor, *, kept: Kept | None = None) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S); gradient only in the projector."""
        bring(self.id_extractor)
        shown = id_image.to(self.unet.dtype)
        features = self._frozen("features", shown, self.id_extractor.features, kept)
        return self.id_extractor.projector(features)

    @torch.no_grad()
    def _frozen(
        self, name: str, shown: torch.Tensor, compute: Compute, kept: Kept | None
    ) -> torch.Tensor:
        # laid out as what is kept comes back: a matrix product's last bit depends on it in bf16
        def whole(shown: torch.Tensor) -> torch.Tensor:
            return compute(shown).contiguous()

        if kept is not None:
            return kept(shown, whole)
        return whole(shown) if self.kept is None else self.kept(name, shown, whole)

    def projections(self, tokens: torch.Tensor) -> TokenProjections:
        """Inside `with`, keys and values of `tokens` (B, N, D) are computed only once."""
        return TokenProjections([self.unet, *self.branches.values()], tokens)

    def hints(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Every branch's embedded pictures (B, C, h, w), the same at every t.

        Args:
            inputs: (B, C, R, R) each, by name; those that no branch reads may be among them.

        Raises:
            ValueError: one that a branch reads is missing.
        """
        hints = {}
        for name, branch in self.branches.items():
            missing = [one for one in branch.inputs if one not in inputs]
            if missing:
                there = ", ".join(inputs)
                raise InputError(f"the {name} needs {', '.join(missing)}; there are only {there}")
            bring(branch)
            pictures = torch.cat([inputs[one] for one in branch.inputs], dim=1)
            hints[name] = branch.embed_hint(pictures.to(branch.dtype))
        return hints

    def details(
        self, hints: Mapping[str, torch.Tensor], t: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Detail maps, the sum of all branches', independent of the noisy latent."""
        maps = [branch(hints[name], t, tokens) for name, branch in self.branches.items()]
        return tuple(reduce(torch.add, same) for same in zip(*maps, strict=True))

    def forward(
        self,
        latents: torch.Tensor,
        t: torch.Tensor,
        tokens: torch.Tensor,
        details: tuple[torch.Tensor, ...] | None,
    ) -> torch.Tensor:
        """The network's output (B, 4, h, w): noise or velocity, as the schedule says.

        Args:
            latents: (B, 4, h, w) noisy latents.
            t: (B,) integer timesteps.
            tokens: (B, N, D) ID tokens.
            details: maps from `details`, or None to leave the branch out.
        """
        bring(self.unet)
        frozen = not any(p.requires_grad for p in self.unet.conv_in.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            encoded = encode_noisy(self.unet, latents, t, tokens)
        return decode_noise(self.unet, encoded, tokens, details)


def bring(network: Any) -> None:
    """Call the hook with which offloading brings a network to its device before it is used.

    A network called as a whole does so by itself; here the halves of the UNet, the hint stem and
    the features of an encoder are called on their own.
    """
    hook = getattr(network, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(network)

"""The noise schedule: how much noise at which t, and what the network is asked to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

Prediction = Literal["epsilon", "v_prediction", "sample"]
PREDICTIONS = get_args(Prediction)
MIN_SIGMA = 0.5
"""Below this much noise an error of x_0 weighs no more: there a network copies what it sees."""


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """x_t = alpha_t x_0 + sigma_t eps, with alpha_t^2 = `alphas_cumprod`[t] (Sec. 3.3).

    Args:
        alphas_cumprod: (T,) float, falling.
        prediction: what the network gives back: the noise eps, v = alpha eps - sigma x_0, or the
            sample x_0 itself (what a narrow network learns of latents of many channels: it need
            not carry the noise of each of them to its end).
    """

    alphas_cumprod: torch.Tensor
    prediction: Prediction = "epsilon"

    def __post_init__(self) -> None:
        check_choice("prediction", self.prediction, PREDICTIONS)
        if float(self.alphas_cumprod.min()) <= 0:
            raise InputError(
                "alphas_cumprod falls to 0 (zero terminal SNR), where eps says nothing of x_0; "
                "use a schedule without rescale_betas_zero_snr"
            )

    @classmethod
    def of(cls, scheduler: Any) -> Schedule:
        """The schedule of a diffusers scheduler."""
        return cls(scheduler.alphas_cumprod.float(), scheduler.config.prediction_type)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def alpha_sigma(self, t: torch.Tensor | int) -> tuple[torch.Tensor, torch.Tensor]:
        """alpha_t and sigma_t as (B, 1, 1, 1) on the device of `t` (B,); of a number as () where
        the schedule is, which a product on any device takes without waiting."""
        if isinstance(t, int):
            return self.alphas_cumprod[t].sqrt(), (1 - self.alphas_cumprod[t]).sqrt()
        cumprod = self.alphas_cumprod.to(t.device)[t][:, None, None, None]
        return cumprod.sqrt(), (1 - cumprod).sqrt()

    def add_noise(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_t of clean `x0` (B, C, h, w)."""
        alpha, sigma = self.alpha_sigma(t)
        return (alpha * x0 + sigma * noise).to(x0.dtype)

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the network should predict at `t`."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return x0
        alpha, sigma = self.alpha_sigma(t)
        return alpha * noise - sigma * x0

    def noise_of(
        self, output: torch.Tensor, x: torch.Tensor, t: torch.Tensor | int
    ) -> torch.Tensor:
        """The noise eps that a network's `output` on `x` at `t` stands for."""
        if self.prediction == "epsilon":
            return output
        alpha, sigma = self.alpha_sigma(t)
        if self.prediction == "sample":
            return (x - alpha * output) / sigma
        return alpha * output + sigma * x

    def weight(self, t: torch.Tensor) -> torch.Tensor | float:
        """What an error of the output at `t` weighs in the loss, (B, 1, 1, 1): 1, but an error of
        the sample as much as the error of v that it makes, 1 / sigma^2, from `MIN_SIGMA` on."""
        if self.prediction != "sample":
            return 1.0
        return self.alpha_sigma(t)[1].clamp(min=MIN_SIGMA) ** -2

"""The maths: schedule, timesteps, sampler, guidance; judged by diffusers' own scheduler."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from anydoor_lab.diffusion.guidance import guide
from anydoor_lab.diffusion.sampler import last, sample_ddim, spaced_timesteps
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import adaptive_timesteps, uniform_timesteps
from anydoor_lab.structures.rng import rng_for

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def scheduler_of(prediction: str = "epsilon", **settings: object) -> DDIMScheduler:
    """Stable Diffusion's schedule; `leading` as there, with an offset of one."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        steps_offset=1,
        **settings,
    )


def predict(x: torch.Tensor, t: int) -> torch.Tensor:
    """A network's stand-in: any smooth function of x and t."""
    return torch.tanh(x * (0.3 + t / 1000)) - 0.2 * x.flip(-1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(rng_for(seed, 0, "test").standard_normal(shape, np.float32))


@pytest.mark.parametrize("last_is_one", [True, False])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 10, 50])
def test_ddim_takes_the_steps_of_diffusers(
    prediction: str, spacing: str, last_is_one: bool, steps: int
) -> None:
    theirs = scheduler_of(prediction, timestep_spacing=spacing, set_alpha_to_one=last_is_one)
    theirs.set_timesteps(steps)
    schedule = Schedule.of(theirs)
    after = 1.0 if last_is_one else float(schedule.alphas_cumprod[0])
    timesteps = spaced_timesteps(steps, 1000, spacing)
    assert timesteps == theirs.timesteps.tolist()

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        return schedule.noise_of(predict(x, t), x, t)

    x = normal(2, 4, 8, 8)
    for done in sample_ddim(denoise, x, timesteps, schedule, after):
        expected = theirs.step(predict(x, done.t), done.t, x)
        torch.testing.assert_close(done.x, expected.prev_sample, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(done.x0, expected.pred_original_sample, rtol=1e-3, atol=1e-3)
        x = done.x


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@given(steps=st.integers(1, 999), total=st.just(1000))
def test_timesteps_fall_strictly_inside_the_schedule(spacing: str, steps: int, total: int) -> None:
    timesteps = spaced_timesteps(steps, total, spacing)
    # the released rule takes every multiple, also those that more steps than asked for would need
    exact = spacing == "trailing" or total % steps == 0
    assert len(timesteps) == steps if exact else len(timesteps) >= steps
    assert all(0 <= t < total for t in timesteps)
    assert all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))


@pytest.mark.parametrize(
    ("steps", "spacing"), [(0, "trailing"), (1001, "trailing"), (1000, "leading"), (10, "odd")]
)
def test_impossible_spacings_are_refused_with_a_sentence(steps: int, spacing: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        spaced_timesteps(steps, 1000, spacing)


def test_the_sampler_computes_a_step_only_when_asked() -> None:
    calls: list[int] = []

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        calls.append(t)
        return x

    steps = sample_ddim(denoise, normal(1, 4, 2, 2), [900, 500, 100], Schedule.of(scheduler_of()))
    assert isinstance(steps, Iterator) and calls == []
    next(steps)
    assert calls == [900]
    assert [done.step for done in steps] == [1, 2] and calls == [900, 500, 100]


def test_the_last_step_is_handed_back_once_all_are_taken() -> None:
    steps = sample_ddim(
        lambda x, t: x, normal(1, 4, 2, 2), [900, 500, 100], Schedule.of(scheduler_of())
    )
    assert (done := last(steps)).step == 2 and done.t == 100
    with pytest.raises(ValueError, match="no step was taken"):
        last(steps)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_number_and_a_batch_of_timesteps_give_the_same_noise(prediction: str) -> None:
    schedule, output = Schedule.of(scheduler_of(prediction)), normal(2, 4, 8, 8)
    x = normal(2, 4, 8, 8, seed=1).double()
    for t in (0, 500, 999):
        batch = schedule.noise_of(output, x, torch.tensor([t, t]))
        assert torch.equal(schedule.noise_of(output, x, t), batch)


def test_a_denoiser_that_knows_the_noise_brings_back_the_clean_picture() -> None:
    schedule = Schedule.of(scheduler_of())
    clean, noise = normal(2, 4, 4, 4, seed=1), normal(2, 4, 4, 4, seed=2)
    start = schedule.add_noise(clean, noise, torch.tensor([999, 999]))
    done = last(sample_ddim(lambda x, t: noise, start, spaced_timesteps(5), schedule))
    torch.testing.assert_close(done.x, clean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_noising_and_targets_are_those_of_diffusers(prediction: str) -> None:
    theirs = scheduler_of(prediction)
    schedule = Schedule.of(theirs)
    x0, noise, t = normal(4, 4, 4, 4), normal(4, 4, 4, 4, seed=1), torch.tensor([0, 1, 500, 999])
    torch.testing.assert_close(schedule.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t))
    expected = {"epsilon": noise, "v_prediction": theirs.get_velocity(x0, noise, t), "sample": x0}
    torch.testing.assert_close(schedule.target(x0, noise, t), expected[prediction])


def test_an_error_of_the_sample_weighs_as_the_error_of_v_that_it_makes() -> None:
    v, sample = (Schedule.of(scheduler_of(name)) for name in ("v_prediction", "sample"))
    x0, noise, t = normal(3, 4, 4, 4), normal(3, 4, 4, 4, seed=1), torch.tensor([500, 800, 999])
    x, error = v.add_noise(x0, noise, t), normal(3, 4, 4, 4, seed=2)
    alpha, sigma = v.alpha_sigma(t)
    wrong = alpha * noise - sigma * x0 + error  # an output for v, and the sample it stands for
    of_v = (wrong - v.target(x0, noise, t)) ** 2 * v.weight(t)
    of_sample = (alpha * x - sigma * wrong - sample.target(x0, noise, t)) ** 2 * sample.weight(t)
    torch.testing.assert_close(of_v, of_sample, rtol=1e-4, atol=1e-4)
    assert float(sample.weight(torch.tensor([0])).max()) == pytest.approx(1 / 0.5**2)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_noise_read_from_a_perfect_output_is_the_noise_put_in(prediction: str) -> None:
    schedule = Schedule.of(scheduler_of(prediction))
    x0, noise, t = normal(4, 4, 4, 4), normal(4, 4, 4, 4, seed=1), torch.tensor([0, 1, 500, 999])
    x = schedule.add_noise(x0, noise, t)
    output = schedule.target(x0, noise, t)
    torch.testing.assert_close(schedule.noise_of(output, x, t), noise, rtol=1e-5, atol=1e-5)


def test_an_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'flow'; expected one of epsilon, v_prediction, sample"):
        Schedule(torch.ones(10), "flow")  # type: ignore[arg-type]


def test_a_schedule_that_ends_in_pure_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="zero terminal SNR"):
        Schedule.of(scheduler_of("v_prediction", rescale_betas_zero_snr=True))


def test_guidance_extrapolates_from_unconditional_through_conditional() -> None:
    conditional, unconditional = normal(2, 4, 2, 2), normal(2, 4, 2, 2, seed=1)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0), conditional)
    assert torch.equal(guide(conditional, unconditional, 0.0), unconditional)
    torch.testing.assert_close(
        guide(conditional, unconditional, 5.0), 5 * conditional - 4 * unconditional
    )


DRAWS = 8000


def fixed_draws(variation: str, **settings: float) -> np.ndarray:
    """Timesteps of independent, fixed draws of one variation."""
    uniform = rng_for(3, 0, "timesteps").random(DRAWS)
    return adaptive_timesteps(uniform, [variation] * DRAWS, 1000, **settings)


@pytest.mark.parametrize("mass", [0.75, 0.85])
@pytest.mark.parametrize("variation", ["video", "still", "multiview"])
def test_the_early_half_has_its_probability(variation: str, mass: float) -> None:
    expected = {"video": mass, "still": 1 - mass, "multiview": 0.5}[variation]
    early = int((fixed_draws(variation, mass=mass) >= 500).sum())
    shares = [DRAWS * expected, DRAWS * (1 - expected)]
    assert chisquare([early, DRAWS - early], shares).pvalue > 0.001


@pytest.mark.parametrize("variation", ["video", "still", "multiview"])
def test_within_each_half_every_timestep_is_equally_likely(variation: str) -> None:
    t = fixed_draws(variation)
    for half in (t[t < 500], t[t >= 500] - 500):
        assert chisquare(np.bincount(half // 10, minlength=50)).pvalue > 0.001


def test_adaptive_prefers_early_steps_for_video() -> None:
    assert fixed_draws("video").mean() > fixed_draws("multiview").mean() + 100
    assert fixed_draws("still").mean() < fixed_draws("multiview").mean() - 100


def test_a_mass_of_one_half_is_the_uniform_choice() -> None:
    uniform = rng_for(3, 1, "timesteps").random(500)
    variations = ["video", "still"] * 250
    adaptive = adaptive_timesteps(uniform, variations, 1000, mass=0.5)
    assert np.array_equal(adaptive, uniform_timesteps(uniform, variations, 1000))


@given(
    first=st.floats(0, 1, exclude_max=True),
    second=st.floats(0, 1, exclude_max=True),
    mass=st.floats(0, 1),
    variation=st.sampled_from(["video", "still", "multiview"]),
    total=st.integers(2, 1000),
)
def test_timesteps_rise_with_the_draw_and_stay_inside_the_schedule(
    first: float, second: float, mass: float, variation: str, total: int
) -> None:
    draws = np.array(sorted([first, second]))
    low, high = adaptive_timesteps(draws, [variation] * 2, total, mass=mass)
    assert 0 <= low <= high < total
    low, high = uniform_timesteps(draws, [variation] * 2, total)
    assert 0 <= low <= high < total


def test_a_mass_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="mass is 1.5; expected a probability"):
        adaptive_timesteps(np.array([0.5]), ["video"], mass=1.5)

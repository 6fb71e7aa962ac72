"""PDE-Refiner: its task, its calls, and exact answers where the network is exact."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.surrogates import DDIM, Ancestral, DPMSolverPP, EDMHeun, PDERefiner
from tests.surrogates.conftest import SmallFNO
from tests.surrogates.gaussian import Autoregressive, ExactNetwork

PROCESS = Autoregressive()


def exact(v, **options):
    """A refiner whose network gives v(z, x, alpha, sigma)."""

    def answer(z, x, level):
        sigma = (4 * level).exp()
        return v(z, x, (1 - sigma**2).clamp(min=0).sqrt(), sigma)

    return PDERefiner(ExactNetwork(answer), 0.1, **options)


@pytest.mark.parametrize("sampler", [Ancestral(), DDIM(), DPMSolverPP(), EDMHeun()], ids=str)
@pytest.mark.parametrize("difference", [True, False])
def test_a_certain_answer_is_given_exactly(sampler, difference):
    """The network of y = tanh(z): v = (alpha x - y) / sigma whatever the noise."""
    surrogate = exact(
        lambda z, x, alpha, sigma: (alpha * x - torch.tanh(z)) / sigma,
        sampler=sampler,
        predict_difference=difference,
    )
    surrogate.state_normalizer.mean.fill_(2.0)
    surrogate.target_normalizer.std.fill_(0.5)
    surrogate.target_normalizer.mean.fill_(-1.0)
    u = torch.linspace(-2, 5, 24).reshape(2, 1, 12)
    y = -1 + 0.5 * torch.tanh(u - 2)
    expected = u + y if difference else y
    assert torch.allclose(surrogate(0.0, u, 0.1), expected, atol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_one_call_per_level(num_steps):
    surrogate = exact(PROCESS.v, num_refinement_steps=num_steps)
    surrogate(0.0, torch.zeros(2, 1, 8), 0.1)
    assert surrogate.backbone.calls == surrogate.num_evaluations == num_steps + 1


def test_levels_are_told_and_descended():
    seen = []

    def answer(z, x, level):
        seen.append(float(level.unique()))
        return x

    PDERefiner(ExactNetwork(answer), 0.1, sigma_min=1e-2)(0.0, torch.zeros(2, 1, 8), 0.1)
    assert seen[0] == 0.0 and seen[-1] == pytest.approx(math.log(1e-2) / 4)
    assert seen == sorted(seen, reverse=True) and len(set(seen)) == 4


def tasks(surrogate, y, number):
    """What one batch of training shows the network, and what it asks for."""
    seen = []
    hook = surrogate.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    zero = torch.zeros_like(y)
    batch = {"history": zero[:, None], "future": y[:, None], "stream": (3, number)}
    batch["dt"] = torch.full((len(y),), 0.1)
    _, v = surrogate.regression(batch)
    hook.remove()
    fields, level = seen[0]
    sigma = (4 * level).exp()[:, :, None]
    return fields[:, 1:], v, (1 - sigma**2).clamp(min=0).sqrt(), sigma


def test_the_task_is_v():
    surrogate = exact(PROCESS.v, num_refinement_steps=3, sigma_min=0.05)
    y = torch.randn(4096, 1, 8)
    noised, v, alpha, sigma = tasks(surrogate, y, 0)
    eps = sigma * noised + alpha * v
    assert torch.allclose(alpha * noised - sigma * v, y, atol=1e-7)
    assert abs(float(eps.mean())) < 0.02 and abs(float(eps.std()) - 1) < 0.01
    assert abs(float((eps * y).mean())) < 0.02
    first = sigma.flatten() == 1
    assert torch.equal(v[first], -y[first]) and first.any()


def test_all_levels_are_drawn_alike():
    surrogate = exact(PROCESS.v, num_refinement_steps=3, sigma_min=0.05)
    found = torch.cat([tasks(surrogate, torch.zeros(500, 1, 1), n)[3] for n in range(20)])
    values, counts = found.flatten().round(decimals=9).unique(return_counts=True)
    expected = sorted(surrogate.levels.sigmas)
    assert values.tolist() == pytest.approx(expected, abs=1e-6)
    # Chi-squared with 3 degrees of freedom: above 16.3 once in a thousand.
    assert float(((counts - 2500.0) ** 2 / 2500).sum()) < 16.3


@pytest.mark.parametrize("sampler, num_steps", [(Ancestral(), 60), (DPMSolverPP(), 24)], ids=str)
def test_a_stochastic_process_keeps_its_variance(sampler, num_steps):
    surrogate = PROCESS.prepare(
        exact(PROCESS.v, num_refinement_steps=num_steps, sigma_min=0.02, sampler=sampler)
    )
    (mean, deviation), expected = PROCESS.rolled_out(surrogate)
    assert abs(mean - expected[0]) < 0.02
    assert abs(deviation / expected[1] - 1) < 0.05


def test_sigma_min_below_the_precision_is_refused():
    single = SmallFNO(3).float()
    with pytest.raises(ValueError, match=r"`sigma_min` must be at least 4.8e-07 .* torch.float32"):
        PDERefiner(single, 0.1, sigma_min=4e-7)
    PDERefiner(single, 0.1, sigma_min=5e-7)
    surrogate = PDERefiner(nn.Conv1d(3, 1, 1), 0.1, sigma_min=1e-10)
    with pytest.raises(ValueError, match="`sigma_min` must be at least"):
        surrogate.float()(0.0, torch.zeros(1, 1, 8), 0.1)


def test_bad_arguments_are_refused():
    network = SmallFNO(3)
    with pytest.raises(ValueError, match="`num_refinement_steps` must be at least 1, got 0"):
        PDERefiner(network, 0.1, num_refinement_steps=0)
    for sigma_min in (0.0, 1.0, -1e-3, math.nan):
        with pytest.raises(ValueError, match="`sigma_min` is a standard deviation between 0 and"):
            PDERefiner(network, 0.1, sigma_min=sigma_min)
    with pytest.raises(TypeError, match="`sampler` must be an instance of Sampler, got DDIM"):
        PDERefiner(network, 0.1, sampler=DDIM)


def test_a_sampler_between_the_trained_levels_is_refused():
    network = SmallFNO(3)
    match = r"at the trained noise levels only, got EDMHeun\(churn=2.0\).*DiffusionSurrogate"
    with pytest.raises(ValueError, match=match):
        PDERefiner(network, 0.1, sampler=EDMHeun(churn=2.0))
    surrogate = PDERefiner(network, 0.1)
    with pytest.raises(ValueError, match=match):
        surrogate.with_sampler(EDMHeun(churn=2.0))
    other = surrogate.with_sampler(EDMHeun())
    assert other.backbone is network and other.num_evaluations == 6
    assert surrogate.num_evaluations == 4

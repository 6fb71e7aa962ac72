"""Diffusion: its task, its nodes, and exact answers where the network is exact."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from pdesurrogates.core import NoiseStream
from pdesurrogates.surrogates import (
    DDIM,
    Ancestral,
    DiffusionSurrogate,
    DPMSolverPP,
    EDMHeun,
    Sampler,
    karras_levels,
)
from tests.surrogates.conftest import SmallFNO
from tests.surrogates.gaussian import Autoregressive, ExactNetwork
from tests.surrogates.learning import learned_process

PROCESS = Autoregressive()


def exact(v, **options):
    """A surrogate whose network gives v(z, x, alpha, sigma)."""

    def answer(z, x, level):
        ratio = (4 * level).exp()
        alpha = (1 + ratio**2).rsqrt()
        return v(z, x, alpha, ratio * alpha)

    return DiffusionSurrogate(ExactNetwork(answer), 0.1, **options)


SAMPLERS = [DDIM(), Ancestral(), DPMSolverPP(), DPMSolverPP(eta=1.0), EDMHeun(), EDMHeun(2.0)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("num_steps", [1, 2, 6])
def test_a_certain_answer_is_given_exactly(sampler, num_steps):
    surrogate = exact(
        lambda z, x, alpha, sigma: (alpha * x - torch.tanh(z)) / sigma,
        sampler=sampler,
        num_steps=num_steps,
    )
    u = torch.linspace(-2, 2, 24).reshape(2, 1, 12)
    assert torch.allclose(surrogate(0.0, u, 0.1), u + torch.tanh(u), atol=1e-12)
    assert surrogate.backbone.calls == surrogate.num_evaluations


@pytest.mark.parametrize(
    "sampler, num_steps, tolerance",
    [
        (DPMSolverPP(), 8, 0.08),
        (DPMSolverPP(), 40, 0.02),
        (DPMSolverPP(eta=1.0), 40, 0.03),
        (EDMHeun(), 40, 0.03),
        (EDMHeun(4.0), 40, 0.03),
        (Ancestral(), 80, 0.12),
        (DDIM(), 80, 0.05),
    ],
    ids=str,
)
def test_a_stochastic_process_keeps_its_variance(sampler, num_steps, tolerance):
    surrogate = PROCESS.prepare(exact(PROCESS.v, sampler=sampler, num_steps=num_steps))
    (mean, deviation), expected = PROCESS.rolled_out(surrogate)
    assert abs(mean - expected[0]) < 0.025
    assert abs(deviation / expected[1] - 1) < tolerance


def test_the_start_keeps_the_mean_of_the_answer():
    """Noise alone would pull it to zero by spread / sigma_max, 5 %, in every step."""
    surrogate = PROCESS.prepare(exact(PROCESS.v, num_steps=80))
    z = torch.full((1, 1, 1), 0.8)

    class Still(NoiseStream):
        def at(self, *keys):
            return self

        def normal(self, like, *keys):
            return torch.zeros_like(like)

    assert float(surrogate.draw(z, None, Still())) == pytest.approx(PROCESS.slope * 0.8, rel=5e-3)


@dataclasses.dataclass(frozen=True)
class Probe(Sampler):
    """Asks for one estimate, of a field of another size."""

    size: float = 1.0

    def sample(self, denoise, levels, draw):
        denoise(draw(0), *levels.nodes[0])
        return denoise(self.size * draw(1), self.size * 0.6, self.size * 0.8)

    def _descend(self, denoise, nodes, x, draw):
        return x


def test_estimates_between_nodes_do_not_depend_on_the_size_of_the_field():
    surrogate, u = PROCESS.prepare(exact(PROCESS.v)), torch.randn(2, 1, 8)
    expected = surrogate.with_sampler(Probe())(0.0, u, 0.1)
    found = surrogate.with_sampler(Probe(3.0))(0.0, u, 0.1)
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_task_is_v_at_all_strengths():
    seen = []

    def answer(z, x, level):
        seen.append((x, level))
        return x

    surrogate = DiffusionSurrogate(ExactNetwork(answer), 0.1, sigma_min=0.01, sigma_max=10.0)
    y = torch.randn(2000, 1, 8)
    batch = {"history": torch.zeros(2000, 1, 1, 8), "future": y[:, None], "stream": (3, 0)}
    _, v = surrogate.regression({**batch, "dt": torch.full((2000,), 0.1)})
    (x, level) = seen[0]
    ratio = (4 * level).exp()
    alpha = (1 + ratio**2).rsqrt()
    sigma = ratio * alpha
    assert torch.allclose(alpha * x - sigma * v, y, atol=1e-12)
    eps = sigma * x + alpha * v
    assert abs(float(eps.std()) - 1) < 0.02 and abs(float((eps * y).mean())) < 0.02
    # log rho is uniform, and evenly spread over the batch.
    share = (4 * level.flatten() - math.log(0.01)) / math.log(1000)
    assert (share.sort().values.diff() - 1 / 2000).abs().max() < 1e-9
    assert share.min() >= 0 and share.max() < 1


def test_the_loss_is_that_of_karras():
    """With deviation one: input, output and weight of the preconditioning, F = -N."""
    y, eps, rho = torch.randn(5), torch.randn(5), torch.tensor([0.01, 0.3, 1.0, 4.0, 50.0])
    noised = y + rho * eps
    c_in, c_skip, c_out = (1 + rho**2) ** -0.5, 1 / (1 + rho**2), rho * (1 + rho**2) ** -0.5
    alpha, sigma = c_in, rho * c_in
    assert torch.allclose(c_in * noised, alpha * y + sigma * eps)
    network = torch.randn(5)
    denoised = alpha * (c_in * noised) - sigma * network
    assert torch.allclose(denoised, c_skip * noised + c_out * (-network))
    v = alpha * eps - sigma * y
    weight = (1 + rho**2) / rho**2
    assert torch.allclose(weight * (denoised - y) ** 2, (network - v) ** 2)


def test_sampler_and_steps_are_chosen_at_inference():
    surrogate = DiffusionSurrogate(SmallFNO(3), 0.1, num_steps=5)
    other = surrogate.with_sampler(EDMHeun(churn=1.0), num_steps=9, level_exponent=7.0)
    assert other.num_evaluations == 17 and surrogate.num_evaluations == 5
    assert other.backbone is surrogate.backbone
    assert other.levels == karras_levels(9, 2e-3, 20.0, exponent=7.0)
    assert surrogate.levels == karras_levels(5, 2e-3, 20.0, exponent=math.inf)
    assert surrogate.with_sampler(num_steps=3).sampler == DPMSolverPP()
    with pytest.raises(TypeError, match="`sampler` must be an instance of Sampler, got 'ddim'"):
        surrogate.with_sampler("ddim")
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        surrogate.with_sampler(num_steps=0)


def test_more_steps_converge_to_one_answer():
    """Second order: the gap to a fine solution falls fourfold when the steps double."""
    surrogate = PROCESS.prepare(exact(PROCESS.v))
    u = torch.randn(1, 1, 32)
    finest = surrogate.with_sampler(num_steps=1281)(0.0, u, 0.1)
    errors = [
        float((surrogate.with_sampler(num_steps=n + 1)(0.0, u, 0.1) - finest).abs().max())
        for n in (40, 80, 160)
    ]
    assert 3.5 < errors[0] / errors[1] < 4.6 and 3.5 < errors[1] / errors[2] < 4.6, errors


def test_bad_arguments_are_refused():
    network = SmallFNO(3)
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        DiffusionSurrogate(network, 0.1, num_steps=0)
    with pytest.raises(ValueError, match="got sigma_min = 0.5 and sigma_max = 0.5"):
        DiffusionSurrogate(network, 0.1, sigma_min=0.5, sigma_max=0.5)
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max < infinity"):
        DiffusionSurrogate(network, 0.1, sigma_min=-1.0)
    with pytest.raises(ValueError, match="`exponent` must be positive, got 0"):
        DiffusionSurrogate(network, 0.1, level_exponent=0.0)
    with pytest.raises(ValueError, match=r"`sigma_min` must be at least 4.8e-07 .* torch.float32"):
        DiffusionSurrogate(SmallFNO(3).float(), 0.1, sigma_min=1e-8)
    surrogate = DiffusionSurrogate(nn.Conv1d(3, 1, 1), 0.1, sigma_min=1e-3)
    with pytest.raises(ValueError, match="DiffusionSurrogate: `sigma_min`.*torch.bfloat16"):
        surrogate.bfloat16()(0.0, torch.zeros(1, 1, 8), 0.1)


@pytest.mark.slow
def test_it_learns_mean_and_variance_of_a_process():
    make = lambda network: DiffusionSurrogate(network, 0.1, num_steps=12)  # noqa: E731
    slope, spread, stationary = learned_process(make, PROCESS)
    assert abs(slope / PROCESS.decay - 1) < 0.1
    assert abs(spread / PROCESS.kick - 1) < 0.1
    assert abs(stationary / PROCESS.stationary - 1) < 0.1

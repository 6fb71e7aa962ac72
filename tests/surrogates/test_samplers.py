"""Samplers on the Gaussian problem: orders, moments, identities; node values."""

import math

import pytest
import torch

from pdesurrogates.surrogates import (
    DDIM,
    Ancestral,
    DPMSolverPP,
    EDMHeun,
    NoiseLevels,
    karras_levels,
    refiner_levels,
)
from tests.steppers.test_order import observed_order
from tests.surrogates.gaussian import Gaussian, moments, uniform_levels

DATA = Gaussian()
DETERMINISTIC = [DDIM(), DPMSolverPP(1), DPMSolverPP(), EDMHeun()]
STOCHASTIC = [
    Ancestral(),
    DDIM(0.5),
    DDIM(1.0),
    DPMSolverPP(1, eta=1.0),
    DPMSolverPP(eta=1.0),
    DPMSolverPP(eta=0.5),
    EDMHeun(churn=3.0),
]
EVERY = [*DETERMINISTIC, *STOCHASTIC]


def flow_error(sampler, levels, start):
    """Error at the last node against the exact flow from the first."""
    a, s = levels.nodes[-1]
    start = torch.tensor([start]) if isinstance(start, float) else start
    found = sampler.sample(DATA.estimate, levels, lambda k: start)
    end = DATA.flow(levels.sigmas[0] * start, levels.nodes[0], (a, s))
    slope = DATA.estimate(1.0, a, s) - DATA.estimate(0.0, a, s)
    return float(((found - DATA.estimate(end, a, s)) / slope).abs().max())


@pytest.mark.parametrize(
    "sampler, order", [(DDIM(), 1), (DPMSolverPP(), 2), (EDMHeun(), 2)], ids=str
)
@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["alpha^2 + sigma^2 = 1", "of another size"])
def test_order(sampler, order, scale):
    def levels(n):
        found = uniform_levels(n)
        return NoiseLevels(
            tuple(scale * a for a in found.alphas), tuple(scale * s for s in found.sigmas)
        )

    start = torch.tensor([-1.2, 0.4, 2.0])
    errors = [flow_error(sampler, levels(n + 1), start) for n in (40, 80, 160, 320)]
    assert abs(observed_order(errors) - order) < 0.12, errors
    assert errors[-1] / scale < {1: 8e-3, 2: 2e-4}[order]


# Computed elsewhere by an independent implementation, for N(0.3, 0.7^2), to two digits.
FEW_NODES = {
    DDIM(): {3: 2.6e-1, 4: 2.0e-1, 6: 1.4e-1, 10: 8.7e-2, 20: 4.5e-2},
    DPMSolverPP(): {3: 6.7e-2, 4: 7.0e-3, 6: 1.4e-2, 10: 9.0e-3, 20: 2.6e-3},
}


@pytest.mark.parametrize("sampler", FEW_NODES, ids=str)
def test_errors_of_few_steps(sampler):
    for num_steps, error in FEW_NODES[sampler].items():
        assert flow_error(sampler, uniform_levels(num_steps + 1), -1.035) == pytest.approx(
            error, rel=0.03
        )


def sample(sampler, levels, denoise=DATA.estimate, dtype=torch.float64):
    source = torch.Generator().manual_seed(0)
    noise = torch.randn(50, 64, generator=source).to(dtype)
    return sampler.sample(denoise, levels, lambda k: noise[k])


@pytest.mark.parametrize(
    "levels", [uniform_levels(7), refiner_levels(5, 1e-3), karras_levels(7, 2e-3, 80.0)],
    ids=["uniform", "refiner", "karras"],
)  # fmt: skip
def test_identities(levels):
    def equal(a, b):
        return torch.allclose(sample(a, levels), sample(b, levels), rtol=1e-11, atol=1e-12)

    assert equal(DPMSolverPP(1), DDIM(0))
    assert equal(Ancestral(), DDIM(1.0))
    assert equal(Ancestral(), DPMSolverPP(1, eta=1.0))
    assert not equal(DPMSolverPP(2), DDIM(0))
    assert not equal(DDIM(0.5), DDIM(0))


@pytest.mark.parametrize("sampler", EVERY, ids=str)
def test_mean_and_variance_of_a_gaussian(sampler):
    # The start forgets mean and spread: high noise first. Errors must fall with the nodes.
    is_second_order = isinstance(sampler, EDMHeun) or getattr(sampler, "order", 1) == 2
    errors = []
    for num_nodes in (40, 160):
        levels = karras_levels(num_nodes, 1e-3, 1e3)
        mean, variance = moments(sampler, DATA.estimate, levels)
        errors.append(max(abs(mean - 0.3), abs(variance / 0.49 - 1)))
    assert errors[1] < 0.4 * errors[0] or errors[1] < 2e-3, errors
    assert errors[1] < (0.035 if is_second_order else 0.12)


@pytest.mark.parametrize("deviation", [1.0, 0.3, 0.1, 0.02])
def test_eight_geometric_nodes_keep_narrow_and_wide_spreads(deviation):
    levels = karras_levels(8, 2e-3, 20.0, exponent=math.inf)
    _, variance = moments(DPMSolverPP(), Gaussian(0.0, deviation).estimate, levels)
    assert abs(math.sqrt(variance) / deviation - 1) < 0.05
    _, variance = moments(Ancestral(), Gaussian(0.0, deviation).estimate, levels)
    assert math.sqrt(variance) / deviation == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("sampler", EVERY, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("levels", [refiner_levels(3, 6.3e-4), refiner_levels(1, 1e-3)], ids=len)
def test_from_pure_noise(sampler, dtype, levels):
    """alpha = 0 at the first node: finite, and the first estimate owes nothing to the noise."""
    assert levels.alphas[0] == 0.0

    def sure(x, alpha, sigma):
        return torch.full_like(x, 0.25)

    found = sample(sampler, levels, dtype=dtype)
    assert found.dtype == dtype and found.isfinite().all()
    assert torch.equal(sample(sampler, levels, sure, dtype), torch.full((64,), 0.25, dtype=dtype))


@pytest.mark.parametrize("sampler", EVERY, ids=str)
@pytest.mark.parametrize(
    "levels",
    [uniform_levels(2), uniform_levels(6), refiner_levels(4, 1e-3), NoiseLevels((0.0,), (1.0,))],
    ids=["two", "six", "refiner", "one"],
)
def test_calls_are_counted_and_made_at_nodes(sampler, levels):
    asked, drawn = [], []

    def denoise(x, alpha, sigma):
        asked.append((alpha, sigma))
        return DATA.estimate(x, alpha, sigma)

    def draw(k):
        drawn.append(k)
        return torch.zeros(1)

    sampler.sample(denoise, levels, draw)
    assert len(asked) == sampler.num_evaluations(levels)
    assert drawn[0] == 0 and len(set(drawn)) == len(drawn)
    if sampler in DETERMINISTIC:
        assert drawn == [0]
    between = set(asked) - set(levels.nodes)
    assert bool(between) == (sampler.leaves_nodes and len(levels) > 2)


def test_heun_calls_twice_per_step():
    assert EDMHeun().num_evaluations(uniform_levels(5)) == 9
    assert EDMHeun().num_evaluations(refiner_levels(4, 1e-3)) == 8  # alpha = 0: Euler alone
    assert DPMSolverPP().num_evaluations(uniform_levels(5)) == 5


@pytest.mark.parametrize("sampler", EVERY, ids=str)
def test_a_certain_answer_is_found_exactly(sampler):
    target = torch.linspace(-1, 1, 64)
    found = sample(sampler, karras_levels(9, 1e-6, 80.0), lambda x, alpha, sigma: target)
    assert torch.equal(found, target)


# --- node values -----------------------------------------------------------------------------

# Standard deviations from least to most noise for a least variance of 4e-7.
REFINER = {
    1: [6.3e-4, 1],
    2: [6.3e-4, 2.5e-2, 1],
    3: [6.3e-4, 7.4e-3, 8.6e-2, 1],
    4: [6.3e-4, 4.0e-3, 2.5e-2, 0.16, 1],
    8: [6.3e-4, 1.7e-3, 4.3e-3, 1.1e-2, 2.7e-2, 6.9e-2, 0.17, 0.43, 1],
}


@pytest.mark.parametrize("num_steps", REFINER)
def test_levels_of_the_refiner(num_steps):
    levels = refiner_levels(num_steps, math.sqrt(4e-7))
    assert list(levels.sigmas)[::-1] == pytest.approx(REFINER[num_steps], rel=0.03)
    assert levels.sigmas[-1] == pytest.approx(math.sqrt(4e-7), rel=1e-15)
    assert levels.alphas[0] == 0 and levels.sigmas[0] == 1
    for a, s in levels.nodes:
        assert a * a + s * s == pytest.approx(1, abs=1e-15)
    tiny = refiner_levels(num_steps, 1e-9)
    assert tiny.sigmas[-1] == pytest.approx(1e-9, rel=1e-14)


def test_karras_levels():
    levels = karras_levels(5, 0.002, 80.0)
    ratios = [s / a for a, s in levels.nodes]
    # Eq. (5) with n = 5, exponent 7.
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    expected = [(high + i / 4 * (low - high)) ** 7 for i in range(5)]
    assert ratios == pytest.approx(expected, rel=1e-12)
    assert ratios[0] == pytest.approx(80) and ratios[-1] == pytest.approx(0.002)
    geometric = karras_levels(4, 1e-3, 1.0, exponent=math.inf)
    assert [s / a for a, s in geometric.nodes] == pytest.approx([1, 0.1, 0.01, 0.001])
    assert len(karras_levels(1, 0.002, 80.0)) == 1


def test_bad_levels_are_refused():
    with pytest.raises(ValueError, match="same number of nodes, at least one, got 0 and 0"):
        NoiseLevels((), ())
    with pytest.raises(ValueError, match="noise must decrease.*noisiest node first"):
        NoiseLevels((0.9, 0.1), (0.1, 0.9))
    for alphas, sigmas in (((0.1, 0.5), (0.5, 0.0)), ((-0.1,), (1.0,)), ((math.nan,), (1.0,))):
        with pytest.raises(ValueError, match="`sigmas` must be positive and `alphas` not"):
            NoiseLevels(alphas, sigmas)
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        karras_levels(0, 1e-3, 1.0)
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (1e-3, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="0 < sigma_min < sigma_max < infinity, got"):
            karras_levels(4, low, high)


def test_bad_samplers_are_refused():
    with pytest.raises(ValueError, match="`eta` must lie within 0 and 1, got 1.5"):
        DDIM(1.5)
    with pytest.raises(ValueError, match="`order` must be 1 or 2, got 3"):
        DPMSolverPP(3)
    with pytest.raises(ValueError, match="`eta` must be finite and not negative"):
        DPMSolverPP(eta=-1.0)
    with pytest.raises(ValueError, match="`churn` must be finite and not negative"):
        EDMHeun(churn=-1.0)


# --- another package -------------------------------------------------------------------------


def rough(x, alpha, sigma):
    """An estimate without any structure that a sampler could know."""
    return torch.tanh(2 * alpha * x) + 0.3 * torch.sin(5 * x + sigma)


def by_scheduler(scheduler, x):
    """The same estimates given to a scheduler of `diffusers`, and the nodes it visits."""
    alphas = scheduler.alphas_cumprod.sqrt()
    sigmas = (1 - scheduler.alphas_cumprod).sqrt()
    nodes = []
    for t in scheduler.timesteps:
        node = (float(alphas[t]), float(sigmas[t]))
        nodes.append(node)
        x = scheduler.step(rough(x, *node), t, x).prev_sample
    return x, NoiseLevels(*zip(*nodes, strict=True))


@pytest.mark.compare
@pytest.mark.parametrize("num_steps", [2, 5, 12])
@pytest.mark.parametrize("order", [1, 2])
def test_against_diffusers(num_steps, order):
    schedulers = pytest.importorskip("diffusers.schedulers")
    torch.set_default_dtype(torch.float32)
    if order == 1:
        scheduler = schedulers.DDIMScheduler(clip_sample=False, prediction_type="sample")
        sampler = DDIM()
    else:
        scheduler = schedulers.DPMSolverMultistepScheduler(prediction_type="sample")
        sampler = DPMSolverPP()
    scheduler.set_timesteps(num_steps)
    x = torch.randn(200)
    expected, levels = by_scheduler(scheduler, x)
    found = sampler.sample(rough, levels, lambda k: x / levels.sigmas[0])
    assert torch.allclose(found, expected, atol=1e-5), (found - expected).abs().max()

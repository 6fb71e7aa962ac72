"""Adaptive samplers: they find the residual, know their density, and survive a bad residual."""

import math

import pytest
import torch

from pdesurrogates.core import Box, generator
from pdesurrogates.sampling import (
    RAD,
    RAR,
    AdversarialSampler,
    DensityFlowSampler,
    SplineFlow,
    best_density,
)

BOX = Box((-1.0, 0.0), (1.0, 4.0))
CENTER = torch.tensor([0.25, 2.5])


def peak(x):
    """A residual that is large near a point, of alternating sign."""
    scaled = (x - CENTER.to(x)) / x.new_tensor(BOX.extent)
    return torch.exp(-scaled.square().sum(dim=-1) / 0.04) * torch.sign(x[:, 0] - 0.25)


def small_flow(**options):
    return SplineFlow(BOX, width=16, num_bins=8, **options)


def adaptive(name):
    if name == "RAR":
        return RAR(BOX, num_added=20, num_candidates=500)
    if name == "RAD":
        return RAD(BOX, num_candidates=500)
    if name == "DAS":
        return DensityFlowSampler(BOX, flow=small_flow(), num_points=500, num_steps=20)
    return AdversarialSampler(
        BOX, flow=small_flow(), beta=0.02, num_points=500, num_steps=20, learning_rate=5e-3
    )


def density_on_grid(sampler, n=100):
    """Density times volume at cell centres."""
    axis = (torch.arange(n) + 0.5) / n
    unit = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    return sampler.log_density(BOX.from_unit(unit)).exp() * BOX.volume


@pytest.mark.parametrize("name", ["RAR", "RAD", "DAS", "AAS"])
class TestEverySampler:
    def test_is_even_before_the_first_update(self, name):
        samples = adaptive(name).sample(64, generator=generator(0))
        torch.testing.assert_close(
            samples.log_density, torch.full((64,), -math.log(BOX.volume)), rtol=0, atol=1e-12
        )

    def test_moves_to_the_residual(self, name):
        sampler, stream = adaptive(name), generator(0)
        near = [
            float((peak(sampler.sample(400, generator=stream).points).abs() > 0.3).double().mean())
        ]
        for _ in range(3):
            sampler.update(peak, generator=stream)
            points = sampler.sample(400, generator=stream).points
            assert BOX.contains(points).all()
            near.append(float((peak(points).abs() > 0.3).double().mean()))
        assert near[-1] > 1.5 * near[0], near
        assert sampler.num_residual_evaluations == 1500

    def test_density_integrates_to_one_and_belongs_to_the_points(self, name):
        sampler, stream = adaptive(name), generator(0)
        for _ in range(3):
            sampler.update(peak, generator=stream)
        assert abs(float(density_on_grid(sampler).mean()) - 1) < 0.03
        samples = sampler.sample(4000, generator=stream)
        # The mean of 1 / density over the points is the volume.
        weights = torch.exp(-samples.log_density) / BOX.volume
        assert abs(float(weights.mean()) - 1) < 0.1
        # Importance weights give the uniform mean of a function.
        found = (weights * samples.points[:, 1]).mean() / weights.mean()
        assert abs(float(found) - 2.0) < 0.15

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_keeps_its_last_good_state(self, name, bad):
        sampler = adaptive(name)
        sampler.update(peak, generator=generator(1))
        before = density_on_grid(sampler, 10)
        with pytest.raises(ValueError, match="not finite at 1 of 500 points"):
            sampler.update(
                lambda x: torch.where(torch.arange(len(x)) == 3, bad, 1.0), generator=generator(2)
            )
        torch.testing.assert_close(density_on_grid(sampler, 10), before, rtol=0, atol=0)

    def test_refuses_a_residual_of_the_wrong_shape(self, name):
        with pytest.raises(ValueError, match=r"\(num_points,\) = \(500,\), got \(500, 2\)"):
            adaptive(name).update(lambda x: x, generator=generator(0))

    def test_a_residual_of_zero_changes_little(self, name):
        sampler = adaptive(name)
        sampler.update(lambda x: 0 * x[:, 0], generator=generator(0))
        samples = sampler.sample(100, generator=generator(1))
        assert samples.points.isfinite().all() and samples.log_density.isfinite().all()

    def test_single_precision(self, name):
        sampler = adaptive(name)
        if isinstance(sampler, DensityFlowSampler | AdversarialSampler):
            sampler.flow.float()
        sampler.update(peak, generator=generator(0), dtype=torch.float32)
        samples = sampler.sample(10, generator=generator(0), dtype=torch.float32)
        assert samples.points.dtype == samples.log_density.dtype == torch.float32

    def test_refuses_no_points(self, name):
        with pytest.raises(ValueError, match="must be at least 1, got 0"):
            adaptive(name).sample(0, generator=generator(0))


def test_rad_weights_by_hand():
    """|r|^k / mean + c over 1 + c."""
    box = Box((0.0,), (1.0,))
    sampler = RAD(box, exponent=2.0, floor=1.0, num_candidates=1000)
    sampler.update(lambda x: 1 + 2 * (x[:, 0] < 0.5).double(), generator=generator(0))
    assert sampler.candidates is not None
    share = float((sampler.candidates.points < 0.5).double().mean())
    mean = 9 * share + 1 - share
    torch.testing.assert_close(
        sampler.log_density(torch.tensor([[0.1], [0.9]])).exp(),
        torch.tensor([(9 / mean + 1) / 2, (1 / mean + 1) / 2]),
    )
    points = sampler.sample(500, generator=generator(1)).points
    expected = share * (9 / mean + 1) / 2
    assert abs(float((points < 0.5).double().mean()) - expected) < 0.03


def test_rar_keeps_the_largest():
    sampler = RAR(BOX, num_added=7, num_candidates=300, max_share=1.0)
    seen = []
    sampler.update(lambda x: seen.append(x) or -x[:, 0], generator=generator(0))
    largest = seen[0][seen[0][:, 0].abs().topk(7).indices]
    drawn = sampler.sample(7, generator=generator(1)).points
    assert sorted(drawn.tolist()) == sorted(largest.tolist())


def test_das_reaches_the_normalised_square():
    """Without Sobol points the flow is r^2 / int r^2 itself, here a product of cosines."""
    box = Box((0.0, 0.0), (1.0, 1.0))
    sampler = DensityFlowSampler(
        box,
        flow=SplineFlow(box, width=16, num_bins=8),
        num_points=2000,
        num_steps=60,
        batch_size=500,
    )
    for _ in range(2):
        sampler.update(
            lambda x: (1 + 0.8 * torch.cos(math.pi * x).prod(dim=-1)).sqrt(),
            generator=generator(0),
        )
    axis = (torch.arange(40) + 0.5) / 40
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        p = sampler.flow.log_prob(grid).exp()
    target = 1 + 0.8 * torch.cos(math.pi * grid).prod(dim=-1)
    uniform = float((target - 1).abs().mean())
    assert float((p - target).abs().mean()) < 0.5 * uniform


def test_das_with_kept_stages_draws_from_all():
    sampler = DensityFlowSampler(BOX, flow=small_flow(), num_steps=5, num_kept=3)
    for seed in range(4):
        sampler.update(peak, generator=generator(seed))
    assert len(sampler.stages) == 3 and sampler.stages[-1] is sampler.flow
    assert abs(float(density_on_grid(sampler).mean()) - 1) < 0.02


def test_aas_estimates_its_objective():
    """Gain and penalty from random points against sums over a grid, for a flow that is bent."""
    flow, beta, n = small_flow(), 0.03, 150
    with torch.no_grad():
        for weight in flow.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator(5))
    axis = (torch.arange(n) + 0.5) / n
    unit = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    points = BOX.from_unit(unit)
    with torch.no_grad():
        p = (flow.log_prob(points).exp() * BOX.volume).reshape(n, n)
    rho = peak(points).square().reshape(n, n)
    gain = (rho * p).mean() / rho.mean()
    penalty = beta * sum((p.diff(dim=axis) * n).square().mean() for axis in (0, 1))
    sampler = AdversarialSampler(BOX, flow=flow, beta=beta, num_steps=1)
    samples = sampler.sample(20_000, generator=generator(0))
    climbed = sampler.ascend(samples, peak(samples.points))
    assert climbed.gain == pytest.approx(float(gain), rel=0.01)
    assert abs(climbed.gain - 1) > 0.02
    assert climbed.penalty == pytest.approx(float(penalty), rel=0.05)


def test_aas_anneals_its_penalty():
    sampler = AdversarialSampler(
        BOX, flow=small_flow(), beta=0.01, beta_start=1.0, num_anneal_steps=4, num_steps=2
    )
    found = [sampler.present_beta]
    for _ in range(3):
        sampler.update(peak, generator=generator(0))
        found.append(sampler.present_beta)
    assert found == pytest.approx([1.0, 0.1, 0.01, 0.01])


def test_a_flow_that_breaks_is_put_back():
    sampler = AdversarialSampler(BOX, flow=small_flow(), num_steps=6, num_points=50)
    sampler.update(peak, generator=generator(0))
    before = {name: value.clone() for name, value in sampler.flow.state_dict().items()}
    step, calls = sampler.optimizer.step, []

    def broken(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            with torch.no_grad():
                next(sampler.flow.parameters()).fill_(math.nan)
            return None
        return step(*arguments, **options)

    sampler.optimizer.step = broken
    with pytest.raises(RuntimeError, match="keeps its last good state"):
        sampler.update(peak, generator=generator(1))
    after = sampler.flow.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert sampler.num_ascents == 6


@pytest.mark.parametrize(
    "options, match",
    [
        ({"beta": 0.0}, "`beta` and `beta_start` must be positive"),
        ({"beta": -0.1}, "`beta` and `beta_start` must be positive"),
        ({"beta": math.nan}, "`beta` and `beta_start` must be positive"),
        ({"share": 0.0}, "that of the Sobol points"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        ({"num_points": 0}, "`num_points` must be at least 1"),
        ({"num_anneal_steps": -1}, "must not be negative"),
    ],
)
def test_aas_refuses(options, match):
    with pytest.raises(ValueError, match=match):
        AdversarialSampler(BOX, **options)


@pytest.mark.parametrize(
    "build, match",
    [
        (lambda: RAD(BOX, exponent=-1.0), "finite and not negative"),
        (lambda: RAD(BOX, num_candidates=0), "at least 1, got 0"),
        (lambda: RAR(BOX, num_added=10, num_candidates=5), "at least `num_added`"),
        (lambda: RAR(BOX, max_share=0.0), r"must be in \(0, 1\]"),
        (lambda: DensityFlowSampler(BOX, num_kept=0), "at least 1, got 0"),
    ],
)
def test_others_refuse(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.15, 0.04])
def test_aas_finds_the_best_density(beta):
    """L1 distance to the obstacle problem at most 0.1; uniform is at 0.24 and 0.80."""
    box, n, rounds = Box((0.0, 0.0), (1.0, 1.0)), 64, 400

    def residual(x):
        return torch.exp(-(x - 0.625).square().sum(dim=-1) / 0.04)

    axis = (torch.arange(n, dtype=torch.float32) + 0.5) / n
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2)
    best = best_density(residual(grid).square().reshape(n, n), beta)
    sampler = AdversarialSampler(
        box,
        flow=SplineFlow(box).float(),
        beta=beta,
        beta_start=max(beta, 0.2),
        num_anneal_steps=800,
        num_points=1000,
        num_steps=4,
        learning_rate=5e-3,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sampler.optimizer, rounds)
    stream = generator(0)
    for _ in range(rounds):
        sampler.update(residual, generator=stream, dtype=torch.float32)
        schedule.step()
    with torch.no_grad():
        p = sampler.flow.log_prob(grid).exp().reshape(n, n).double()
    assert abs(float(p.mean()) - 1) < 0.01
    assert float((p - best).abs().mean()) <= 0.1

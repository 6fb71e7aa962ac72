"""PINN: exact solutions have no residual, hard conditions hold, what does not fit is refused."""

import math

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import MLP
from pdesurrogates.core import Box, Grid, generator
from pdesurrogates.data import open_trajectories
from pdesurrogates.equations import (
    Advection,
    AdvectionDiffusion,
    Burgers,
    Diffusion,
    GrayScott,
    Poisson,
    Wave,
)
from pdesurrogates.operators import AutodiffDerivatives
from pdesurrogates.pinns import (
    PINN,
    AdamPhase,
    CoordinateMap,
    DataCondition,
    DirichletCondition,
    GaussNewtonPhase,
    HardConditions,
    InitialCondition,
    NeumannCondition,
    OperatorCondition,
    PeriodicCondition,
    fit,
)
from pdesurrogates.sampling import RAD, Sobol, Uniform

RING = Grid((32,), (2 * math.pi,))
ROD = Box((0.0,), (1.0,))
SPAN = (0.0, 2.0)


class Formula(nn.Module):
    """A network that knows the answer: a function of the features."""

    def __init__(self, function, in_channels):
        super().__init__()
        self.function, self.in_channels = function, in_channels
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(*x.split(1, dim=-1)) * self.factor


def losses(pinn):
    return {name: float(v) for name, v in pinn.losses(generator(0)).items()}


def test_a_frame_that_moves_with_the_solution_makes_it_stand_still():
    for velocity in (30.0, None):
        seen = CoordinateMap(RING, SPAN, velocity=velocity)
        pinn = PINN(Advection(30.0), RING, SPAN, Formula(lambda c, s, t: s, 3), coordinates=seen)
        assert (losses(pinn)["equation"] < 1e-20) == (velocity is not None)
    pinn.coordinates = CoordinateMap(RING, SPAN, velocity=30.0)
    x = torch.linspace(0, 6, 9).reshape(1, -1, 1)
    assert torch.allclose(pinn(x, 1.3), torch.sin(x - 30 * 1.3), atol=1e-12)


def decay(x, t):
    """exp(-t/10) cos(x - 0.7 t), of advection and diffusion."""
    return torch.exp(-0.1 * t) * torch.cos(x - 0.7 * t)


def on_the_rod(function):
    """A solution on the rod; its features are 2 x - 1 and t - 1."""
    return Formula(lambda a, b: function((a + 1) * 0.5, b + 1), 2)


CONDITIONS = {
    "initial": InitialCondition(torch.cos),
    "walls": DirichletCondition(0, value=decay),
    "upper": DirichletCondition(0, "upper", lambda x, t: decay(x, t)),
    "slope": NeumannCondition(
        0, "lower", lambda x, t: -torch.exp(-0.1 * t) * torch.sin(x - 0.7 * t)
    ),
    "operator": OperatorCondition(lambda u, d: d.dxx(u) + u),
    "robin": OperatorCondition(lambda u, d: d.dxx(u) + 1.0 * u, axis=0, side="upper"),
    "data": DataCondition(
        torch.tensor([[0.5, 1.0], [0.2, 0.3]], dtype=torch.float64),
        torch.tensor([[math.exp(-0.1) * math.cos(0.5 - 0.7)], [math.nan]], dtype=torch.float64),
    ),
}


def rod(function, **arguments):
    return PINN(
        AdvectionDiffusion(0.7, 0.1), ROD, SPAN, on_the_rod(function), num_points=64, **arguments
    )


def test_conditions_and_equation_vanish_on_the_exact_solution_only():
    exact = losses(rod(decay, conditions=CONDITIONS))
    assert set(exact) == {"equation", *CONDITIONS}
    assert max(exact.values()) < 1e-20
    other = losses(rod(lambda x, t: decay(x, t) + 0.1 * (x * x + x + 1), conditions=CONDITIONS))
    assert min(other.values()) > 1e-5


@pytest.mark.parametrize("slope", [True, False])
def test_periodic_condition_compares_values_and_slopes(slope):
    parts = {"periodic": PeriodicCondition(0, slope=slope)}

    def value(function):
        return losses(rod(function, conditions=parts))["periodic"]

    assert value(lambda x, t: torch.sin(2 * math.pi * x)) < 1e-20
    assert value(lambda x, t: x) > 0.1
    # The same value, another slope.
    assert (value(lambda x, t: x * (1 - x)) > 0.1) == slope


def test_second_order_in_time_has_two_initial_conditions():
    span = (0.0, 1.0)
    wave = Formula(
        lambda a, b: torch.cat(
            [
                torch.sin((a + 1) * 0.5) * torch.cos((b + 1) * 0.5),
                -torch.sin((a + 1) * 0.5) * torch.sin((b + 1) * 0.5),
            ],
            dim=-1,
        ),
        2,
    )
    start = InitialCondition(
        lambda x: torch.cat([torch.sin(x), torch.zeros_like(x)], dim=-1),
        slope=lambda x: torch.cat([torch.zeros_like(x), -torch.sin(x)], dim=-1),
    )
    pinn = PINN(Wave(1.0), ROD, span, wave, conditions={"start": start})
    assert max(losses(pinn).values()) < 1e-20


@pytest.mark.parametrize("dim", [1, 2])
def test_hard_conditions_hold_for_any_network(dim):
    box = Box((0.0,) * dim, (2.0,) * dim)

    def initial(*x):
        return sum(x) * 0.0 + math.prod([torch.sin(math.pi * own / 2) for own in x[:1]])

    hard = HardConditions(box, SPAN, initial=initial, walls={0: (0.0, 0.0)})
    pinn = PINN(Diffusion(0.1), box, SPAN, MLP(dim + 1, 1, width=8, depth=2), transform=hard)
    x = box.from_unit(torch.rand(1, 20, dim))
    assert torch.allclose(pinn(x, 0.0), initial(*x.split(1, dim=-1)))
    for end in (0.0, 2.0):
        wall = x.clone()
        wall[..., 0] = end
        assert pinn(wall, 1.7).abs().max() < 1e-12
    assert pinn(x, 1.0).abs().max() > 1e-3


def test_walls_without_initial_state_are_joined_by_a_line():
    hard = HardConditions(ROD, walls={0: (1.0, 3.0)})
    pinn = PINN(Poisson(0.0), ROD, None, MLP(1, 1, width=8, depth=2), transform=hard)
    assert torch.allclose(pinn(torch.tensor([[[0.0], [1.0]]])), torch.tensor([[[1.0], [3.0]]]))


def test_periodic_by_construction_with_all_derivatives():
    pinn = PINN(
        Burgers(0.1), RING, SPAN, MLP(5, 1), coordinates=CoordinateMap(RING, SPAN, num_harmonics=2)
    )
    left = torch.tensor([[0.0, 0.3]])
    right = torch.tensor([[2 * math.pi, 0.3]])
    (u, d), (v, e) = pinn.at(left), pinn.at(right)
    for order in (0, 1, 2):
        a = u if order == 0 else d.derivative(u, 0, order)
        b = v if order == 0 else e.derivative(v, 0, order)
        assert torch.allclose(d.values(a), e.values(b), atol=1e-10)


def test_both_ways_to_differentiate_give_the_same_losses_and_gradients():
    found = []
    for provider in (None, AutodiffDerivatives):
        torch.manual_seed(5)
        options = {} if provider is None else {"derivatives": provider}
        pinn = PINN(
            Burgers(0.1),
            ROD,
            SPAN,
            MLP(2, 1, width=8, depth=2),
            conditions={"start": InitialCondition(torch.sin), "slope": NeumannCondition(0)},
            **options,
        )
        parts = pinn.losses(generator(1))
        pinn.total(parts).backward()
        found.append((parts, [p.grad for p in pinn.parameters()]))
        assert all(p.grad is not None for p in pinn.parameters())
    (parts, slopes), (others, other_slopes) = found
    assert all(torch.allclose(parts[name], others[name]) for name in parts)
    assert all(torch.allclose(a, b) for a, b in zip(slopes, other_slopes, strict=True))


def test_autodiff_trains_with_adam_and_is_refused_by_gauss_newton():
    pinn = PINN(
        Burgers(0.1),
        RING,
        SPAN,
        MLP(3, 1, width=8, depth=2),
        derivatives=AutodiffDerivatives,
        num_points=32,
    )
    assert fit(pinn, [AdamPhase(5)]).losses["equation"]
    with pytest.raises(ValueError, match="use derivatives=JetDerivatives"):
        fit(pinn, [GaussNewtonPhase(2)])


def test_poisson_in_two_dimensions_is_solved():
    torch.manual_seed(0)
    box = Box((0.0, 0.0), (1.0, 1.0))
    hard = HardConditions(box, walls={0: (0.0, 0.0), 1: (0.0, 0.0)})
    source = lambda x, y: 2 * math.pi**2 * torch.sin(math.pi * x) * torch.sin(math.pi * y)  # noqa: E731
    pinn = PINN(
        Poisson(source), box, None, MLP(2, 1, width=12, depth=2), transform=hard, num_points=256
    )
    fit(pinn, [GaussNewtonPhase(30)])
    grid = Grid((21, 17), (1.0, 1.0), periodic=False)
    x, y = grid.coordinates()
    u = pinn.sample(grid)[0, 0, 0]
    exact = torch.sin(math.pi * x) * torch.sin(math.pi * y)
    assert (u - exact).abs().max() < 1e-3


def test_soft_conditions_train_together_with_the_equation():
    torch.manual_seed(0)
    pinn = PINN(
        AdvectionDiffusion(0.7, 0.1),
        ROD,
        SPAN,
        MLP(2, 1, width=12, depth=2),
        conditions={"initial": CONDITIONS["initial"], "walls": CONDITIONS["walls"]},
        num_points={"equation": 64, "initial": 16, "walls": 16},
        weights={"initial": 10.0, "walls": 10.0},
    )
    fit(pinn, [GaussNewtonPhase(25)])
    grid = Grid((33,), (1.0,), periodic=False)
    u = pinn.sample(grid, [0.0, 1.0, 2.0])[0, :, 0]
    x, t = grid.axes()[0], torch.tensor([[0.0], [1.0], [2.0]])
    assert (u - decay(x, t)).abs().max() < 1e-3


def test_further_residuals_and_own_samplers():
    start = InitialCondition(torch.sin)
    box = Box.of(RING).with_time(*SPAN)
    pinn = PINN(
        Burgers(0.1),
        RING,
        SPAN,
        MLP(3, 1, width=8, depth=2),
        conditions={"start": start},
        residuals={"slope": lambda u, d: d.dx(u)},
        samplers={
            "equation": RAD(box, num_candidates=50),
            "slope": Uniform(box),
            "start": Sobol(Box.of(RING)),
        },
        num_points={"equation": 16, "slope": 8, "start": 4},
    )
    points = pinn.draw(generator(0))
    assert {name: tuple(p.shape) for name, p in points.items()} == {
        "equation": (16, 2),
        "slope": (8, 2),
        "start": (4, 2),
    }
    assert bool((points["start"][:, 1] == 0).all())
    pinn.update_samplers(generator(1))
    assert set(pinn.losses(points)) == {"equation", "slope", "start"}


def test_several_channels():
    plane = Grid((8, 8), (1.0, 1.0))
    pinn = PINN(GrayScott(), plane, SPAN, MLP(5, 2, width=8, depth=2), num_points=16)
    residual = pinn.residuals(pinn.draw(generator(0)))["equation"]
    assert residual.shape == (16, 2)
    assert pinn.sample(plane, [0.0, 1.0]).shape == (1, 2, 2, 8, 8)


def test_solution_as_file(tmp_path):
    pinn = PINN(Burgers(0.1), RING, SPAN, MLP(3, 1, width=8, depth=2))
    path = pinn.write(tmp_path / "pinn.hdf5", RING, [0.0, 0.5, 2.0])
    with open_trajectories(path) as file:
        assert file.times.tolist() == [0.0, 0.5, 2.0]
        read = torch.as_tensor(file.read(0))
    x = RING.axes()[0].reshape(1, -1, 1)
    assert torch.allclose(read[1, 0], pinn(x, 0.5)[0, :, 0])
    assert torch.allclose(read[None], pinn.sample(RING, [0.0, 0.5, 2.0], chunk_size=7))


def test_points_outside_the_domain_are_refused():
    pinn = PINN(Burgers(0.1), RING, SPAN, MLP(3, 1, width=8, depth=2))
    inside = torch.rand(1, 4, 1)
    with pytest.raises(ValueError, match=r"PINN: 4 of 4 points lie outside the domain"):
        pinn(inside + 7, 0.5)
    with pytest.raises(ValueError, match="outside the domain"):
        pinn(inside, 2.5)
    with pytest.raises(ValueError, match="outside the domain"):
        pinn.sample(Grid((8,), (9.0,)), [0.0])
    with pytest.raises(ValueError, match=r"`points` must have shape \(batch, point, 1\)"):
        pinn(inside[0], 0.5)
    with pytest.raises(ValueError, match="`times` must be given exactly where"):
        pinn(inside)
    with pytest.raises(ValueError, match="`times` must be one time or have shape"):
        pinn(inside, torch.zeros(3))


def make(**arguments):
    options = {"equation": Burgers(0.1), "domain": ROD, "network": MLP(2, 1, width=4, depth=1)}
    options |= arguments
    equation, domain, network = (options.pop(k) for k in ("equation", "domain", "network"))
    return PINN(equation, domain, options.pop("times", SPAN), network, **options)


START, WALLS = InitialCondition(torch.cos), DirichletCondition(0, value=0.0)
REFUSED = [
    ({"conditions": {"start": START, "walls": WALLS}}, "'start' and the wall condition 'walls'"),
    (
        {
            "conditions": {"walls": WALLS},
            "transform": HardConditions(ROD, SPAN, initial=torch.cos),
        },
        "the hard initial state and the wall condition 'walls' disagree by 1",
    ),
    (
        {"conditions": {"start": InitialCondition(lambda x: x), "ring": PeriodicCondition(0)}},
        "not the same at both ends of the periodic axis 0 by 1",
    ),
    (
        {"domain": RING, "network": MLP(3, 1), "conditions": {"walls": WALLS}},
        "axis 0 is periodic and 'walls' gives it walls",
    ),
    ({"conditions": {"walls": DirichletCondition(1)}}, "axis 1 does not exist"),
    ({"conditions": {"walls": DirichletCondition(0, "left")}}, "`side` must be"),
    ({"conditions": {"equation": START}}, r"\['equation'\] are taken"),
    ({"weights": {"walls": 1.0}}, r"`weights` has the names \['walls'\]"),
    ({"samplers": {"bogus": Sobol(ROD)}}, r"`samplers` has the names \['bogus'\]"),
    ({"num_points": {"bogus": 3}}, r"`num_points` has the names \['bogus'\]"),
    (
        {"conditions": {"start": START}, "samplers": {"equation": Sobol(ROD.with_time(*SPAN))}},
        "`samplers` has none for 'start'",
    ),
    ({"samplers": {"equation": Sobol(ROD)}}, "the sampler of 'equation' draws on"),
    ({"num_points": {}}, "`num_points` has no number for 'equation'"),
    ({"network": MLP(3, 1)}, "the network takes 3 coordinates, but sees 2"),
    ({"network": MLP(2, 2)}, r"must give \(batch, point, channel\) = \(1, 2, 1\)"),
    (
        {"conditions": {"d": DataCondition(torch.tensor([[3.0, 0.0]]), torch.zeros(1, 1))}},
        "outside the domain",
    ),
    (
        {"times": None, "network": MLP(1, 1), "equation": Poisson(), "conditions": {"s": START}},
        "the problem has no time",
    ),
]


@pytest.mark.parametrize("arguments, message", REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_jumps_may_be_allowed():
    pinn = make(conditions={"start": START, "walls": WALLS}, allow_jumps=True)
    assert set(pinn.losses(generator(0))) == {"equation", "start", "walls"}


def test_transforms_refuse_what_cannot_be():
    with pytest.raises(ValueError, match=r"incompatible conditions: .* away from the value 0.0"):
        HardConditions(ROD, SPAN, initial=torch.cos, walls={0: (0.0, None)})
    with pytest.raises(ValueError, match="give `initial`, `walls` or both"):
        HardConditions(ROD, SPAN)
    with pytest.raises(ValueError, match="an initial state needs `times`"):
        HardConditions(ROD, initial=torch.cos)
    with pytest.raises(ValueError, match="`walls` names axis 1"):
        HardConditions(ROD, walls={1: (0.0, 0.0)})
    with pytest.raises(ValueError, match="moves along axis 0, which is not periodic"):
        CoordinateMap(ROD, SPAN, velocity=1.0)
    with pytest.raises(ValueError, match="one velocity per axis"):
        CoordinateMap(RING, SPAN, velocity=(1.0, 2.0))

"""What a recipe stores: provider, boundary, coarsening, variables, coefficients, steady states."""

import math

import pytest
import torch

from pdesurrogates.core import Grid, Outflow
from pdesurrogates.data import open_trajectories
from pdesurrogates.equations import (
    Burgers,
    CompressibleNavierStokes,
    Darcy,
    Diffusion,
    KuramotoSivashinsky,
    Poisson,
)
from pdesurrogates.operators import FiniteDifferences, FiniteVolumes, SpectralDerivatives
from pdesurrogates.reference import (
    PrimitiveVariables,
    RandomFourierSeries,
    Recipe,
    SelectedFields,
    VelocityFromVorticity,
    generate,
    load_recipe,
    simulate,
    solve,
    solve_steady,
)

TUBE = {
    "name": "tube",
    "equation": {
        "class_path": "pdesurrogates.equations.CompressibleNavierStokes",
        "init_args": {"gamma": 1.4},
    },
    "grid": {"num_points": [32], "extent": [1.0], "periodic": False, "cell_centred": True},
    "solver": {
        "class_path": "pdesurrogates.operators.FiniteVolumes",
        "init_args": {"flux": {"class_path": "pdesurrogates.operators.Rusanov"}},
    },
    "boundary": {"class_path": "pdesurrogates.core.Outflow"},
    "solver_points": [64],
    "cfl": 0.4,
    "initial_condition": {
        "class_path": "pdesurrogates.reference.RandomShockTube",
        "init_args": {"gamma": 1.4},
    },
    "output": {"class_path": "pdesurrogates.reference.PrimitiveVariables"},
    "dt": 0.01,
    "num_steps": 3,
    "num_trajectories": 3,
    "chunk": 2,
    "dtype": "float64",
}


def constant(value, num_channels=1):
    """An initial condition or coefficient: value(coordinates) for every sample."""

    def draw(grid, number, *, num_channels, seed, first):
        field = value(*grid.coordinates())
        return field.expand(number, num_channels, *grid.shape).clone()

    return draw


def test_a_shock_tube_is_solved_averaged_and_stored_in_primitive_variables(tmp_path):
    generate(TUBE, tmp_path / "tube.hdf5")
    recipe = load_recipe(TUBE)
    fine = recipe.grid.resized(64)
    u0 = recipe.initial_states(0, 2)
    provider = FiniteVolumes(fine, flux=recipe.provider().flux, boundary=Outflow())
    u = solve(recipe.equation, provider, u0, recipe.times, cfl=0.4)
    mean = u.unflatten(-1, (32, 2)).mean(-1)
    density, momentum, energy = mean.unbind(2)
    pressure = 0.4 * (energy - 0.5 * momentum**2 / density)
    expected = torch.stack([density, momentum / density, pressure], dim=2)
    with open_trajectories(tmp_path / "tube.hdf5") as file:
        assert file.fields.names == ("density", "velocity_x", "pressure")
        assert file.grid == recipe.grid
        stored = torch.stack([file.read(0), file.read(1)])
    assert torch.allclose(stored, expected, rtol=1e-12)
    assert (stored[:, 0] - stored[:, -1]).abs().max() > 0.1


def test_the_default_provider_follows_grid_and_equation():
    periodic, ends = Grid((32,), (1.0,)), Grid((32,), (1.0,), periodic=False)
    time = {"dt": 0.1, "num_steps": 1, "num_trajectories": 1}
    assert Recipe(KuramotoSivashinsky(), periodic, **time).provider() == periodic
    recipe = Recipe(Diffusion(), ends, boundary=Outflow(), **time)
    assert isinstance(recipe.provider(), FiniteDifferences)
    recipe = Recipe(CompressibleNavierStokes(), ends, boundary=Outflow(), **time)
    assert isinstance(recipe.provider(), FiniteVolumes)
    recipe = Recipe(Burgers(), periodic, solver=SpectralDerivatives, **time)
    assert isinstance(recipe.provider(), SpectralDerivatives)
    with pytest.raises(ValueError, match="no ends at which `boundary` could hold"):
        Recipe(Burgers(), periodic, boundary=Outflow(), **time)


@pytest.mark.parametrize("is_periodic", [True, False])
def test_points_are_picked_and_cells_averaged(is_periodic):
    def wave(x):
        return torch.sin(3 * x)

    time = {"dt": 1e-9, "num_steps": 1, "num_trajectories": 1, "solver_dt": 1e-9}
    start = {"initial_condition": constant(wave), "boundary": None if is_periodic else Outflow()}
    points = Grid((9,), (1.0,), periodic=is_periodic)
    fine = 18 if is_periodic else 17
    recipe = Recipe(Diffusion(), points, solver_points=(fine,), **time, **start)
    stored = simulate(recipe, 0, 1).states[0, 0, 0]
    assert torch.allclose(stored, wave(points.coordinates()[0]), atol=1e-12)
    cells = Grid((9,), (1.0,), periodic=is_periodic, cell_centred=True)
    recipe = Recipe(Diffusion(), cells, solver_points=(27,), **time, **start)
    stored = simulate(recipe, 0, 1).states[0, 0, 0]
    averages = wave(cells.resized(27).coordinates()[0]).reshape(9, 3).mean(1)
    assert torch.allclose(stored, averages, atol=1e-12)
    with pytest.raises(
        ValueError, match=r"multiple of the \d (points|gaps between points) .*e.g."
    ):
        Recipe(Diffusion(), points, solver_points=(fine + 1,), **time, **start)


def test_selected_fields_and_coefficients_are_stored(tmp_path):
    def slow(x):
        return 0.01 * (1.5 + torch.cos(2 * math.pi * x))

    recipe = Recipe(
        Diffusion(),
        Grid((16,), (1.0,)),
        dt=0.1,
        num_steps=2,
        num_trajectories=3,
        coefficients={"diffusivity": constant(slow)},
        solver_points=(32,),
        output=SelectedFields(["u"]),
        dtype="float64",
    )
    generate(recipe, tmp_path / "a.hdf5")
    with open_trajectories(tmp_path / "a.hdf5") as file:
        assert file.fields.names == ("u", "diffusivity")
        assert "diffusivity" not in file.parameters
        states = file.read(1)
    expected = slow(recipe.grid.coordinates()[0])
    assert torch.allclose(states[:, 1], expected.expand(3, 16), rtol=1e-14)
    u0 = RandomFourierSeries()(recipe.grid.resized(32), 1, num_channels=1, seed=0, first=1)
    equation = Diffusion(slow(recipe.grid.resized(32).coordinates()[0])[None, None])
    truth = solve(equation, recipe.grid.resized(32), u0, recipe.times)[0, :, 0, ::2]
    assert torch.allclose(states[:, 0], truth, atol=1e-9)


def test_initial_state_and_coefficient_of_the_same_kind_differ():
    recipe = Recipe(
        Diffusion(),
        Grid((16,), (1.0,)),
        dt=0.1,
        num_steps=1,
        num_trajectories=2,
        coefficients={"diffusivity": RandomFourierSeries()},
    )
    field = recipe.drawn_coefficients(0, 2)["diffusivity"]
    assert (field - recipe.initial_states(0, 2)).abs().amax(dim=-1).min() > 0.1
    assert recipe.drawn_coefficients(1, 2)["diffusivity"][0].equal(field[1])


def test_velocity_from_vorticity_has_that_curl_and_no_divergence():
    grid = Grid((32, 24), (2.0, 3.0))
    w = RandomFourierSeries(4)(grid, 2, num_channels=1, seed=0, first=0)
    equation, output = Diffusion(), VelocityFromVorticity(keep_vorticity=True)
    assert output.fields(equation, grid).names == ("u", "velocity_x", "velocity_y")
    d = SpectralDerivatives(grid)
    _, x, y = d.components(d.field(output(w, equation, grid)))
    assert torch.allclose((d.dx(y) - d.dy(x)).values, w, atol=1e-12)
    assert d.divergence(x, y).values.abs().max() < 1e-12
    with pytest.raises(ValueError, match="on a periodic grid with two axes"):
        output.fields(equation, Grid((8,), (1.0,)))
    with pytest.raises(ValueError, match="PrimitiveVariables: Diffusion is no conservation law"):
        PrimitiveVariables().fields(equation, grid)


def test_variables_of_cells_are_made_from_averages():
    recipe = Recipe(
        Diffusion(1e-3),
        Grid((16, 16), (1.0, 1.0), cell_centred=True),
        dt=0.1,
        num_steps=1,
        num_trajectories=1,
        solver_points=(32, 32),
        output=VelocityFromVorticity(keep_vorticity=True),
    )
    stored = simulate(recipe, 0, 1).states[:, 0]
    average = recipe.initial_states(0, 1).unflatten(3, (16, 2)).mean(4)
    average = average.unflatten(2, (16, 2)).mean(3)
    expected = recipe.output(average, recipe.equation, recipe.grid)
    assert torch.allclose(stored, expected, atol=1e-13)


def test_a_steady_problem_has_one_frame_with_its_coefficient(tmp_path):
    def block(x, y):
        return torch.where((x > 0.3) & (y < 0.6), 10.0, 1.0)

    grid = Grid((12, 16), (1.0, 1.0), periodic=False, cell_centred=True)
    recipe = Recipe(
        Darcy(forcing=2.0),
        grid,
        num_trajectories=3,
        coefficients={"coefficient": constant(block)},
        dtype="float64",
        chunk=2,
    )
    generate(recipe, tmp_path / "darcy.hdf5")
    with open_trajectories(tmp_path / "darcy.hdf5") as file:
        assert file.num_trajectories == 3 and file.num_times == 1
        assert file.fields.names == ("u", "coefficient")
        u, coefficient = file.read(2)[0]
    values = block(*grid.coordinates())
    assert torch.equal(coefficient, values)
    assert torch.allclose(u, solve_steady(Darcy(values[None, None], 2.0), grid)[0, 0], rtol=1e-9)
    with pytest.raises(ValueError, match="is a steady problem, .* remove dt, cfl"):
        Recipe(Darcy(), grid, num_trajectories=1, dt=0.1, cfl=0.4)
    assert simulate(Recipe(Poisson(), grid, num_trajectories=4), 1, 3).states.shape[0] == 2


def test_drift_of_conserved_quantities_is_followed_on_periodic_boxes():
    time = {"dt": 0.5, "num_steps": 3, "num_trajectories": 2, "solver_dt": 0.05}
    recipe = Recipe(KuramotoSivashinsky(), Grid((32,), (16.0,)), **time)
    drift = simulate(recipe, 0, 2).drift
    assert set(drift) == {"mass"} and 0 <= drift["mass"] < 1e-12
    grid = Grid((32,), (1.0,), periodic=False)
    start = {"initial_condition": constant(torch.cos)}
    recipe = Recipe(Diffusion(0.01), grid, boundary=Outflow(), **start, **time)
    assert simulate(recipe, 0, 1).drift == {}

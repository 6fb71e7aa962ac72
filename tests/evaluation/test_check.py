"""A file against the equation it claims to hold: the verdict, the coefficients, the remedy."""

import math
from pathlib import Path

import pytest
import torch

from pdesurrogates.core import FieldSpec, Grid, Neumann
from pdesurrogates.data import (
    from_arrays,
    open_trajectories,
    read_arrays,
    write_trajectories,
)
from pdesurrogates.equations import (
    Advection,
    AllenCahn,
    Burgers,
    CompressibleNavierStokes,
    Darcy,
    Diffusion,
    FitzHughNagumo,
    KortewegDeVries,
)
from pdesurrogates.evaluation import check_trajectories
from pdesurrogates.operators import FiniteDifferences, SpectralDerivatives
from pdesurrogates.reference import random_initial_condition, solve

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
GRID = Grid((64,), (1.0,))


@pytest.fixture(scope="module")
def burgers():
    u0 = random_initial_condition(GRID, 3, max_wavenumber=3, seed=4)
    times = [n * 0.002 for n in range(41)]
    return solve(Burgers(0.05), GRID, u0, times, dt=0.002), 0.002


def opened(states, *, dt, extent=1.0, dtype=torch.float32):
    return from_arrays(
        states[:, :, 0].to(dtype), axes="trajectory time x", dt=dt, extent=extent, periodic=True
    )


def value(check, name):
    return float(check.fitted.sel(coefficient=name).mean())


def test_a_true_file_obeys_and_gives_its_coefficients_back(burgers):
    states, dt = burgers
    check = check_trajectories(opened(states, dt=dt), Burgers(0.05))
    assert check.attrs["verdict"] == "obeys", check.attrs["explanation"]
    assert check.residual.shape == (3, 16, 1)
    assert float(check.residual.max()) < 1e-2
    assert math.isclose(value(check, "viscosity"), 0.05, rel_tol=2e-3)
    assert math.isclose(value(check, "factor of the nonlinear part"), 1.0, rel_tol=2e-3)
    mass = check.conserved.sel(quantity="mass").values
    assert abs(mass - mass[:, :1]).max() < 1e-6


def test_another_viscosity_is_named(burgers):
    states, dt = burgers
    check = check_trajectories(opened(states, dt=dt), Burgers(0.01))
    assert check.attrs["verdict"] == "does not obey"
    assert math.isclose(value(check, "viscosity"), 0.05, rel_tol=2e-3)
    assert "viscosity = 0.05" in check.attrs["explanation"]
    assert "(stated 0.01)" in check.attrs["explanation"]
    assert "factor on the times" not in check.attrs["explanation"]


def test_wrong_times_are_named_with_the_factor_that_repairs_them(burgers):
    states, dt = burgers
    check = check_trajectories(opened(states, dt=2 * dt), Burgers(0.05))
    assert check.attrs["verdict"] == "does not obey"
    assert "multiply the times of the file by 0.5" in check.attrs["explanation"]


def test_a_wrong_domain_is_named_with_the_factor_that_repairs_it(burgers):
    states, dt = burgers
    check = check_trajectories(opened(states, dt=dt, extent=2.0), Burgers(0.05))
    assert check.attrs["verdict"] == "does not obey"
    assert "multiply the coordinates by 0.5" in check.attrs["explanation"]


def test_another_equation_is_not_repaired_by_any_coefficient(burgers):
    states, dt = burgers
    check = check_trajectories(opened(states, dt=dt), Diffusion(0.05))
    assert check.attrs["verdict"] == "does not obey"
    assert "No coefficients repair it" in check.attrs["explanation"]


def test_frames_too_far_apart_tell_nothing():
    times = torch.arange(21) * 0.22
    x = GRID.coordinates()[0]
    states = torch.sin(2 * math.pi * (x[None, None] - times[None, :, None]))[:, :, None]
    check = check_trajectories(opened(states, dt=0.22), Advection(1.0))
    assert check.attrs["verdict"] == "cannot tell"
    assert "closer frames" in check.attrs["explanation"]


def test_parameters_of_the_file_stand_in_for_those_of_the_equation(tmp_path):
    velocities = torch.tensor([0.5, 1.0])
    times = torch.arange(21) * 0.01
    x = GRID.coordinates()[0]
    phase = x[None, None] - velocities[:, None, None] * times[None, :, None]
    states = torch.sin(2 * math.pi * phase)[:, :, None]
    path = write_trajectories(
        tmp_path / "waves.h5",
        states,
        fields=FieldSpec(("u",)),
        grid=GRID,
        times=times,
        parameters={"velocity": velocities},
    )
    with open_trajectories(path) as file:
        assert check_trajectories(file, Advection(9.0)).attrs["verdict"] == "obeys"
        own = check_trajectories(file, Advection(0.5), parameters_from_file=False)
        assert own.attrs["verdict"] == "does not obey"
        assert torch.allclose(torch.tensor(own.fitted.values[:, 0]), velocities, rtol=1e-3)


def test_given_parameters_stand_where_only_others_may_come_from_the_file(burgers):
    states, dt = burgers
    file = from_arrays(
        states[:, :, 0], axes="trajectory time x", dt=dt, extent=1.0, parameters={"viscosity": 1.0}
    )
    check = check_trajectories(file, Burgers(0.05), parameters_from_file={"dim"})
    assert check.attrs["verdict"] == "obeys", check.attrs["explanation"]
    check = check_trajectories(file, Burgers(0.05), parameters_from_file={"viscosity"})
    assert "(stated 1)" in check.attrs["explanation"]


@pytest.fixture(scope="module")
def sound():
    equation = CompressibleNavierStokes(gamma=1.4, shear_viscosity=0.01)
    x = GRID.coordinates()[0]
    wave = 0.1 * torch.sin(2 * math.pi * x)
    w = torch.stack([1 + wave, 0.2 + wave, 1 + 0.5 * wave])[None]
    times = [n * 0.002 for n in range(21)]
    where = SpectralDerivatives(GRID, dealias=2 / 3)
    states = solve(equation, where, equation.from_primitive(w), times, dt=0.001)
    return from_arrays(
        equation.to_primitive(states),
        axes="trajectory time channel x",
        dt=0.002,
        extent=1.0,
        fields=("density", "velocity_x", "pressure"),
    )


def test_a_gas_in_primitive_variables_obeys_and_gives_gamma_back(sound):
    right = CompressibleNavierStokes(gamma=1.4, shear_viscosity=0.01)
    check = check_trajectories(sound, right)
    assert check.attrs["verdict"] == "obeys", check.attrs["explanation"]
    assert float(check.residual.max()) < 1e-5
    wrong = CompressibleNavierStokes(gamma=1.6, shear_viscosity=0.01)
    check = check_trajectories(sound, wrong)
    assert check.attrs["verdict"] == "does not obey"
    # The energy depends on gamma, too: a fit that keeps it as it was would end elsewhere.
    assert math.isclose(value(check, "gamma"), 1.4, rel_tol=1e-4)


def test_a_file_with_walls_is_checked_with_its_own_conditions(tmp_path):
    grid = Grid((24, 20), (2.0, 2.0), periodic=False, cell_centred=True)
    x, y = grid.coordinates()
    u0 = torch.stack([torch.cos(math.pi * x / 2) * torch.cos(math.pi * y), 0.3 * x * x])[None]
    equation = FitzHughNagumo(diffusivity_u=0.05, diffusivity_v=0.1)
    times = [n * 0.01 for n in range(21)]
    states = solve(equation, FiniteDifferences(grid, 4, Neumann(0.0)), u0, times, dt=0.005)
    path = write_trajectories(
        tmp_path / "reaction.h5",
        states,
        fields=equation.fields,
        grid=grid,
        times=times,
        boundaries=Neumann(0.0),
    )
    with open_trajectories(path) as file:
        check = check_trajectories(file, equation)
        assert check.attrs["verdict"] == "obeys", check.attrs["explanation"]
        assert math.isclose(value(check, "diffusivity_u"), 0.05, rel_tol=1e-3)
        check = check_trajectories(file, FitzHughNagumo(diffusivity_u=0.5, diffusivity_v=0.1))
        assert check.attrs["verdict"] == "does not obey"
        assert math.isclose(value(check, "diffusivity_u"), 0.05, rel_tol=1e-3)
        # Words of The Well say nothing in numbers; points near ends are left out anyway.
        file.boundary = (("wall", "wall"),) * 2
        assert check_trajectories(file, equation).attrs["verdict"] == "obeys"


def test_what_cannot_be_checked_says_why(burgers):
    states, dt = burgers
    with pytest.raises(ValueError, match="Darcy is a steady equation"):
        check_trajectories(opened(states, dt=dt), Darcy())
    with pytest.raises(ValueError, match="needs at least 3"):
        check_trajectories(opened(states[:, :2], dt=dt), Burgers(0.05))
    with pytest.raises(ValueError, match="needs the fields"):
        check_trajectories(opened(states, dt=dt), Burgers(0.05, dim=2))
    broken = states.clone()
    broken[0, 5:] = math.nan
    with pytest.raises(ValueError, match="values must be finite"):
        check_trajectories(opened(broken, dt=dt), Burgers(0.05))


@pytest.mark.reference_data
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of reference files is absent")
@pytest.mark.parametrize(
    "name, equation, rtol",
    [
        ("allen_cahn_1e-4.mat", AllenCahn(1e-4, 5.0), 1e-6),
        ("burgers_gaussian_nu0.1.mat", Burgers(0.1), 1e-3),
        ("kdv_sine_L40.mat", KortewegDeVries(1.0, 1.0), 1e-5),
    ],
)
def test_public_files_give_the_coefficients_measured_by_others(name, equation, rtol):
    check = check_trajectories(read_arrays(FOLDER / name), equation)
    assert check.attrs["verdict"] == "obeys"
    assert torch.allclose(
        torch.from_numpy(check.fitted.values), torch.from_numpy(check.stated.values), rtol=rtol
    )

"""The tables of docs/equations.md say what the code does: fields, defaults, who serves whom."""

import dataclasses
import inspect
import math
import re
from pathlib import Path

import pytest
import torch

import pdesurrogates.equations
from pdesurrogates.core import Grid
from pdesurrogates.equations import (
    Burgers,
    CompressibleNavierStokes,
    Equation,
    IncompressibleNavierStokes,
    NavierStokesVorticity,
    ShallowWater,
)
from pdesurrogates.operators import (
    WENO5,
    AutodiffDerivatives,
    FiniteDifferences,
    FiniteVolumes,
    JetDerivatives,
    SpectralDerivatives,
    StaggeredGrid,
)

PAGE = Path(__file__).parents[2] / "docs" / "equations.md"
PROVIDERS = {
    "Spectral": SpectralDerivatives,
    "Finite differences": lambda grid: FiniteDifferences(grid, 6),
    "Finite volumes": lambda grid: FiniteVolumes(grid, WENO5()),
    "Staggered": StaggeredGrid,
}
# Where an argument adds fields: the fewest, and all of them.
FEWEST = {"ShallowWater": {"dim": 1}}
MOST = {
    "Burgers": Burgers(dim=3),
    "CompressibleNavierStokes": CompressibleNavierStokes(dim=3),
    "IncompressibleNavierStokes": IncompressibleNavierStokes(0.0, dim=3, smoke=True),
    "NavierStokesVorticity": NavierStokesVorticity(0.0),
    "ShallowWater": ShallowWater(dim=2),
}


def equations():
    """Every equation that can be made, by name."""
    found = {n: getattr(pdesurrogates.equations, n) for n in pdesurrogates.equations.__all__}
    return {
        name: item
        for name, item in found.items()
        if inspect.isclass(item)
        and issubclass(item, Equation)
        and not inspect.isabstract(item)
        and name != "SteadyEquation"
    }


def documented(second_column):
    """The rows of the table whose second column has this name: {equation: {column: cell}}."""
    for table in re.findall(r"((?:^\|.*\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        lines = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
        header, _, *rows = lines
        if header[:2] == ["Equation", second_column]:
            return {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in rows}
    raise AssertionError(f"{PAGE.name} has no table with the column {second_column!r}")


WRITTEN = documented("Written as")
SERVED = documented("Spectral")
EQUATIONS = equations()


def without_brackets(cell):
    return names(re.sub(r"\[.*?\]", "", cell))


def with_brackets(cell):
    return names(cell.replace("[", "").replace("]", ""))


def names(cell):
    return tuple(name.strip() for name in cell.split(",") if name.strip())


def fewest(name):
    return EQUATIONS[name](**FEWEST.get(name, {}))


def test_every_equation_is_documented():
    assert set(WRITTEN) == set(SERVED) == set(EQUATIONS)


@pytest.mark.parametrize("name", WRITTEN)
def test_fields(name):
    cell = WRITTEN[name]["Fields"]
    assert fewest(name).fields.names == without_brackets(cell)
    assert MOST.get(name, fewest(name)).fields.names == with_brackets(cell)


@pytest.mark.parametrize("name", WRITTEN)
def test_parameters_and_defaults(name):
    said = [entry.split(" = ") for entry in names(WRITTEN[name]["Parameters"])]
    real = [f for f in dataclasses.fields(EQUATIONS[name]) if f.init]
    assert [key for key, _ in said] == [f.name for f in real]
    for (_, value), item in zip(said, real, strict=True):
        # "5/3" is written as a fraction.
        numbers = value.split("/")
        expected = None if value == "None" else float(numbers[0]) / float((*numbers, 1)[1])
        assert item.default == expected, (item.name, item.default, value)


@pytest.mark.parametrize("name", SERVED)
def test_kept_quantities(name):
    cell = SERVED[name]["Kept"]
    # Burgers keeps nothing but in 1D.
    most = fewest(name) if name == "Burgers" else MOST.get(name, fewest(name))
    for equation, said in ((fewest(name), without_brackets(cell)), (most, with_brackets(cell))):
        grid = Grid((8,) * dimension(equation), (1.0,))
        u = torch.rand(1, equation.fields.num_channels, *grid.shape)
        assert set(equation.conserved_quantities(u, grid)) == set(said)


def dimension(equation):
    if isinstance(equation, NavierStokesVorticity):
        return 2
    return getattr(equation, "dim", 1)


def smooth_state(equation, x):
    """Channels from coordinates, one tensor per axis: slow, positive, and without divergence
    where the channels are a velocity."""
    if isinstance(equation, IncompressibleNavierStokes):
        return [
            -torch.sin(x[0]) * torch.sin(x[1]) - 0.3 * torch.sin(2 * x[0] + x[1]),
            -torch.cos(x[0]) * torch.cos(x[1]) + 0.6 * torch.sin(2 * x[0] + x[1]),
        ]
    waves = [
        2 + 0.2 * torch.sin(sum((a + 1) * y for a, y in enumerate(x)) + c)
        for c in range(equation.fields.num_channels)
    ]
    if isinstance(equation, NavierStokesVorticity):
        return [waves[0] - 2 + torch.sin(x[0]) * torch.cos(x[1])]
    if isinstance(equation, CompressibleNavierStokes):
        waves[-1] = waves[-1] + 5
    return waves


def rate_at_points(equation, grid, provider=AutodiffDerivatives):
    d = provider(grid.coordinates().flatten(1).T[None].contiguous())
    u = torch.cat(smooth_state(equation, d.points.split(1, dim=-1)), dim=-1)
    return d.values(equation.on(d)(0.0, u)).mT.unflatten(2, grid.shape)


def rate_on_grid(equation, provider, grid):
    f = equation.on(provider)
    u = torch.stack(smooth_state(equation, list(grid.coordinates())))[None]
    return f.decode(f(0.0, f.encode(u)))


@pytest.mark.parametrize("name", SERVED)
def test_providers(name):
    """Served means the right rate; everybody else is refused with an error."""
    equation = fewest(name)
    grid = Grid((96,) * dimension(equation), (2 * math.pi,), cell_centred=True)
    is_served = {column: SERVED[name][column] == "yes" for column in (*PROVIDERS, "Points")}
    if is_served["Points"]:
        truth = rate_at_points(equation, grid)
        by_jets = rate_at_points(equation, grid, JetDerivatives)
        assert torch.allclose(by_jets, truth, rtol=1e-9, atol=1e-9)
    else:
        truth = rate_on_grid(equation, SpectralDerivatives(grid), grid)
        with pytest.raises(ValueError, match=name):
            rate_at_points(equation, grid)
    for column, provider in PROVIDERS.items():
        if is_served[column]:
            error = (rate_on_grid(equation, provider(grid), grid) - truth).abs().max()
            assert error < 0.02 * truth.abs().max(), column
        else:
            with pytest.raises(ValueError):
                rate_on_grid(equation, provider(grid), grid)

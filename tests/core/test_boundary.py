"""One condition per end of every axis, from whatever short form the user gives."""

import math

import pytest
import torch

from pdesurrogates.core import (
    Dirichlet,
    FieldSpec,
    Grid,
    Neumann,
    Outflow,
    Periodic,
    Robin,
    boundary_sides,
    field_boundaries,
)


def test_short_forms_mean_every_end():
    grid = Grid((8, 6), (1.0, 1.0), periodic=(True, False))
    ends = (Periodic(), Periodic())
    assert boundary_sides(Neumann(), grid, where="x") == (ends, (Neumann(0.0), Neumann(0.0)))
    assert boundary_sides([Periodic(), (Dirichlet(1.0), Outflow())], grid, where="x") == (
        ends,
        (Dirichlet(1.0), Outflow()),
    )
    assert boundary_sides(Dirichlet((1.0, 2.0)), grid, where="x")[1] == (
        Dirichlet(1.0),
        Dirichlet(2.0),
    )
    assert boundary_sides(None, Grid((8,)), where="x") == (ends,)


def test_what_does_not_fit_the_grid_is_refused():
    grid = Grid((8,), periodic=False)
    with pytest.raises(ValueError, match="axis 0 of the grid has ends"):
        boundary_sides(None, grid, where="FiniteDifferences")
    with pytest.raises(ValueError, match="one per axis"):
        boundary_sides([Neumann(), Neumann()], grid, where="FiniteDifferences")
    with pytest.raises(ValueError, match="is periodic and can have no other"):
        boundary_sides([Neumann()], Grid((8,)), where="FiniteDifferences")


def test_cell_centred_points_fill_the_box():
    grid = Grid((4,), (2.0,), (1.0,), periodic=False, cell_centred=True)
    assert grid.spacing == (0.5,)
    assert grid.coordinates()[0].tolist() == [1.25, 1.75, 2.25, 2.75]
    assert grid.resized(8).spacing == (0.25,)
    assert torch.equal(
        Grid((4,), (2.0,), cell_centred=True).coordinates(),
        Grid((4,), (2.0,)).coordinates() + 0.25,
    )


def test_conditions_by_name_reach_every_channel():
    grid = Grid((8,), periodic=False)
    fields = FieldSpec(("density", "velocity_x", "velocity_y"))
    named = {"velocity": Dirichlet(1.0), "density": [(Neumann(), Outflow())]}
    density, *velocity = field_boundaries(named, fields, grid, where="x")
    assert density == ((Neumann(0.0), Outflow()),)
    assert velocity == [((Dirichlet(1.0), Dirichlet(1.0)),)] * 2
    assert (
        field_boundaries(Neumann(), fields, grid, where="x")
        == (((Neumann(0.0), Neumann(0.0)),),) * 3
    )
    with pytest.raises(ValueError, match=r"x: .* but not for \['density'\]"):
        field_boundaries({"velocity": Dirichlet()}, fields, grid, where="x")
    with pytest.raises(ValueError, match="no field 'pressure'"):
        field_boundaries({"pressure": Dirichlet()}, fields, grid, where="x")
    with pytest.raises(ValueError, match="x, field 'density': axis 0 of the grid has ends"):
        field_boundaries({"density": None}, fields, grid, where="x")


def test_robin_needs_a_derivative():
    assert Robin(1.0, 0.5) == Robin(1.0, 0.5, 0.0)
    with pytest.raises(ValueError, match=r"not zero, got .* it is Dirichlet"):
        Robin(1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="must be finite"):
        Robin(1.0, math.inf)

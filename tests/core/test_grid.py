"""Grids, fields, states, times and seeds: identities and error texts."""

import math

import pytest
import torch

from pdesurrogates.core import (
    FieldSpec,
    Grid,
    check_finite,
    check_state,
    check_times,
    generator,
    per_sample,
)


def test_periodic_axis_excludes_the_right_end():
    grid = Grid((4,), (2.0,), (-1.0,))
    assert grid.spacing == (0.5,)
    assert grid.coordinates().tolist() == [[-1.0, -0.5, 0.0, 0.5]]


def test_axis_with_boundaries_includes_both_ends():
    grid = Grid((5,), (2.0,), periodic=False)
    assert grid.coordinates()[0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_axes_come_in_the_order_x_y():
    grid = Grid((4, 6), (1.0, 3.0), periodic=(True, False))
    x, y = grid.coordinates()
    assert grid.shape == x.shape == (4, 6)
    assert bool((x[:, 0] == x[:, 3]).all()) and x[1, 0] == 0.25
    assert y[0, -1] == 3.0


def test_single_numbers_stand_for_all_axes():
    assert Grid((4, 4), (2.0,)).extent == (2.0, 2.0)
    assert Grid((4, 4), (2.0,)).resized(8).shape == (8, 8)


def test_equal_grids_are_equal_and_hashable():
    assert Grid((8,), (1,)) == Grid([8], [1.0])
    assert len({Grid((8,)), Grid((8,))}) == 1


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"num_points": (1,)}, "at least 2"),
        ({"num_points": (4,), "extent": (0.0,)}, "`extent` must be positive"),
        ({"num_points": (4,), "extent": (math.nan,)}, "`extent` must be positive"),
        ({"num_points": (4, 4), "extent": (1.0, 1.0, 1.0)}, "one entry per axis"),
        ({"num_points": (4, 4, 4, 4)}, "1, 2 or 3 axes"),
    ],
)
def test_impossible_grids_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Grid(**arguments)


def test_vector_components_are_found_by_prefix():
    fields = FieldSpec(("density", "velocity_x", "velocity_y"), ("kg/m^3", "m/s", "m/s"))
    assert fields.channels("velocity") == slice(1, 3)
    assert fields.num_channels == 3
    with pytest.raises(ValueError, match="no field 'pressure'"):
        fields.channels("pressure")


def test_repeated_names_are_refused():
    with pytest.raises(ValueError, match="distinct"):
        FieldSpec(("u", "u"))


def test_state_check_says_what_to_type():
    with pytest.raises(ValueError, match=r"add a batch axis with u\[None\]"):
        check_state(torch.zeros(1, 8), 1, (8,), where="here")
    with pytest.raises(ValueError, match=r"here: `u` must have shape .* \(batch, 1, 8\)"):
        check_state(torch.zeros(2, 3, 8), 1, (8,), where="here")
    with pytest.raises(TypeError, match="torch.as_tensor"):
        check_state([1.0], 1, (8,), where="here")
    check_state(torch.zeros(2, 1, 9), 1, None, where="here")


def test_first_bad_entry_is_named():
    u = torch.zeros(2, 1, 4)
    u[1, 0, 2] = math.nan
    with pytest.raises(
        ValueError, match=r"1 NaN or Inf of 8 entries, the first at index \(1, 0, 2\)"
    ):
        check_finite(u, where="here")


@pytest.mark.parametrize("times", [[0.0, 0.0], [1.0, 0.5], [0.0, math.nan], torch.zeros(2, 2)])
def test_bad_times_are_refused(times):
    with pytest.raises(ValueError, match="`times` must"):
        check_times(times, where="here")


def test_per_sample_broadcasts_and_follows_dtype():
    u = torch.zeros(3, 1, 8, dtype=torch.float32)
    dt = per_sample(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), u)
    assert dt.shape == (3, 1, 1) and dt.dtype == torch.float32
    assert per_sample(0.5, u) == 0.5


def test_streams_depend_on_names_only():
    first = torch.rand(3, generator=generator(1, 2))
    torch.rand(100)
    assert torch.equal(first, torch.rand(3, generator=generator(1, 2)))
    assert not torch.equal(first, torch.rand(3, generator=generator(1, 3)))
    assert not torch.equal(first, torch.rand(3, generator=generator(2, 2)))
    with pytest.raises(ValueError, match="negative"):
        generator(-1)

"""Boxes: the map to the unit box, what lies inside, and what is refused."""

import pytest
import torch

from pdesurrogates.core import Box, Grid


def test_a_grid_and_time_make_a_box():
    box = Box.of(Grid((4, 6), (2.0, 3.0), (-1.0, 0.5))).with_time(0.0, 4.0)
    assert (box.lower, box.upper) == ((-1.0, 0.5, 0.0), (1.0, 3.5, 4.0))
    assert (box.dim, box.extent, box.volume) == (3, (2.0, 3.0, 4.0), 24.0)


def test_unit_coordinates_and_back():
    box = Box((-1.0, 2.0), (3.0, 5.0))
    corners = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]])
    points = box.from_unit(corners)
    assert points.tolist() == [[-1.0, 2.0], [3.0, 5.0], [1.0, 3.5]]
    assert torch.allclose(box.to_unit(points), corners)


def test_points_outside_are_named():
    box = Box((0.0,), (1.0,))
    points = torch.tensor([[0.5], [1.5], [2.0]])
    assert box.contains(points).tolist() == [True, False, False]
    with pytest.raises(ValueError, match=r"field: 2 of 3 points lie outside .*\[1\.5\]"):
        box.check(points, where="field")
    with pytest.raises(ValueError, match="field: points must have 1 coordinates"):
        box.check(torch.zeros(3, 2), where="field")


@pytest.mark.parametrize(
    ("lower", "upper", "match"),
    [
        ((0.0,), (1.0, 2.0), "one number per axis, got 1 and 2"),
        ((1.0,), (0.0,), "`lower` must be below"),
        ((0.0,), (float("inf"),), "must be finite"),
    ],
)
def test_bad_ends_are_refused(lower, upper, match):
    with pytest.raises(ValueError, match=match):
        Box(lower, upper)

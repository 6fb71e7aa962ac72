"""Points in a body that a mesh of triangles or tetrahedra fills."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import torch
from torch import Tensor

from pdesurrogates.core import Box
from pdesurrogates.sampling.base import Sampler, Samples, check_num_points

__all__ = ["MeshPoints", "SimplexMesh"]

_PAIRS_AT_ONCE = 2**22

# Cells of a split triangle or tetrahedron: (i, i) is corner i, (i, j) the middle of its edge.
_PARTS = {
    2: (
        ((0, 0), (0, 1), (0, 2)),
        ((1, 1), (0, 1), (1, 2)),
        ((2, 2), (0, 2), (1, 2)),
        ((0, 1), (0, 2), (1, 2)),
    ),
    3: (
        ((0, 0), (0, 1), (0, 2), (0, 3)),
        ((1, 1), (0, 1), (1, 2), (1, 3)),
        ((2, 2), (0, 2), (1, 2), (2, 3)),
        ((3, 3), (0, 3), (1, 3), (2, 3)),
        ((0, 1), (2, 3), (0, 2), (0, 3)),
        ((0, 1), (2, 3), (0, 3), (1, 3)),
        ((0, 1), (2, 3), (1, 3), (1, 2)),
        ((0, 1), (2, 3), (1, 2), (0, 2)),
    ),
}


class SimplexMesh:
    """Points that simplices connect: intervals, triangles, tetrahedra.

    Cells are stored with positive orientation; corners of the others are swapped.

    Args:
        points: Coordinates (point, dim).
        cells: Corners of each cell as numbers of points (cell, dim + 1).

    Attributes:
        edges: Edge vectors of each cell from its first corner, as columns (cell, dim, dim).
        volumes: Volume of each cell (cell,).

    Raises:
        ValueError: If shapes do not fit, a corner does not exist or a cell has no volume.

    Example:
        >>> mesh = SimplexMesh.of_box(Box((0.0, 0.0), (2.0, 1.0)), (4, 2))
        >>> mesh.cells.shape, mesh.volume
        (torch.Size([16, 3]), 2.0)
    """

    def __init__(self, points: Tensor, cells: Tensor) -> None:
        if points.ndim != 2 or cells.ndim != 2 or cells.shape[1] != points.shape[1] + 1:
            raise ValueError(
                "SimplexMesh: `points` must have shape (point, dim) and `cells` (cell, dim + 1), "
                f"got {tuple(points.shape)} and {tuple(cells.shape)}; split quadrilaterals and "
                "hexahedra into simplices."
            )
        cells = cells.to(device=points.device, dtype=torch.long)
        if not len(cells) or int(cells.min()) < 0 or int(cells.max()) >= len(points):
            raise ValueError(
                f"SimplexMesh: `cells` must name points 0 .. {len(points) - 1}, got "
                f"{[int(cells.min()), int(cells.max())] if len(cells) else 'no cells'}; files "
                "of some programs count from 1."
            )
        determinants = torch.linalg.det(_edges(points, cells))
        smallest = float(determinants.abs().min())
        if not smallest > 1e-12 * float(determinants.abs().max()):
            raise ValueError(
                f"SimplexMesh: cell {int(determinants.abs().argmin())} has no volume (its edges "
                f"have the determinant {smallest:.3g}); remove flat cells."
            )
        swapped = torch.cat((cells[:, 1:2], cells[:, :1], cells[:, 2:]), dim=1)
        self.points = points
        self.cells = torch.where((determinants < 0)[:, None], swapped, cells)
        self.edges = _edges(points, self.cells)
        self.volumes = determinants.abs() / math.factorial(self.dim)

    @classmethod
    def of_box(
        cls, box: Box, num_cells: tuple[int, ...], *, dtype: torch.dtype = torch.float64
    ) -> SimplexMesh:
        """A box of num_cells bricks, each split into dim! simplices around its diagonal.

        Reference:
            Some combinatorial lemmas in topology (Kuhn, 1960).
        """
        if len(num_cells) != box.dim or min(num_cells) < 1:
            raise ValueError(
                f"SimplexMesh.of_box: `num_cells` must be {box.dim} positive integers, got "
                f"{num_cells}."
            )
        counts = [count + 1 for count in num_cells]
        axes = [torch.linspace(0, 1, count, dtype=dtype) for count in counts]
        unit = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, box.dim)
        strides = [math.prod(counts[axis + 1 :]) for axis in range(box.dim)]
        numbers = torch.arange(math.prod(counts)).reshape(counts)
        corners = numbers[tuple(slice(0, count) for count in num_cells)].reshape(-1)
        cells = []
        for path in permutations(range(box.dim)):
            walk = [0]
            for axis in path:
                walk.append(walk[-1] + strides[axis])
            cells.append(corners[:, None] + torch.tensor(walk))
        return cls(box.from_unit(unit), torch.cat(cells))

    def refined(self) -> SimplexMesh:
        """The same body, every cell split in 2^dim at the middles of its edges.

        Tetrahedra keep four corners; the octahedron between them is split around the diagonal
        of its first two opposite edges.

        Raises:
            ValueError: If the cells are neither triangles nor tetrahedra.
        """
        if self.dim not in _PARTS:
            raise ValueError(f"SimplexMesh.refined: 2 or 3 axes are needed, got {self.dim}.")
        count, corners = len(self.points), range(self.dim + 1)
        pairs = list(combinations(corners, 2))
        ends = torch.stack([self.cells[:, pair] for pair in pairs], dim=1).sort(dim=-1).values
        codes, middles = torch.unique(ends[..., 0] * count + ends[..., 1], return_inverse=True)
        centres = (self.points[codes // count] + self.points[codes % count]) / 2
        local = {(c, c): self.cells[:, c] for c in corners}
        local |= {pair: middles[:, n] + count for n, pair in enumerate(pairs)}
        cells = [torch.stack([local[pair] for pair in part], dim=1) for part in _PARTS[self.dim]]
        return SimplexMesh(torch.cat((self.points, centres)), torch.cat(cells))

    @property
    def dim(self) -> int:
        """Coordinates per point."""
        return self.points.shape[1]

    @property
    def volume(self) -> float:
        """Sum of the volumes of the cells."""
        return float(self.volumes.sum())

    @property
    def box(self) -> Box:
        """The smallest box around the corners."""
        lower, upper = self.points.amin(dim=0).tolist(), self.points.amax(dim=0).tolist()
        return Box(tuple(lower), tuple(upper))

    def barycentric(self, points: Tensor, cells: Tensor) -> Tensor:
        """Weights of the corners (..., dim + 1) of points (..., dim) in given cells (...)."""
        offset = points - self.points.to(points)[self.cells[cells][..., 0]]
        rest = torch.linalg.solve(self.edges.to(points)[cells], offset)
        return torch.cat((1 - rest.sum(dim=-1, keepdim=True), rest), dim=-1)

    def locate(self, points: Tensor) -> Tensor:
        """Number of a cell around each point (num_points, dim) -> (num_points,), -1 outside.

        Every cell is tried for every point: for thousands of both, not for millions.
        """
        inverse = torch.linalg.inv(self.edges.to(points))
        start = inverse @ self.points.to(points)[self.cells[:, 0]][..., None]
        found = []
        for part in points.split(max(1, _PAIRS_AT_ONCE // len(self.cells))):
            rest = torch.einsum("cij,pj->pci", inverse, part) - start.squeeze(-1)
            smallest = torch.minimum(rest.amin(dim=-1), 1 - rest.sum(dim=-1))
            best, cell = smallest.max(dim=1)
            found.append(torch.where(best >= -1e-6, cell, -1))
        return torch.cat(found)

    def interpolate(self, values: Tensor, points: Tensor) -> Tensor:
        """Piecewise linear function with `values` at the corners (point, channel), at points.

        Raises:
            ValueError: If a point (num_points, dim) lies outside the mesh.
        """
        cells = self.locate(points)
        if bool((cells < 0).any()):
            raise ValueError(
                f"SimplexMesh.interpolate: {int((cells < 0).sum())} of {len(points)} points lie "
                f"outside the mesh, the first is {points[cells < 0][0].tolist()}."
            )
        weights = self.barycentric(points, cells)
        return (weights[..., None] * values[self.cells[cells]]).sum(dim=-2)


class MeshPoints(Sampler):
    """Uniform points in a mesh, one in each n-th part of its volume, in random order.

    The n parts of equal volume follow the cells in their order, so a small cell is never left out
    for long and a mean over the points varies less than over independent ones. Every point alone
    has the density 1 / volume.

    Args:
        mesh: Simplices that fill the body.

    Example:
        >>> from pdesurrogates.core import Box, generator
        >>> mesh = SimplexMesh.of_box(Box((0.0, 0.0), (2.0, 1.0)), (4, 2))
        >>> samples = MeshPoints(mesh).sample(5, generator=generator(0))
        >>> samples.points.shape, round(samples.log_density[0].exp().item(), 3)
        (torch.Size([5, 2]), 0.5)
    """

    def __init__(self, mesh: SimplexMesh) -> None:
        super().__init__(mesh.box)
        self.mesh = mesh

    def sample(
        self,
        num_points: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> Samples:
        """Points in the cells, each cell with the chance of its volume."""
        check_num_points(num_points, where="MeshPoints.sample")
        home, mesh = generator.device, self.mesh
        order = torch.randperm(num_points, generator=generator, device=home)
        level = torch.rand(num_points, generator=generator, dtype=torch.float64, device=home)
        share = mesh.volumes.to(level).cumsum(dim=0)
        cells = torch.searchsorted(share, (order + level) / num_points * share[-1])
        cells = cells.clamp(max=len(mesh.cells) - 1)
        # Normalised exponentials are uniform on the simplex.
        uniform = torch.rand(
            num_points, mesh.dim + 1, generator=generator, dtype=torch.float64, device=home
        )
        weights = -torch.log1p(-uniform)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        corners = mesh.points.to(level)[mesh.cells.to(home)[cells]]
        points = (weights[..., None] * corners).sum(dim=-2)
        points = points.to(device=device or home, dtype=dtype)
        return Samples(points, points.new_full((num_points,), -math.log(mesh.volume)))

    def log_density(self, points: Tensor) -> Tensor:
        """-log(volume) in the mesh, -inf outside it."""
        inside = self.mesh.locate(points) >= 0
        level = points.new_full(points.shape[:1], -math.log(self.mesh.volume))
        return torch.where(inside, level, -math.inf)


def _edges(points: Tensor, cells: Tensor) -> Tensor:
    corners = points[cells]
    return (corners[:, 1:] - corners[:, :1]).mT

"""Linear and quadratic finite elements on triangles and tetrahedra, at quadrature points."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from pdesurrogates.sampling import SimplexMesh

__all__ = ["Elements"]

# Barycentric weight of the near corner in the dim + 1 points that integrate quadratics exactly.
_NEAR = {2: 2 / 3, 3: (5 + 3 * 5**0.5) / 20}


class Elements:
    """Continuous functions that are polynomials on every cell of a mesh, by values at nodes.

    Args:
        mesh: Triangles or tetrahedra.
        degree: 1, nodes at the corners; or 2, nodes at corners and middles of edges. Linear
            elements are too stiff where the volume hardly changes (locking).

    Attributes:
        nodes: Coordinates (node, dim).
        cell_nodes: Numbers of the nodes of each cell (cell, local).
        values: Basis functions at the quadrature points (quadrature, local).
        gradients: Their gradients (cell, quadrature, local, dim).
        weights: Volume that a quadrature point stands for (cell, quadrature).

    Raises:
        ValueError: If the mesh is neither of triangles nor of tetrahedra.
    """

    def __init__(self, mesh: SimplexMesh, degree: Literal[1, 2] = 1) -> None:
        if mesh.dim not in _NEAR or degree not in (1, 2):
            raise ValueError(
                "Elements: a mesh of triangles or tetrahedra and a `degree` of 1 or 2 are needed, "
                f"got {mesh.dim} axes and degree {degree}."
            )
        self.mesh = mesh
        self.degree = degree
        self.pairs = list(combinations(range(mesh.dim + 1), 2))
        self.nodes, self.cell_nodes = mesh.points.double(), mesh.cells
        if degree == 2:
            self._add_middles()
        near = _NEAR[mesh.dim]
        corners = torch.eye(mesh.dim + 1, dtype=torch.float64).to(self.nodes)
        rest = (1 - near) / mesh.dim
        barycentric = rest + (near - rest) * corners
        inverse = torch.linalg.inv(mesh.edges.double())
        slopes = torch.cat((-inverse.sum(dim=-2, keepdim=True), inverse), dim=-2)
        self.values = self._basis(barycentric)
        self.gradients = torch.einsum("qac,xcd->xqad", self._slopes(barycentric), slopes)
        count = len(barycentric)
        self.weights = (mesh.volumes.double() / count)[:, None].expand(-1, count)

    def interpolate(self, node_values: Tensor, points: Tensor) -> Tensor:
        """The function with given values at the nodes (node, channel), at points (point, dim).

        Raises:
            ValueError: If a point lies outside the mesh.
        """
        cells = self.mesh.locate(points)
        if bool((cells < 0).any()):
            raise ValueError(
                f"Elements.interpolate: {int((cells < 0).sum())} of {len(points)} points lie "
                f"outside the mesh, the first is {points[cells < 0][0].tolist()}."
            )
        basis = self._basis(self.mesh.barycentric(points, cells))
        return (basis[..., None] * node_values[self.cell_nodes[cells]]).sum(dim=-2)

    def _add_middles(self) -> None:
        cells, count = self.mesh.cells, len(self.nodes)
        ends = torch.stack([cells[:, pair] for pair in self.pairs], dim=1).sort(dim=-1).values
        codes, middles = torch.unique(ends[..., 0] * count + ends[..., 1], return_inverse=True)
        centres = (self.nodes[codes // count] + self.nodes[codes % count]) / 2
        self.nodes = torch.cat((self.nodes, centres))
        self.cell_nodes = torch.cat((cells, middles + count), dim=1)

    def _basis(self, b: Tensor) -> Tensor:
        """Basis functions (..., local) of barycentric coordinates (..., dim + 1)."""
        if self.degree == 1:
            return b
        middles = [4 * b[..., i] * b[..., j] for i, j in self.pairs]
        return torch.cat((b * (2 * b - 1), torch.stack(middles, dim=-1)), dim=-1)

    def _slopes(self, b: Tensor) -> Tensor:
        """Derivatives (..., local, dim + 1) for the barycentric coordinates."""
        unit = torch.eye(b.shape[-1], dtype=b.dtype, device=b.device)
        if self.degree == 1:
            return unit.expand(*b.shape, b.shape[-1])
        corners = unit * (4 * b - 1)[..., None]
        middles = [
            4 * (b[..., i, None] * unit[j] + b[..., j, None] * unit[i]) for i, j in self.pairs
        ]
        return torch.cat((corners, torch.stack(middles, dim=-2)), dim=-2)

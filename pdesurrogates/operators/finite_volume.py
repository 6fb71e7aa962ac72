"""Finite volumes on uniform grids: cell averages change by what flows through their faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from pdesurrogates.core import Grid
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.ghost_cells import GhostCells
from pdesurrogates.operators.reconstruction import MUSCL, Reconstruction
from pdesurrogates.operators.riemann import HLLC, Components, HyperbolicLaw, NumericalFlux

__all__ = ["FiniteVolumes"]


class FiniteVolumes(Derivatives):
    """The shock-capturing scheme for conservation laws, dimension by dimension.

    For cell averages u_j of a law u_t + flux(u)_x + ... = source,

        du_j/dt = -(F_{j+1/2} - F_{j-1/2}) / dx - (other axes) + source_j
        F_{j+1/2} = numerical flux between the reconstructed states below and above the face

    Viscous terms enter F by central differences at the face, second order. What flows out of a
    cell flows into its neighbour, so that on periodic grids sums of conserved variables are kept
    to round-off. Steps of SSPRK3 up to `reconstruction.courant_limit` keep density, pressure and
    height positive; see there. This is no provider of derivatives at points: an equation needs
    `flux` and `wave_speed`, as every `ConservationLaw` has.

    Args:
        grid: One cell around every point, as wide as the spacing; with `cell_centred=True` the
            cells fill the box.
        reconstruction: From averages to faces: `Constant()`, `MUSCL(limiter)`, `WENO5()`.
        flux: `HLLC()`, `HLL()` or `Rusanov()`.
        boundary: Conditions for the primitive variables, on axes that are not periodic: one of
            `Outflow()`, `SlipWall()`, `NoSlipWall()`, `Inflow(state)`, `Dirichlet(value)`,
            `Neumann(derivative)` for all, or one (or a pair, lower and upper) per axis, or a
            mapping from the names of primitive fields to such conditions.
        is_compiled: Whether the time derivative goes through torch.compile: about three times as
            fast on a CPU, after some seconds of compilation for every new shape; it needs a C++
            compiler there.

    Example:
        >>> from pdesurrogates.equations import Burgers
        >>> f = Burgers(0.0).on(FiniteVolumes(Grid((4,), (4.0,), cell_centred=True)))
        >>> f(0.0, torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])).tolist()
        [[[-0.5, 0.0, 0.5, 0.0]]]
    """

    def __init__(
        self,
        grid: Grid,
        reconstruction: Reconstruction = MUSCL(),  # noqa: B008 - frozen, without state
        flux: NumericalFlux = HLLC(),  # noqa: B008 - frozen, without state
        boundary: Any = None,
        *,
        is_compiled: bool = False,
    ) -> None:
        for name, value, kind, example in (
            ("reconstruction", reconstruction, Reconstruction, "MUSCL()"),
            ("flux", flux, NumericalFlux, "HLLC()"),
        ):
            if not isinstance(value, kind):
                raise TypeError(
                    f"FiniteVolumes: `{name}` must be a {kind.__name__}, got {value!r}; write "
                    f"e.g. {name}={example}."
                )
        self.grid = grid
        self.dim = grid.dim
        self.reconstruction = reconstruction
        self.flux = flux
        self.boundary = boundary
        self.is_compiled = is_compiled
        _keep_freed_memory()

    def face_flux(self, law: HyperbolicLaw, w: Tensor, axis: int) -> Tensor:
        """Numerical flux of the conserved variables through the N + 1 faces along an axis.

        Args:
            law: Whose flux.
            w: Primitive variables with the reconstruction's ghost cells along the axis.
            axis: Space axis.
        """
        below, above = self.reconstruction.faces(law, w, axis)
        return self.stack(*self.flux(law, self.components(below), self.components(above), axis))

    def face_slopes(
        self, w: Tensor, channels: tuple[int, ...], axis: int, ghosts: GhostCells
    ) -> Callable[[int, int], Tensor]:
        """slope(channel, axis) at the N + 1 faces along `axis`, second order.

        Along the axis the difference of the cells on both sides; along the others the mean of
        their central differences.

        Args:
            w: Primitive variables (batch, channel, *space).
            channels: Those whose slopes are wanted.
            axis: Axis the faces are normal to.
            ghosts: The ghost cells of `w`.
        """
        w = self.stack(*(w[:, c : c + 1] for c in channels))
        ghosts = ghosts.of_channels(channels)
        slopes = []
        for along in range(self.dim):
            change = -self.net_inflow(ghosts.pad(w, along, 1), along)
            if along != axis:
                change = self.mean(change, along)
                change = self.mean(ghosts.of_slopes().pad(change, axis, 1), axis)
            slopes.append(self.components(change))
        return lambda channel, along: slopes[along][channels.index(channel)]

    def net_inflow(self, flux: Tensor, axis: int) -> Tensor:
        """(lower - upper) / spacing: what fluxes through N + 1 faces bring into N cells."""
        dim, size = 2 + axis, flux.shape[2 + axis] - 1
        change = flux.narrow(dim, 0, size) - flux.narrow(dim, 1, size)
        return change.mul_(1 / self.grid.spacing[axis])

    def mean(self, w: Tensor, axis: int) -> Tensor:
        """Mean of neighbours: N + 2 cells to N + 1 faces, or N + 1 faces to N cells."""
        dim, size = 2 + axis, w.shape[2 + axis] - 1
        return (w.narrow(dim, 0, size) + w.narrow(dim, 1, size)).mul_(0.5)

    def derivative(self, u: Any, axis: int, order: int = 1) -> NoReturn:
        raise ValueError(
            "FiniteVolumes: there are no derivatives of fields here, only fluxes through faces; "
            "give it a ConservationLaw (which has `flux` and `wave_speed`), or use "
            "FiniteDifferences or SpectralDerivatives."
        )

    def components(self, u: Tensor) -> Components:
        return u.split(1, dim=1)

    def stack(self, *fields: Tensor) -> Tensor:
        return fields[0] if len(fields) == 1 else torch.cat(fields, dim=1)

    def coefficient(self, value: Coefficient) -> Any:
        if callable(value) and not isinstance(value, Tensor):
            return value(*self.grid.coordinates())[None, None]
        if isinstance(value, Tensor) and value.ndim == 1:
            return value.reshape(-1, *(1,) * (self.dim + 1))
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[2:] != self.grid.shape:
            raise ValueError(
                "FiniteVolumes: a coefficient that varies in space must have shape "
                f"(batch or 1, 1, *space) with space {self.grid.shape}, got {tuple(value.shape)}."
            )
        return value


def _keep_freed_memory() -> None:
    """Let the GNU C library keep the memory of temporaries, for all of the process.

    It returns freed memory to the system beyond a threshold, and every time step then waits for
    it again, page by page: measured, two to five times the time of a step. The threshold follows
    the largest block freed so far, up to 32 MiB; this block is never written to. Elsewhere it
    does nothing.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)

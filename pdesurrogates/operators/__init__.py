"""How do I differentiate a field? Derivative providers and operators in Fourier space."""

from pdesurrogates.operators.autodiff import AutodiffDerivatives
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.finite_difference import FiniteDifferences
from pdesurrogates.operators.finite_difference_field import DifferenceField
from pdesurrogates.operators.finite_difference_symbol import DifferenceSymbol
from pdesurrogates.operators.finite_volume import FiniteVolumes
from pdesurrogates.operators.fourier_operator import FourierOperator
from pdesurrogates.operators.ghost_cells import GhostCells, Inflow, NoSlipWall, SlipWall
from pdesurrogates.operators.jet import Jet
from pdesurrogates.operators.jet_derivatives import JetDerivatives
from pdesurrogates.operators.lagrangian import LagrangianDerivatives
from pdesurrogates.operators.phi import phi, phi_matrix
from pdesurrogates.operators.points import PointDerivatives
from pdesurrogates.operators.poisson import FastPoisson
from pdesurrogates.operators.reconstruction import (
    MUSCL,
    WENO5,
    Constant,
    Limiter,
    Reconstruction,
    minmod,
    monotonized_central,
    superbee,
    van_leer,
)
from pdesurrogates.operators.riemann import (
    HLL,
    HLLC,
    Components,
    HyperbolicLaw,
    NumericalFlux,
    Rusanov,
)
from pdesurrogates.operators.spectral import SpectralDerivatives, Symbol, wavenumbers
from pdesurrogates.operators.spectral_field import SpectralField
from pdesurrogates.operators.staggered import PressureSolver, StaggeredGrid
from pdesurrogates.operators.stream_function import vorticity_transport

__all__ = [
    "HLL",
    "HLLC",
    "MUSCL",
    "WENO5",
    "AutodiffDerivatives",
    "Coefficient",
    "Components",
    "Constant",
    "Derivatives",
    "DifferenceField",
    "DifferenceSymbol",
    "FastPoisson",
    "FiniteDifferences",
    "FiniteVolumes",
    "FourierOperator",
    "GhostCells",
    "HyperbolicLaw",
    "Inflow",
    "Jet",
    "JetDerivatives",
    "LagrangianDerivatives",
    "Limiter",
    "NoSlipWall",
    "NumericalFlux",
    "PointDerivatives",
    "PressureSolver",
    "Reconstruction",
    "Rusanov",
    "SlipWall",
    "SpectralDerivatives",
    "SpectralField",
    "StaggeredGrid",
    "Symbol",
    "minmod",
    "monotonized_central",
    "phi",
    "phi_matrix",
    "superbee",
    "van_leer",
    "vorticity_transport",
    "wavenumbers",
]

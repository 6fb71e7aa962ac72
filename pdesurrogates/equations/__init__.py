"""What is the PDE? Each equation is written once and serves every derivative provider that can."""

from pdesurrogates.equations import exact
from pdesurrogates.equations.advection_diffusion import AdvectionDiffusion
from pdesurrogates.equations.base import (
    BoundEquation,
    Equation,
    FiniteDifferenceEquation,
    SpectralEquation,
)
from pdesurrogates.equations.burgers import Burgers
from pdesurrogates.equations.compressible import CompressibleNavierStokes
from pdesurrogates.equations.conservation_law import ConservationLaw, FiniteVolumeEquation
from pdesurrogates.equations.dispersive import (
    KortewegDeVries,
    KuramotoSivashinsky,
    Schrodinger,
)
from pdesurrogates.equations.incompressible import IncompressibleNavierStokes, SpectralFlow
from pdesurrogates.equations.reaction_diffusion import (
    AllenCahn,
    DiffusionSorption,
    FisherKPP,
    FitzHughNagumo,
    GrayScott,
)
from pdesurrogates.equations.shallow_water import BalancedShallowWater, ShallowWater
from pdesurrogates.equations.staggered_flow import StaggeredFlow
from pdesurrogates.equations.steady import Darcy, Poisson, SteadyEquation
from pdesurrogates.equations.transport import Advection, Diffusion
from pdesurrogates.equations.vorticity import NavierStokesVorticity
from pdesurrogates.equations.waves import Wave

__all__ = [
    "Advection",
    "AdvectionDiffusion",
    "AllenCahn",
    "BalancedShallowWater",
    "BoundEquation",
    "Burgers",
    "CompressibleNavierStokes",
    "ConservationLaw",
    "Darcy",
    "Diffusion",
    "DiffusionSorption",
    "Equation",
    "FiniteDifferenceEquation",
    "FiniteVolumeEquation",
    "FisherKPP",
    "FitzHughNagumo",
    "GrayScott",
    "IncompressibleNavierStokes",
    "KortewegDeVries",
    "KuramotoSivashinsky",
    "NavierStokesVorticity",
    "Poisson",
    "Schrodinger",
    "ShallowWater",
    "SpectralEquation",
    "SpectralFlow",
    "StaggeredFlow",
    "SteadyEquation",
    "Wave",
    "exact",
]

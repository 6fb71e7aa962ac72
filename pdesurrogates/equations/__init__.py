"""What is the PDE? Each equation is written once and serves every derivative provider that can."""

from pdesurrogates.equations import exact
from pdesurrogates.equations.base import BoundEquation, Equation, SpectralEquation
from pdesurrogates.equations.burgers import Burgers
from pdesurrogates.equations.dispersive import (
    KortewegDeVries,
    KuramotoSivashinsky,
    Schrodinger,
)
from pdesurrogates.equations.reaction_diffusion import AllenCahn
from pdesurrogates.equations.transport import Advection, Diffusion

__all__ = [
    "Advection",
    "AllenCahn",
    "BoundEquation",
    "Burgers",
    "Diffusion",
    "Equation",
    "KortewegDeVries",
    "KuramotoSivashinsky",
    "Schrodinger",
    "SpectralEquation",
    "exact",
]

"""How do I differentiate a field? Derivative providers and operators in Fourier space."""

from pdesurrogates.operators.autodiff import AutodiffDerivatives
from pdesurrogates.operators.base import Coefficient, Derivatives
from pdesurrogates.operators.fourier_operator import FourierOperator
from pdesurrogates.operators.phi import phi, phi_matrix
from pdesurrogates.operators.spectral import SpectralDerivatives, Symbol, wavenumbers
from pdesurrogates.operators.spectral_field import SpectralField

__all__ = [
    "AutodiffDerivatives",
    "Coefficient",
    "Derivatives",
    "FourierOperator",
    "SpectralDerivatives",
    "SpectralField",
    "Symbol",
    "phi",
    "phi_matrix",
    "wavenumbers",
]

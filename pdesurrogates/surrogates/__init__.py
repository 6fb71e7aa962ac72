"""What does the network predict? The next state, the change, the derivative, or the rest."""

from pdesurrogates.surrogates.base import Surrogate, same_box
from pdesurrogates.surrogates.checkpoint import check_saveable, load_surrogate, save_surrogate
from pdesurrogates.surrogates.derivative import DerivativeSurrogate
from pdesurrogates.surrogates.hybrid import HybridSurrogate
from pdesurrogates.surrogates.map import MapSurrogate
from pdesurrogates.surrogates.refiner import PDERefiner
from pdesurrogates.surrogates.residual import ResidualSurrogate
from pdesurrogates.surrogates.samplers import Ancestral, NoiseLevels, Sampler
from pdesurrogates.surrogates.state import StateSurrogate
from pdesurrogates.surrogates.stochastic import NoiseStream, StochasticSurrogate

__all__ = [
    "Ancestral",
    "DerivativeSurrogate",
    "HybridSurrogate",
    "MapSurrogate",
    "NoiseLevels",
    "NoiseStream",
    "PDERefiner",
    "ResidualSurrogate",
    "Sampler",
    "StateSurrogate",
    "StochasticSurrogate",
    "Surrogate",
    "check_saveable",
    "load_surrogate",
    "same_box",
    "save_surrogate",
]

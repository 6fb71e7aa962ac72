"""Where do I look? Points for residuals: given, drawn, or moved to where the residual is large."""

from pdesurrogates.sampling.base import Residual, Sampler, Samples
from pdesurrogates.sampling.uniform import Sobol, Stratified, Uniform

__all__ = [
    "Residual",
    "Sampler",
    "Samples",
    "Sobol",
    "Stratified",
    "Uniform",
]

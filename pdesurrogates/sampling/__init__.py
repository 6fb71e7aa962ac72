"""Where do I look? Points for residuals: given, drawn, or moved to where the residual is large."""

from pdesurrogates.sampling.adversarial import AdversarialSampler, Ascent
from pdesurrogates.sampling.base import Residual, Sampler, Samples
from pdesurrogates.sampling.best_density import best_density
from pdesurrogates.sampling.density_flow import DensityFlowSampler
from pdesurrogates.sampling.flow import SplineFlow
from pdesurrogates.sampling.flow_sampler import FlowPoints
from pdesurrogates.sampling.mesh import MeshPoints, SimplexMesh
from pdesurrogates.sampling.mixture import Mixture
from pdesurrogates.sampling.quadrature import GaussLegendre, importance
from pdesurrogates.sampling.residual_based import RAD, RAR
from pdesurrogates.sampling.uniform import Sobol, Stratified, Uniform

__all__ = [
    "RAD",
    "RAR",
    "AdversarialSampler",
    "Ascent",
    "DensityFlowSampler",
    "FlowPoints",
    "GaussLegendre",
    "MeshPoints",
    "Mixture",
    "Residual",
    "Sampler",
    "Samples",
    "SimplexMesh",
    "Sobol",
    "SplineFlow",
    "Stratified",
    "Uniform",
    "best_density",
    "importance",
]

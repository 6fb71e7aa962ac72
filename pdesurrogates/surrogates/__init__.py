"""What does the network predict? The next state, the change, the derivative, or the rest."""

from pdesurrogates.surrogates.base import Surrogate, same_box
from pdesurrogates.surrogates.bundle import BundleSurrogate
from pdesurrogates.surrogates.checkpoint import check_saveable, load_surrogate, save_surrogate
from pdesurrogates.surrogates.derivative import DerivativeSurrogate
from pdesurrogates.surrogates.diffusion import DiffusionSurrogate
from pdesurrogates.surrogates.ensemble import (
    bind_members,
    member_seed,
    rollout_ensemble,
    stream_ensemble,
)
from pdesurrogates.surrogates.flow import FlowSurrogate, FromNoise, FromState
from pdesurrogates.surrogates.hybrid import HybridSurrogate
from pdesurrogates.surrogates.inference import accelerate
from pdesurrogates.surrogates.map import MapSurrogate
from pdesurrogates.surrogates.mesh import mesh_graphs
from pdesurrogates.surrogates.noise_levels import NoiseLevels, karras_levels, refiner_levels
from pdesurrogates.surrogates.refiner import PDERefiner
from pdesurrogates.surrogates.residual import ResidualSurrogate
from pdesurrogates.surrogates.samplers import DDIM, Ancestral, DPMSolverPP, EDMHeun, Sampler
from pdesurrogates.surrogates.stagger import NeuralStagger
from pdesurrogates.surrogates.stagger_processes import distribute
from pdesurrogates.surrogates.stagger_walls import ProjectedStagger, wall_channels
from pdesurrogates.surrogates.staggered_decomposition import StaggeredDecomposition
from pdesurrogates.surrogates.state import StateSurrogate
from pdesurrogates.surrogates.stochastic import StochasticSurrogate
from pdesurrogates.surrogates.sub_networks import SubNetworks

__all__ = [
    "DDIM",
    "Ancestral",
    "BundleSurrogate",
    "DPMSolverPP",
    "DerivativeSurrogate",
    "DiffusionSurrogate",
    "EDMHeun",
    "FlowSurrogate",
    "FromNoise",
    "FromState",
    "HybridSurrogate",
    "MapSurrogate",
    "NeuralStagger",
    "NoiseLevels",
    "PDERefiner",
    "ProjectedStagger",
    "ResidualSurrogate",
    "Sampler",
    "StaggeredDecomposition",
    "StateSurrogate",
    "StochasticSurrogate",
    "SubNetworks",
    "Surrogate",
    "accelerate",
    "bind_members",
    "check_saveable",
    "distribute",
    "karras_levels",
    "load_surrogate",
    "member_seed",
    "mesh_graphs",
    "refiner_levels",
    "rollout_ensemble",
    "same_box",
    "save_surrogate",
    "stream_ensemble",
    "wall_channels",
]

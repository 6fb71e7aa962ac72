"""How is ground truth made? Reference solver, random initial states, data generation."""

from pdesurrogates.reference.conservation import Conserved, conserved
from pdesurrogates.reference.dataset import DatasetRecipe, load_dataset
from pdesurrogates.reference.failure import SolverError
from pdesurrogates.reference.generate import generate
from pdesurrogates.reference.initial_conditions import (
    RandomFourierSeries,
    random_initial_condition,
)
from pdesurrogates.reference.initial_flows import (
    RadialDamBreak,
    RandomFlow,
    RandomShockTube,
    RandomTurbulence,
    RandomVorticity,
)
from pdesurrogates.reference.initial_patterns import (
    RandomBlobs,
    RandomConstant,
    RandomCosineSeries,
    TwoPhases,
    WhiteNoise,
)
from pdesurrogates.reference.initial_waves import RandomSineWaves
from pdesurrogates.reference.output import (
    Output,
    PrimitiveVariables,
    SelectedFields,
    VelocityFromVorticity,
)
from pdesurrogates.reference.recipe import ParameterRange, Recipe
from pdesurrogates.reference.recipe_file import load_recipe
from pdesurrogates.reference.simulate import Simulated, simulate
from pdesurrogates.reference.solve import solve
from pdesurrogates.reference.steady import ConvergenceError, solve_steady
from pdesurrogates.reference.writing import GenerationError

__all__ = [
    "Conserved",
    "ConvergenceError",
    "DatasetRecipe",
    "GenerationError",
    "Output",
    "ParameterRange",
    "PrimitiveVariables",
    "RadialDamBreak",
    "RandomBlobs",
    "RandomConstant",
    "RandomCosineSeries",
    "RandomFlow",
    "RandomFourierSeries",
    "RandomShockTube",
    "RandomSineWaves",
    "RandomTurbulence",
    "RandomVorticity",
    "Recipe",
    "SelectedFields",
    "Simulated",
    "SolverError",
    "TwoPhases",
    "VelocityFromVorticity",
    "WhiteNoise",
    "conserved",
    "generate",
    "load_dataset",
    "load_recipe",
    "random_initial_condition",
    "simulate",
    "solve",
    "solve_steady",
]

"""How is ground truth made? Reference solver, random initial states, data generation."""

from pdesurrogates.reference.generate import ParameterRange, Recipe, generate, load_recipe
from pdesurrogates.reference.initial_conditions import (
    RandomFourierSeries,
    random_initial_condition,
)
from pdesurrogates.reference.spectral import solve

__all__ = [
    "ParameterRange",
    "RandomFourierSeries",
    "Recipe",
    "generate",
    "load_recipe",
    "random_initial_condition",
    "solve",
]

"""How is ground truth made? Reference solver, random initial states, data generation."""

from pdesurrogates.reference.generate import generate
from pdesurrogates.reference.initial_conditions import (
    RandomFourierSeries,
    random_initial_condition,
)
from pdesurrogates.reference.recipe import ParameterRange, Recipe, load_recipe
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

"""The solution is a network: fields, and solvers that advance their weights in time."""

from pdesurrogates.neural_fields.boundary import CoordinateEmbedding, HardBoundary
from pdesurrogates.neural_fields.control import StepControl
from pdesurrogates.neural_fields.elastic_body import ElasticBody, ElasticStep
from pdesurrogates.neural_fields.elastic_contact import BallObstacle, Obstacle, PlaneObstacle
from pdesurrogates.neural_fields.elastic_descent import LBFGS
from pdesurrogates.neural_fields.elastic_elements import Elements
from pdesurrogates.neural_fields.elastic_energy import ElasticEnergy, closest_rotation
from pdesurrogates.neural_fields.elastic_reference import ElementSolver, ElementTrajectory
from pdesurrogates.neural_fields.elasticity import (
    ElasticSolver,
    ElasticTrajectory,
    start_at_rest,
)
from pdesurrogates.neural_fields.field import FieldFunction, NeuralField
from pdesurrogates.neural_fields.fitting import (
    Adam,
    Draw,
    Fit,
    GaussNewton,
    Optimiser,
    Term,
    mean_squares,
)
from pdesurrogates.neural_fields.fluid import ProjectedFlow, SplittingSolver
from pdesurrogates.neural_fields.insr import INSRSolver
from pdesurrogates.neural_fields.interpolation import SampledField
from pdesurrogates.neural_fields.schemes import (
    BDF2,
    ExplicitEuler,
    ExplicitStep,
    ImplicitEuler,
    ImplicitMidpoint,
    SemiLagrangian,
    TimeStepScheme,
)
from pdesurrogates.neural_fields.soft import SoftBoundary
from pdesurrogates.neural_fields.storage import StepRecord, WeightFolder
from pdesurrogates.neural_fields.stream import StreamFunction, StreamFunctionField
from pdesurrogates.neural_fields.trajectory import FieldAtTime, NeuralTrajectory, StepReport

__all__ = [
    "BallObstacle",
    "ElasticBody",
    "ElasticEnergy",
    "ElasticSolver",
    "ElasticStep",
    "ElasticTrajectory",
    "ElementSolver",
    "ElementTrajectory",
    "Elements",
    "LBFGS",
    "Obstacle",
    "PlaneObstacle",
    "closest_rotation",
    "start_at_rest",
    "BDF2",
    "Adam",
    "CoordinateEmbedding",
    "Draw",
    "ExplicitEuler",
    "ExplicitStep",
    "FieldAtTime",
    "FieldFunction",
    "Fit",
    "GaussNewton",
    "HardBoundary",
    "INSRSolver",
    "ImplicitEuler",
    "ImplicitMidpoint",
    "NeuralField",
    "NeuralTrajectory",
    "Optimiser",
    "ProjectedFlow",
    "SampledField",
    "SemiLagrangian",
    "SoftBoundary",
    "SplittingSolver",
    "StepControl",
    "StepRecord",
    "StepReport",
    "StreamFunction",
    "StreamFunctionField",
    "Term",
    "TimeStepScheme",
    "WeightFolder",
    "mean_squares",
]

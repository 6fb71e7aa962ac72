"""The loss is the PDE: physics-informed networks, in fixed and in moving coordinates."""

from pdesurrogates import sampling as samplers
from pdesurrogates.pinns.causal import CausalWeights
from pdesurrogates.pinns.characteristics import CharacteristicsCrossed
from pdesurrogates.pinns.conditions import (
    Condition,
    DataCondition,
    DirichletCondition,
    InitialCondition,
    NeumannCondition,
    OperatorCondition,
    PeriodicCondition,
)
from pdesurrogates.pinns.fields import SpaceTimeField
from pdesurrogates.pinns.history import History, PhaseReport
from pdesurrogates.pinns.lagrangian import LagrangianPINN, at_rest
from pdesurrogates.pinns.phases import AdamPhase, GaussNewtonPhase, LBFGSPhase, Optimiser, Phase
from pdesurrogates.pinns.pinn import PINN
from pdesurrogates.pinns.problem import DrawnPoints, GivenPoints, PointSet, Problem
from pdesurrogates.pinns.remedies import TimeWindows, fit_curriculum, fit_windows
from pdesurrogates.pinns.training import TrainingError, fit
from pdesurrogates.pinns.transforms import CoordinateMap, HardConditions

__all__ = [
    "PINN",
    "AdamPhase",
    "CausalWeights",
    "CharacteristicsCrossed",
    "Condition",
    "CoordinateMap",
    "DataCondition",
    "DirichletCondition",
    "DrawnPoints",
    "GaussNewtonPhase",
    "GivenPoints",
    "HardConditions",
    "History",
    "InitialCondition",
    "LBFGSPhase",
    "LagrangianPINN",
    "NeumannCondition",
    "OperatorCondition",
    "Optimiser",
    "PeriodicCondition",
    "Phase",
    "PhaseReport",
    "PointSet",
    "Problem",
    "SpaceTimeField",
    "TimeWindows",
    "TrainingError",
    "at_rest",
    "fit",
    "fit_curriculum",
    "fit_windows",
    "samplers",
]

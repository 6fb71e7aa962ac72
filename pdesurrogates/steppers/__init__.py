"""How do I get from du/dt to the next state? Classical time-steppers and the one time loop."""

from pdesurrogates.steppers.base import Stepper
from pdesurrogates.steppers.exponential import ETDRK, SplitDerivative
from pdesurrogates.steppers.multistep import AdamsBashforth, AdamsBashforthState
from pdesurrogates.steppers.rollout import Solution, integrate, rollout
from pdesurrogates.steppers.stochastic import (
    CountedState,
    EulerMaruyama,
    StochasticDerivative,
    StochasticHeun,
    StochasticStepper,
)
from pdesurrogates.steppers.tableau import (
    RK4,
    SSPRK3,
    BogackiShampine,
    Dopri5,
    Euler,
    ExplicitRungeKutta,
    Heun,
    Midpoint,
    Tableau,
    Tsit5,
)

__all__ = [
    "ETDRK",
    "RK4",
    "SSPRK3",
    "AdamsBashforth",
    "AdamsBashforthState",
    "BogackiShampine",
    "CountedState",
    "Dopri5",
    "Euler",
    "EulerMaruyama",
    "ExplicitRungeKutta",
    "Heun",
    "Midpoint",
    "Solution",
    "SplitDerivative",
    "Stepper",
    "StochasticDerivative",
    "StochasticHeun",
    "StochasticStepper",
    "Tableau",
    "Tsit5",
    "integrate",
    "rollout",
]

"""Neural surrogates for partial differential equations, scored beside classical solvers.

A PDE is written once. A solver, a network, or both supply its time derivative or its next
state; classical time-steppers carry it forward. The folders load when first used:

    >>> import pdesurrogates as ps
    >>> ps.core.Grid(num_points=(4,), extent=(2.0,)).spacing
    (0.5,)
"""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"

__all__ = [
    "backbones",
    "core",
    "data",
    "equations",
    "evaluation",
    "linear",
    "neural_fields",
    "operators",
    "pinns",
    "reference",
    "sampling",
    "steppers",
    "surrogates",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"pdesurrogates.{name}")
    raise AttributeError(f"module 'pdesurrogates' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

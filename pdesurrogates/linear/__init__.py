"""How do I solve for unknowns? Least squares; linear systems."""

from pdesurrogates.linear.least_squares import LeastSquaresResult, LevenbergMarquardt
from pdesurrogates.linear.pointwise import ParameterVector, PointwiseResiduals

__all__ = [
    "LeastSquaresResult",
    "LevenbergMarquardt",
    "ParameterVector",
    "PointwiseResiduals",
]

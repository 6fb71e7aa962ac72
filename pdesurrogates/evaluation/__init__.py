"""How good is it? Metrics, scores, classical baselines, figures and the report."""

from pdesurrogates.evaluation.check import check_trajectories
from pdesurrogates.evaluation.classical import (
    FrontPoint,
    cheapest_equal,
    classical_front,
    oracle_floor,
    persistence,
)
from pdesurrogates.evaluation.metrics import (
    conservation_drift,
    correlation,
    correlation_time,
    divergence_step,
    divergence_time,
    first_crossing,
    nrmse,
    relative_l2,
    rmse,
    valid_time,
    vrmse,
)
from pdesurrogates.evaluation.report import Arm, report
from pdesurrogates.evaluation.scores import bootstrap_interval, evaluate, summarize
from pdesurrogates.evaluation.spectra import (
    energy_spectrum,
    octave_bands,
    resample,
    shell_wavenumbers,
    spectral_error,
)
from pdesurrogates.evaluation.timing import Timing, measure

__all__ = [
    "Arm",
    "FrontPoint",
    "Timing",
    "bootstrap_interval",
    "cheapest_equal",
    "check_trajectories",
    "classical_front",
    "conservation_drift",
    "correlation",
    "correlation_time",
    "divergence_step",
    "divergence_time",
    "energy_spectrum",
    "evaluate",
    "first_crossing",
    "measure",
    "nrmse",
    "octave_bands",
    "oracle_floor",
    "persistence",
    "relative_l2",
    "report",
    "resample",
    "rmse",
    "shell_wavenumbers",
    "spectral_error",
    "summarize",
    "valid_time",
    "vrmse",
]

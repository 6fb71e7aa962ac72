"""How good is it? Metrics, scores, classical baselines, figures and the report."""

from pdesurrogates.evaluation.check import check_trajectories
from pdesurrogates.evaluation.classical import (
    FrontPoint,
    cheapest_equal,
    classical_front,
    oracle_floor,
    persistence,
)
from pdesurrogates.evaluation.ensemble import (
    central_levels,
    coverage,
    crps,
    ensemble_rmse,
    evaluate_ensemble,
    rank_histogram,
    spread,
    spread_skill_ratio,
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
from pdesurrogates.evaluation.staggering import (
    AliasingProbe,
    CriticalPath,
    aliasing_probe,
    amplification,
    chain_splitting,
    checkerboard_index,
    critical_path,
)
from pdesurrogates.evaluation.timing import Timing, measure

__all__ = [
    "AliasingProbe",
    "Arm",
    "CriticalPath",
    "FrontPoint",
    "Timing",
    "aliasing_probe",
    "amplification",
    "bootstrap_interval",
    "central_levels",
    "chain_splitting",
    "cheapest_equal",
    "check_trajectories",
    "checkerboard_index",
    "classical_front",
    "conservation_drift",
    "correlation",
    "correlation_time",
    "coverage",
    "critical_path",
    "crps",
    "divergence_step",
    "divergence_time",
    "energy_spectrum",
    "ensemble_rmse",
    "evaluate",
    "evaluate_ensemble",
    "first_crossing",
    "measure",
    "nrmse",
    "octave_bands",
    "oracle_floor",
    "persistence",
    "rank_histogram",
    "relative_l2",
    "report",
    "resample",
    "rmse",
    "shell_wavenumbers",
    "spectral_error",
    "spread",
    "spread_skill_ratio",
    "summarize",
    "valid_time",
    "vrmse",
]

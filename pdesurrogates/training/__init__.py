"""How are weights found? Losses, the Lightning module and data module, one call for scripts."""

from pdesurrogates.training.callbacks import EMA, SaveSurrogate
from pdesurrogates.training.checkpoints import WholeCheckpoints
from pdesurrogates.training.curriculum import Curriculum
from pdesurrogates.training.datamodule import BatchStream, TrajectoryDataModule
from pdesurrogates.training.distances import (
    Distance,
    MeanSquared,
    Relative,
    Sobolev,
    SpectralDistance,
    WeightedSum,
)
from pdesurrogates.training.losses import Loss, OneStep, Pushforward, Unrolled
from pdesurrogates.training.mesh import MeshBatchStream, MeshDataModule
from pdesurrogates.training.module import SurrogateModule
from pdesurrogates.training.physics import (
    PhysicsLoss,
    fit_to_equation,
    next_frames,
    step_residual,
)
from pdesurrogates.training.self_rolled import (
    FreshFrames,
    PhysicsTraining,
    SelfRolledPool,
    train_on_physics,
)
from pdesurrogates.training.trainer import TrainingResult, train
from pdesurrogates.training.transforms import AllPairs, BatchTransform, InputNoise

__all__ = [
    "EMA",
    "AllPairs",
    "BatchStream",
    "BatchTransform",
    "Curriculum",
    "Distance",
    "FreshFrames",
    "InputNoise",
    "Loss",
    "MeanSquared",
    "MeshBatchStream",
    "MeshDataModule",
    "OneStep",
    "PhysicsLoss",
    "PhysicsTraining",
    "Pushforward",
    "Relative",
    "SaveSurrogate",
    "SelfRolledPool",
    "Sobolev",
    "SpectralDistance",
    "SurrogateModule",
    "TrainingResult",
    "TrajectoryDataModule",
    "Unrolled",
    "WeightedSum",
    "WholeCheckpoints",
    "fit_to_equation",
    "next_frames",
    "step_residual",
    "train",
    "train_on_physics",
]

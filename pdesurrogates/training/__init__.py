"""How are weights found? Losses, the Lightning module and data module, one call for scripts."""

from pdesurrogates.training.callbacks import EMA, SaveSurrogate
from pdesurrogates.training.checkpoints import WholeCheckpoints
from pdesurrogates.training.datamodule import BatchStream, TrajectoryDataModule
from pdesurrogates.training.losses import InputNoise, Loss, OneStep, Pushforward, Unrolled
from pdesurrogates.training.module import SurrogateModule
from pdesurrogates.training.trainer import TrainingResult, train

__all__ = [
    "EMA",
    "BatchStream",
    "InputNoise",
    "Loss",
    "OneStep",
    "Pushforward",
    "SaveSurrogate",
    "SurrogateModule",
    "TrainingResult",
    "TrajectoryDataModule",
    "Unrolled",
    "WholeCheckpoints",
    "train",
]

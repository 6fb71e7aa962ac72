"""`demo`: the main job on a small scale, from an equation to a report, in one command."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from tqdm import tqdm

from pdesurrogates import __version__
from pdesurrogates.backbones import FNO
from pdesurrogates.cli.evaluate import Truth, rollout_arm, save_scores
from pdesurrogates.data import open_trajectories
from pdesurrogates.evaluation import (
    Arm,
    FrontPoint,
    bootstrap_interval,
    cheapest_equal,
    classical_front,
    report,
)
from pdesurrogates.reference import generate
from pdesurrogates.steppers import RK4
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    ResidualSurrogate,
    StateSurrogate,
    Surrogate,
)
from pdesurrogates.training import (
    EMA,
    SaveSurrogate,
    SurrogateModule,
    TrajectoryDataModule,
    WholeCheckpoints,
)

if TYPE_CHECKING:
    from xarray import Dataset

__all__ = ["Size", "conclusions", "run"]


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Args:
        num_trajectories: Trajectories for training.
        num_unseen: Trajectories of the validation split, and of the test split.
        num_steps: Saved steps of training trajectories.
        num_test_steps: Saved steps of test trajectories.
        num_updates: Optimiser updates per surrogate.
        num_modes, width, depth: See `FNO`.
    """

    num_trajectories: int = 256
    num_unseen: int = 32
    num_steps: int = 200
    num_test_steps: int = 300
    num_updates: int = 3000
    num_modes: int = 24
    width: int = 32
    depth: int = 4


QUICK = Size(8, 4, 20, 40, 20, 8, 8, 1)
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
SPLITS: tuple[str, ...] = ("train", "validation", "test")


def run(arguments: Namespace) -> None:
    """All four stages; what is finished is reused, what was interrupted continues."""
    size = QUICK if arguments.quick else Size()
    folder, seed = arguments.output, arguments.seed
    _claim(folder, seed=seed, quick=arguments.quick)
    page, lesson = folder / "report.html", folder / "findings.txt"
    if not (page.exists() and lesson.exists()):
        _say(f"1/4  data: Kuramoto-Sivashinsky equation, solved in float64 -> {folder / 'data'}")
        files = {split: _generate(split, folder / "data", seed, size) for split in SPLITS}
        arms = _arms(seed, size)
        _say(
            f"2/4  training: {len(arms)} surrogates, the same network, {size.num_updates} updates"
        )
        folders = {name: folder / "surrogates" / name for name in arms}
        for name, surrogate in arms.items():
            _train(name, surrogate, files, folders[name], folder / "training" / name, seed, size)
        _say(f"3/4  rollouts: {size.num_unseen} trajectories that no surrogate has seen")
        with open_trajectories(files["test"]) as test:
            scored = {
                name: rollout_arm(
                    folders[name], test, folder / "rollouts" / f"{name}.hdf5", num_repeats=1
                )
                for name in arms
            }
            _say("4/4  report: scores, baselines, and what the classical solver costs")
            truth = next(truth for _, truth in scored.values())
            _report(page, lesson, {name: arm for name, (arm, _) in scored.items()}, truth, size)
    print(lesson.read_text().rstrip())
    print(f"Report: {page}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _claim(folder: Path, **settings: object) -> None:
    """Make the folder ours, or refuse one that holds a demo with other settings."""
    settings = {**settings, "version": __version__}
    path = folder / "demo.json"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: this is a file; name a folder with --output.")
    if path.exists() and path.read_text() != json.dumps(settings) + "\n":
        raise ValueError(
            f"{path}: this folder holds a demo made with {path.read_text().strip()}, asked for is "
            f"{json.dumps(settings)}; choose another folder with --output, or delete this one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(settings) + "\n")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _generate(split: str, folder: Path, seed: int, size: Size) -> Path:
    """One split; the splits are disjoint members of one random ensemble."""
    path = folder / f"{split}.hdf5"
    if path.exists():
        return path
    folder.mkdir(exist_ok=True)
    text = resources.files("pdesurrogates.cli").joinpath("configs", "kuramoto_sivashinsky.yaml")
    recipe = yaml.safe_load(text.read_text(encoding="utf-8"))
    counts = dict(zip(SPLITS, (size.num_trajectories, *(size.num_unseen,) * 2), strict=True))
    first = sum(counts[name] for name in SPLITS[: SPLITS.index(split)])
    num_steps = size.num_test_steps if split == "test" else size.num_steps
    recipe |= {
        "seed": seed,
        "first": first,
        "num_trajectories": counts[split],
        "num_steps": num_steps,
    }
    return generate(recipe, path, progress=lambda starts: tqdm(starts, desc=f"  {split:10}"))


def _arms(seed: int, size: Size) -> dict[str, Surrogate]:
    """Three surrogates with the same network and the same initial weights."""

    def network() -> FNO:
        torch.manual_seed(seed)
        return FNO(1, 1, num_modes=(size.num_modes,), width=size.width, depth=size.depth)

    dt = 0.2
    return {
        "state": StateSurrogate(network(), dt),
        "residual": ResidualSurrogate(network(), dt),
        "derivative": DerivativeSurrogate(network(), RK4(), dt, target_order=4),
    }


class _Progress(L.Callback):
    """One bar per surrogate, over updates."""

    def __init__(self, name: str, num_updates: int) -> None:
        self.bar = tqdm(total=num_updates, desc=f"  {name:10}", unit="update")

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        self.bar.update(trainer.global_step - self.bar.n)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        error = trainer.callback_metrics.get("val/rollout_nrmse")
        if error is not None:
            self.bar.set_postfix_str(f"validation error after 20 steps {float(error):.3f}")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.bar.close()


def _train(
    name: str,
    surrogate: Surrogate,
    files: dict[str, Path],
    folder: Path,
    work: Path,
    seed: int,
    size: Size,
) -> None:
    """Train one surrogate and save it; an interrupted training continues from its checkpoint."""
    if folder.exists():
        return
    every = max(1, size.num_updates // 6)
    checkpoint = ModelCheckpoint(
        work, filename="last", every_n_train_steps=every, enable_version_counter=False
    )
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=size.num_updates,
        max_epochs=-1,
        val_check_interval=every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[WholeCheckpoints()],
        callbacks=[
            EMA(0.999),
            SaveSurrogate(str(folder)),
            checkpoint,
            _Progress(name, size.num_updates),
        ],
    )
    resume = work / "last.ckpt"
    trainer.fit(
        SurrogateModule(surrogate, learning_rate=LEARNING_RATE, seed=seed),
        datamodule=TrajectoryDataModule(
            files["train"], files["validation"], batch_size=BATCH_SIZE, seed=seed
        ),
        ckpt_path=resume if resume.exists() else None,
        weights_only=True,
    )


def _report(page: Path, lesson: Path, arms: dict[str, Arm], truth: Truth, size: Size) -> None:
    """The report, the scores, and the findings as text, which marks that all is done."""
    equation, grid = truth.equation, truth.file.grid
    assert equation is not None
    scores = save_scores(page.with_name("scores.nc"), arms, truth)
    front: list[FrontPoint] = []
    for factor in tqdm((1, 2, 4), desc="  solver    ", unit="grid"):
        front += classical_front(
            equation,
            grid,
            truth.states[:, 0],
            truth.times,
            truth.states,
            coarsenings=(factor,),
            num_repeats=1,
        )
    findings = conclusions(scores, arms, sorted(front, key=lambda point: point.seconds))
    report(
        page,
        title="Three surrogates of the Kuramoto-Sivashinsky equation",
        question="The same network learns the next state, the change over one step, or the time "
        "derivative, with the same data and the same number of updates. How long do their "
        "forecasts of chaos stay useful, and what would a classical solver have cost?",
        findings=findings,
        arms=arms,
        reference=truth.states,
        grid=grid,
        times=truth.times,
        fields=truth.file.fields,
        equation=equation,
        front=front,
        facts={
            "equation": "u_t + u u_x + u_xx + u_xxxx = 0",
            "network": f"FNO, {size.depth} layers, width {size.width}, {size.num_modes} modes",
            "training": f"{size.num_trajectories} trajectories, {size.num_updates} updates of "
            f"{BATCH_SIZE} windows, AdamW, one learning rate {LEARNING_RATE:g} for all, cosine "
            "schedule, averaged weights, one seed",
            "command": "pdesurrogates demo",
        },
    )
    _write(lesson, "\n".join(findings) + "\n")


def conclusions(
    scores: Dataset, arms: dict[str, Arm], front: Sequence[FrontPoint]
) -> tuple[str, ...]:
    """What the scores say, as sentences: who lasted longest, is that clear, what does it cost."""
    times = scores.correlation_time.sel(threshold=0.8)
    means = {name: float(times.sel(model=name).mean()) for name in arms}
    ranked = sorted(means, key=means.__getitem__, reverse=True)
    ranking = ", ".join(f"{name} {means[name]:.1f}" for name in ranked)
    sentences = [f"Time to correlation 0.8, mean over unseen trajectories: {ranking} time units."]
    best = ranked[0]
    for name in ranked[1:]:
        difference, low, high = bootstrap_interval(
            (times.sel(model=best) - times.sel(model=name)).values
        )
        share = 100 * difference / means[name] if means[name] else float("inf")
        clear = "a clear difference" if low > 0 else "no clear difference"
        sentences.append(
            f"{best} lasts {difference:.1f} ({share:.0f} %) longer than {name}: {clear} over "
            f"these trajectories (95 % interval {low:.1f} to {high:.1f}), from one training seed."
        )
    error = float(scores.error.sel(model=best).mean(skipna=False))
    seconds = arms[best].seconds
    solver = cheapest_equal(front, error=error)
    assert seconds is not None
    if solver is None:
        sentences.append(f"No classical setting tried reaches the error of {best}, {error:.2g}.")
    else:
        ratio = seconds / solver.seconds
        verdict = f"{ratio:.1f} times faster" if ratio >= 1 else f"{1 / ratio:.1f} times slower"
        sentences.append(
            f"The classical solver is as good ({solver.label}) in {solver.seconds:.2g} s for all "
            f"trajectories, {best} takes {seconds:.2g} s: the solver is {verdict}."
        )
    return tuple(sentences)

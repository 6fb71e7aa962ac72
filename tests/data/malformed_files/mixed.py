"""Files whose parts do not fit together, and states that hold no numbers."""

import h5py
import numpy as np

from . import sound
from .core import CASES, change, changed, malformed, replace


def states_of(origin, key, edit):
    return lambda file: replace(file, key, edit(file[key][()]))


for label, edit in (
    ("with_fewer_frames", lambda u: u[:-1]),
    ("with_fewer_points", lambda u: u[:, :-1]),
    ("with_more_points", lambda u: np.concatenate([u, u], axis=1)),
    ("with_more_channels", lambda u: np.concatenate([u, u], axis=-1)),
    ("with_fewer_axes", lambda u: u[0]),
    ("in_double_precision", lambda u: u.astype("f8")),
    ("with_nothing_in_it", lambda u: u[:0]),
    ("of_text", lambda u: np.full(u.shape, b"1")),
):
    change(
        "mixed",
        f"sorption_trajectory_{label}",
        "sorption",
        states_of("sorption", "0001/data", edit),
        "0001/data",
    )
    if label != "in_double_precision":  # which holds all others exactly
        change(
            "mixed",
            f"first_sorption_trajectory_{label}",
            "sorption",
            states_of("sorption", "0000/data", edit),
            "0000|data",
        )
    change(
        "mixed",
        f"reaction_trajectory_{label}",
        "reaction",
        states_of("reaction", "0002/data", edit),
        "0002/data",
    )
change(
    "mixed",
    "sorption_trajectory_on_another_grid",
    "sorption",
    states_of("sorption", "0001/grid/x", lambda x: 2 * x),
    "0001/grid/x",
)
change(
    "mixed",
    "sorption_trajectory_at_other_times",
    "sorption",
    states_of("sorption", "0001/grid/t", lambda t: 2 * t),
    "0001/grid/t",
)
change(
    "mixed",
    "grouped_trajectory_of_another_family",
    "sorption",
    lambda f: (f.__delitem__("0001/data"), f.__setitem__("0001/data", sound.waves(5, 16, 12, 2))),
    "0001/data",
)

for origin, key, edit in (
    ("compressible", "Vx", lambda u: u[..., :-1]),
    ("compressible", "pressure", lambda u: u[:2]),
    ("compressible", "density", lambda u: u[:, :3]),
    ("darcy", "nu", lambda u: u[:2]),
    ("darcy", "tensor", lambda u: u[..., :-1]),
    ("incompressible", "particles", lambda u: u[:1]),
    ("incompressible", "force", lambda u: u[..., :1]),
    ("incompressible", "velocity", lambda u: u[:, :, :-1]),
    ("smoke", "train/vx", lambda u: u[:, :-1]),
    ("smoke", "train/u", lambda u: u[:2]),
    ("smoke", "train/dt", lambda u: u[:2]),
    ("smoke", "train/x", lambda u: np.stack([u[0], 2 * u[1], u[2]])),
    ("flat", "tensor", lambda u: u[:, :3]),
    ("flat", "tensor", lambda u: u[..., :-1]),
    ("well", "t0_fields/height", lambda u: u[:2]),
    ("well", "t0_fields/height", lambda u: u[:, :-1]),
    ("well", "t1_fields/velocity", lambda u: u[..., :1]),
    ("well", "scalars/viscosity", lambda u: np.ones(2, "f4")),
    ("mesh", "1/cells", lambda c: c + 100),
    ("mesh", "1/cells", lambda c: c - 5),
    ("mesh", "0/cells", lambda c: c[:, :2]),
    ("mesh", "1/velocity", lambda u: u[:-1]),
    ("mesh", "1/velocity", lambda u: u[:, :-1]),
    ("mesh", "1/velocity", lambda u: u[..., :1]),
    ("mesh", "1/mesh_pos", lambda p: p[:, :1]),
    ("mesh", "1/mesh_pos", lambda p: p[:-1]),
    ("mesh", "1/node_type", lambda n: n[:-1]),
    ("hdf5", "u", lambda u: u[:, :-1]),
):
    number_of = sum(name.startswith(f"{origin}_{key.split('/')[-1]}_misfit") for name in CASES)
    change(
        "mixed",
        f"{origin}_{key.split('/')[-1]}_misfit_{number_of}",
        origin,
        states_of(origin, key, edit),
        key.split("/")[-1] + "|coordinate|particles|1 must hold|1/",
    )


@malformed("mixed", "Sample_1")
def poseidon_samples_that_differ(folder):
    with h5py.File(folder / "a.nc", "w") as file:
        for index, n in enumerate((16, 12, 16)):
            group = file.create_group(f"Sample_{index}")
            group["a"], group["u"], group["bc"] = np.ones((n, n)), np.ones((n, n)), 1.0
    return folder / "a.nc", {}


@malformed("mixed", "c")
def poseidon_speeds_of_another_grid(folder):
    with h5py.File(folder / "a.nc", "w") as file:
        file["solution"], file["c"] = sound.waves(3, 5, 16, 12), sound.waves(3, 16, 11)
    return folder / "a.nc", {}


@malformed("mixed", "train")
def smoke_of_two_splits(folder):
    with changed(folder, "smoke") as (file, path, options):
        file.copy("train", "test")
    return path, options


@malformed("mixed", "coordinate|trajectories")
def the_well_on_moving_grids(folder):
    with changed(folder, "well") as (file, path, options):
        x = file["dimensions/x"][()]
        replace(file, "dimensions/x", np.stack([x, 2 * x, x])).attrs["sample_varying"] = True
    return path, options


# Numbers that are none: they can be read, but nothing may be trained on them.

for origin, key in (
    ("well", "t0_fields/height"),
    ("well", "t1_fields/velocity"),
    ("flat", "tensor"),
    ("compressible", "pressure"),
    ("sorption", "0001/data"),
    ("incompressible", "velocity"),
    ("smoke", "train/u"),
    ("poseidon", "velocity"),
    ("netcdf4", "u"),
    ("gzip", "u"),
):
    for label, value in (("nan", np.nan), ("inf", np.inf)):

        def block(file, key=key, value=value):
            states = file[key]
            at = (slice(2, 4), slice(1, 3)) if key == "0001/data" else (1, slice(2, 4), 0)
            states[at] = value

        change("values", f"{origin}_{label}_block_in_{key.split('/')[-1]}", origin, block)

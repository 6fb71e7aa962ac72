"""Files without times or coordinates, or with wrong ones."""

import numpy as np
import scipy.io

from . import sound
from .core import change, malformed, replace


def without(origin, key, names=None):
    label = key.split("/")[-1].replace("-", "_")
    change(
        "axis",
        f"{origin}_without_{label}",
        origin,
        lambda f: f.__delitem__(key),
        f"{key}|tensor|000./data|1 must hold" if names is None else names,
    )


for origin, key in (
    ("flat", "x-coordinate"),
    ("flat", "t-coordinate"),
    ("compressible", "t-coordinate"),
    ("compressible", "x-coordinate"),
    ("darcy", "y-coordinate"),
    ("sorption", "0000/grid"),
    ("incompressible", "t"),
    ("well", "dimensions/time"),
    ("well", "dimensions/x"),
    ("mesh", "1/mesh_pos"),
    ("mesh", "1/cells"),
    ("hdf5", "t"),
    ("hdf5", "x"),
):
    without(origin, key)
without("sorption", "0000/grid/t", "t")
without("sorption", "0002/grid/x", "0002/grid")
without("sorption", "0001/data", "0001/data")


def spoilt(label, spoil):
    """Times and coordinates of every family, made wrong by `spoil(values) -> values`."""
    for origin, key in (
        ("flat", "x-coordinate"),
        ("flat", "t-coordinate"),
        ("compressible", "y-coordinate"),
        ("sorption", "0000/grid/x"),
        ("sorption", "0000/grid/t"),
        ("reaction", "0001/grid/y"),
        ("incompressible", "t"),
        ("smoke", "train/x"),
        ("smoke", "train/t"),
        ("well", "dimensions/time"),
        ("well", "dimensions/y"),
        ("hdf5", "x"),
        ("hdf5", "t"),
        ("netcdf4", "x"),
    ):
        name = f"{origin}_{key.replace('-', '_').replace('/', '_')}_{label}"

        def edit(file, key=key):
            values = spoil(file[key][()].astype("f8"))
            if values.shape == file[key].shape:
                file[key][...] = values
            else:
                replace(file, key, values)

        change("axis", name, origin, edit, key.split("/")[-1].split("-")[0])


def at(index, value):
    def spoil(values):
        values[..., index] = value(values) if callable(value) else value
        return values

    return spoil


spoilt("has_a_nan", at(2, np.nan))
spoilt("has_an_inf", at(3, np.inf))
spoilt("repeats_itself", at(2, lambda v: v[..., 1]))
spoilt("turns_around", at(3, lambda v: v[..., 0] - 1))
spoilt("is_too_short", lambda values: values[..., :-2])
spoilt("is_too_long", lambda values: np.concatenate([values, values[..., :3] + 1e3], axis=-1))
spoilt("has_no_entries", lambda values: values[..., :0])


@malformed("axis", "x|time")
def arrays_of_nothing(folder):
    np.savez(folder / "a.npz", u=np.zeros((0, 5, 16)), x=sound.axis(16), t=sound.axis(5))
    return folder / "a.npz", {"periodic": True}


@malformed("axis", "empty|no values")
def netcdf4_of_nothing(folder):
    sound.dataset().isel(time=slice(0)).to_netcdf(folder / "a.nc", engine="h5netcdf")
    return folder / "a.nc", {"periodic": True}


@malformed("axis", "x")
def npz_points_that_are_nan(folder):
    np.savez(folder / "a.npz", **{**sound.arrays(), "x": np.full(sound.NX, np.nan)})
    return folder / "a.npz", {"periodic": True}


@malformed("axis", "time")
def matlab_times_that_fall(folder):
    scipy.io.savemat(folder / "a.mat", {**sound.arrays(), "t": sound.axis(sound.FRAMES)[::-1]})
    return folder / "a.mat", {"periodic": True}


@malformed("axis", "time")
def netcdf3_times_that_are_nan(folder):
    data = sound.dataset().assign_coords(time=np.full(sound.FRAMES, np.nan))
    data.to_netcdf(folder / "a.nc", engine="scipy")
    return folder / "a.nc", {"periodic": True}

"""Files that hold something else than numbers."""

import os

import h5py
import numpy as np
import scipy.io
import torch

from . import sound
from .core import change, malformed, replace
from .sizes import AXES, SHAPE, arrays, saved, zipped

for label, value in (
    ("texts", np.full(SHAPE, b"a")),
    ("texts_of_any_length", np.full(SHAPE, "a", dtype=h5py.string_dtype())),
    ("records", np.zeros(SHAPE, [("a", "f4"), ("b", "i4")])),
    ("vectors_of_any_length", None),
    ("references", None),
    ("opaque_bytes", np.zeros(SHAPE, "V8")),
    ("dates", np.zeros(SHAPE, "M8[s]").astype(h5py.opaque_dtype("M8[s]"))),
    ("nothing", h5py.Empty("f4")),
):

    def fill(file, label=label, value=value):
        if label == "references":
            value = np.full(SHAPE, file["x"].ref, dtype=h5py.ref_dtype)
        if label == "vectors_of_any_length":
            file.create_dataset("u", SHAPE, h5py.vlen_dtype("f4"))[0, 0, 0] = [1, 2]
        else:
            file["u"] = value

    arrays("type", f"states_are_{label}", fill)
    if label not in ("references", "vectors_of_any_length"):
        change(
            "type",
            f"the_well_states_are_{label}",
            "well",
            lambda f, value=value: replace(f, "t0_fields/height", value),
            "height",
        )

for origin, key in (
    ("flat", "tensor"),
    ("compressible", "pressure"),
    ("darcy", "nu"),
    ("sorption", "0001/data"),
    ("incompressible", "velocity"),
    ("smoke", "train/vx"),
    ("well", "dimensions/x"),
    ("mesh", "1/velocity"),
):
    label = key.split("/")[-1]
    change(
        "type",
        f"{origin}_{label}_are_texts",
        origin,
        lambda f, key=key: replace(f, key, np.full(f[key].shape, b"1.5")),
        f"{key}|{label}",
    )
    change(
        "type",
        f"{origin}_{label}_are_complex",
        origin,
        lambda f, key=key: replace(f, key, f[key][()].astype("c8")),
        f"{key}|{label}",
    )
    change(
        "type",
        f"{origin}_{label}_is_a_group",
        origin,
        lambda f, key=key: (f.__delitem__(key), f.create_group(key)),
        f"{key}|{label}",
    )

change(
    "type",
    "the_well_dimensions_is_a_data_set",
    "well",
    lambda f: (f.__delitem__("dimensions"), f.__setitem__("dimensions", 1.0)),
    "dimensions",
)
change(
    "type",
    "the_well_t0_fields_is_a_data_set",
    "well",
    lambda f: (f.__delitem__("t0_fields"), f.__setitem__("t0_fields", 1.0)),
    "t0_fields",
)
change(
    "type",
    "the_well_spatial_dims_are_numbers",
    "well",
    lambda f: f["dimensions"].attrs.__setitem__("spatial_dims", [1, 2]),
    "dimensions",
)
change(
    "type",
    "the_well_field_names_are_numbers",
    "well",
    lambda f: f["t0_fields"].attrs.__setitem__("field_names", [7.0]),
    "t0_fields",
)
change(
    "type",
    "the_well_scalar_is_a_text",
    "well",
    lambda f: replace(f, "scalars/viscosity", "thick"),
    "viscosity",
)
change(
    "type",
    "grouped_group_is_a_data_set",
    "sorption",
    lambda f: (f.__delitem__("0001"), f.__setitem__("0001", 1.0)),
    "0001",
)
change(
    "type",
    "grouped_grid_is_a_data_set",
    "sorption",
    lambda f: (f.__delitem__("0000/grid"), f.__setitem__("0000/grid", 1.0)),
    "0000/grid",
)
change(
    "type",
    "times_are_texts",
    "flat",
    lambda f: replace(f, "t-coordinate", np.full(6, b"1")),
    "t-coordinate",
)
change(
    "type",
    "cells_are_not_whole_numbers",
    "mesh",
    lambda f: replace(f, "1/cells", f["1/cells"][()] + 0.5),
    "1/cells",
)
arrays("type", "a_filter_that_is_not_here", lambda f: unknown_filter(f), "filter 32999")


def unknown_filter(file):
    create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    create.set_chunk(SHAPE)
    create.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple(SHAPE)
    made = h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F32LE, space, create)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, sound.waves(*SHAPE))


class Trap:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


OBJECTS = np.array([Trap()] * 4, dtype=object)
NPY = {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0}


@malformed("type")
def npy_of_objects(folder):
    (folder / "a.npy").write_bytes(saved(OBJECTS, allow_pickle=True))
    return folder / "a.npy", NPY


@malformed("type", "u")
def npz_of_objects(folder):
    members = {"u.npy": saved(OBJECTS, allow_pickle=True), **AXES}
    return zipped(folder / "a.npz", members)


@malformed("type")
def npz_of_no_arrays(folder):
    return zipped(folder / "a.npz", {"u.txt": b"1 2 3", "t.txt": b"1"})


@malformed("type")
def npy_of_texts(folder):
    np.save(folder / "a.npy", np.full(SHAPE, "a"))
    return folder / "a.npy", NPY


@malformed("type")
def torch_file(folder):
    torch.save({"u": torch.zeros(*SHAPE)}, folder / "a.pt")
    return folder / "a.pt", {"periodic": True}


@malformed("type")
def matlab_of_texts_and_cells(folder):
    cells = np.array([1, "a"], dtype=object)
    scipy.io.savemat(folder / "a.mat", {"u": "states", "x": cells, "t": {"a": 1}})
    return folder / "a.mat", {"periodic": True}

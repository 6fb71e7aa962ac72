"""Files whose numbers are elsewhere."""

import os

import h5py
import numpy as np

from . import sound
from .core import add, change, malformed
from .sizes import SHAPE, bare


def linked(name, link, names="u", *, beside=None):
    """The states of a file of arrays are a link; `beside(folder)` makes what it leads to."""

    def build(folder):
        inside = folder / "inside"
        inside.mkdir()
        if beside is not None:
            beside(folder)
        return bare(inside, lambda file: file.__setitem__("u", link))

    add("link", name, build, names)


def store(path, values=None):
    with h5py.File(path, "w") as file:
        file["u"] = sound.waves(*SHAPE) if values is None else values


linked(
    "link_out_of_the_folder",
    h5py.ExternalLink("../secret.h5", "u"),
    beside=lambda folder: store(folder / "secret.h5"),
)
linked("link_to_the_machine", h5py.ExternalLink("/etc/hostname", "u"))
linked("link_to_a_file_that_is_gone", h5py.ExternalLink("gone.h5", "u"))
linked(
    "link_to_no_hdf5_file",
    h5py.ExternalLink("text.h5", "u"),
    beside=lambda folder: (folder / "inside/text.h5").write_text("u"),
)
linked(
    "link_by_way_of_a_symbolic_link",
    h5py.ExternalLink("alias.h5", "u"),
    beside=lambda folder: (
        store(folder / "secret.h5"),
        (folder / "inside/alias.h5").symlink_to("../secret.h5"),
    ),
)
linked("link_to_itself", h5py.SoftLink("/u"))
linked("link_to_nothing", h5py.SoftLink("/gone"))
linked(
    "link_in_circles_over_two_files",
    h5py.ExternalLink("other.h5", "u"),
    beside=lambda folder: store(folder / "inside/other.h5", h5py.ExternalLink("a.h5", "u")),
)


@malformed("link", "u")
def link_to_a_fifo(folder):
    os.mkfifo(folder / "fifo.h5")
    return bare(folder, lambda file: file.__setitem__("u", h5py.ExternalLink("fifo.h5", "u")))


@malformed("link", "u|group")
def group_that_contains_itself(folder):
    def fill(file):
        file["group/u"] = sound.waves(*SHAPE[:2])
        file["group/group"] = file["group"]

    return bare(folder, fill)


def virtual(name, source, names="u", *, rows=sound.COUNT):
    def build(folder):
        inside = folder / "inside"
        inside.mkdir()
        store(folder / "secret.h5")
        layout = h5py.VirtualLayout(SHAPE, "f4")
        for row in range(rows):
            layout[row] = h5py.VirtualSource(source, "u", SHAPE)[row]
        return bare(inside, lambda file: file.create_virtual_dataset("u", layout))

    add("link", name, build, names)


virtual("virtual_values_out_of_the_folder", "../secret.h5")
virtual("virtual_values_that_are_gone", "gone.h5")
virtual("virtual_values_of_itself", ".")
virtual("virtual_values_not_all_there", ".", rows=2)


@malformed("link", "u keeps its values")
def values_in_a_file_without_hdf5(folder):
    sound.waves(*SHAPE).tofile(folder / "u.bin")
    place = [(str(folder / "u.bin"), 0, 4 * int(np.prod(SHAPE)))]
    return bare(folder, lambda file: file.create_dataset("u", SHAPE, "f4", external=place))


change(
    "link",
    "the_well_field_out_of_the_folder",
    "well",
    lambda f: (
        f.__delitem__("t0_fields/height"),
        f.__setitem__("t0_fields/height", h5py.ExternalLink("/etc/hostname", "u")),
    ),
    "t0_fields/height",
)
change(
    "link",
    "grouped_data_out_of_the_folder",
    "sorption",
    lambda f: (
        f.__delitem__("0001"),
        f.__setitem__("0001", h5py.ExternalLink("/etc/hostname", "0001")),
    ),
    "0001",
)
change(
    "link",
    "mesh_cells_out_of_the_folder",
    "mesh",
    lambda f: (
        f.__delitem__("1/cells"),
        f.__setitem__("1/cells", h5py.ExternalLink("/etc/hostname", "cells")),
    ),
    "1/cells",
)
change(
    "link",
    "netcdf4_variable_out_of_the_folder",
    "netcdf4",
    lambda f: (f.__delitem__("u"), f.__setitem__("u", h5py.ExternalLink("/etc/hostname", "u"))),
    "u",
)

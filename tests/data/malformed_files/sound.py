"""One small sound file of every family and format, to be made unsound.

Every builder writes to a folder and returns the file and the options that open it. Values are all
different and far from zero, so that a wrong read shows.
"""

import importlib.util
import itertools
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import xarray

from pdesurrogates.core import Dirichlet, FieldSpec, Grid, Neumann, Periodic
from pdesurrogates.data import write_trajectories

__all__ = ["SOUND", "waves"]

COUNT, FRAMES, NX, NY = 3, 5, 16, 12


def _beside_the_folder(name):
    path = Path(__file__).parent.with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


layouts = _beside_the_folder("published_layouts")


def waves(*shape, seed=0):
    """Numbers that no compression makes small."""
    return 2 + np.random.default_rng(seed).random(shape).astype("f4")


def axis(n, length=1.0):
    return np.arange(n) * (length / n)


def ours(folder):
    u = waves(COUNT, FRAMES, 3, NX, NY)
    path = write_trajectories(
        folder / "ours.h5",
        u,
        fields=FieldSpec(("density", "velocity_x", "velocity_y"), ("kg/m^3", "m/s", "m/s")),
        grid=Grid((NX, NY), (1.0, 2.0), (0.1, 0.3), periodic=(True, False)),
        times=0.1 * np.arange(FRAMES) + 0.05,
        parameters={"viscosity": [0.1, 0.2, 0.3], "gamma": 1.4},
        attributes={"recipe": "none"},
        boundaries=(Periodic(), (Dirichlet(0.0), Neumann(0.5))),
    )
    return path, {}


def well(folder):
    """The Well as others write it: no group of ours, compressed in chunks."""
    path = folder / "well.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"dataset_name": "waves", "grid_type": "cartesian"})
        file.attrs.update({"n_trajectories": COUNT, "n_spatial_dims": 2})
        names(file, "simulation_parameters", ["viscosity"])
        file.attrs["viscosity"] = 0.1
        dims = file.create_group("dimensions")
        names(dims, "spatial_dims", ["x", "y"])
        for name, values in (("time", axis(FRAMES)), ("x", axis(NX)), ("y", axis(NY, 2.0))):
            flags(dims.create_dataset(name, data=values.astype("f4")), False, name == "time")
        scalars = file.create_group("scalars")
        names(scalars, "field_names", ["viscosity"])
        flags(scalars.create_dataset("viscosity", data=np.float32(0.1)), False, False)
        for rank, name in enumerate(("height", "velocity", None)):
            group = file.create_group(f"t{rank}_fields")
            names(group, "field_names", [name] if name else [])
            if name:
                u = waves(COUNT, FRAMES, NX, NY, *[2] * rank, seed=rank)
                made = group.create_dataset(name, data=u, chunks=(1, 2, *u.shape[2:]),
                                            compression="gzip")  # fmt: skip
                flags(made, True, True)
                made.attrs["dim_varying"] = [True, True]
        ends = file.create_group("boundary_conditions")
        for name, n in (("x", NX), ("y", NY)):
            own = ends.create_group(f"{name}_periodic")
            names(own, "associated_dims", [name])
            own.attrs.update({"bc_type": "PERIODIC"})
            mask = np.zeros(n, dtype=bool)
            mask[[0, -1]] = True
            own["mask"] = mask
    return path, {}


def names(owner, key, texts):
    owner.attrs.create(key, texts, shape=(len(texts),), dtype=h5py.string_dtype())


def flags(dataset, by_sample, by_time):
    dataset.attrs.update({"sample_varying": by_sample, "time_varying": by_time})


def flat(folder):
    layouts.flat(folder / "flat.h5", {"beta": 0.4}, states=waves(COUNT, FRAMES, 1, NX))
    return folder / "flat.h5", {}


def compressible(folder):
    layouts.compressible(folder / "gas.h5", 2, states=waves(COUNT, FRAMES, 4, NX, NY))
    return folder / "gas.h5", {}


def darcy(folder):
    layouts.darcy(folder / "darcy.h5")
    return folder / "darcy.h5", {}


def sorption(folder):
    layouts.grouped(folder / "sorption.h5", "sorption", space=(NX,))
    return folder / "sorption.h5", {}


def reaction(folder):
    layouts.grouped(folder / "reaction.h5", "reaction", space=(NX, NY))
    return folder / "reaction.h5", {}


def incompressible(folder):
    layouts.incompressible(folder / "flow.h5")
    return folder / "flow.h5", {}


def smoke(folder):
    path, arrays = folder / "smoke.h5", {n: waves(COUNT, FRAMES, NX, NY) for n in ("vx", "vy")}
    arrays |= {
        "u": waves(COUNT, FRAMES, NX, NY, seed=1),
        "t": np.tile(np.linspace(18.0, 18.0 + 6.0 * FRAMES, FRAMES), (COUNT, 1)),
        "x": np.tile(np.linspace(0, 32.0, NX), (COUNT, 1)),
        "y": np.tile(np.linspace(0, 32.0, NY), (COUNT, 1)),
        "dt": np.full(COUNT, 6.0),
        "dx": np.full(COUNT, 32.0 / (NX - 1)),
        "dy": np.full(COUNT, 32.0 / (NY - 1)),
        "buo_y": np.array([0.2, 0.5, 0.4]),
    }
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[f"train/{name}"] = values
    return path, {}


def poseidon(folder):
    path = folder / "poseidon.nc"
    with h5py.File(path, "w") as file:
        file["velocity"] = waves(COUNT, FRAMES, 2, NX, NX)
    return path, {}


def mesh(folder):
    path = folder / "mesh.h5"
    x, y = (v.ravel() for v in np.meshgrid(np.arange(4.0), np.arange(3.0), indexing="ij"))
    corner = np.array([3 * i + j for i, j in itertools.product(range(3), range(2))])
    cells = np.stack([corner, corner + 3, corner + 1], axis=1).astype("i4")
    with h5py.File(path, "w") as file:
        for index in range(COUNT):
            group = file.create_group(str(index))
            group["mesh_pos"] = np.stack([x, y], axis=1).astype("f4")
            group["cells"], group["node_type"] = cells, np.zeros((12, 1), "i4")
            group["velocity"] = waves(FRAMES, 12, 2, seed=index)
    return path, {"dt": 0.1}


def dataset(seed=0):
    """Trajectories for xarray."""
    u = waves(COUNT, FRAMES, NX, seed=seed)
    coordinates = {"time": axis(FRAMES), "x": axis(NX)}
    return xarray.Dataset({"u": (("trajectory", "time", "x"), u)}, coordinates)


def netcdf3(folder):
    dataset().to_netcdf(folder / "three.nc", engine="scipy")
    return folder / "three.nc", {"periodic": True}


def netcdf4(folder):
    dataset().to_netcdf(folder / "four.nc", engine="h5netcdf")
    return folder / "four.nc", {"periodic": True}


def arrays():
    """Names and values of a file of bare arrays."""
    return {"u": waves(COUNT, FRAMES, NX), "x": axis(NX), "t": axis(FRAMES)}


def npz(folder):
    np.savez(folder / "arrays.npz", **arrays())
    return folder / "arrays.npz", {"periodic": True}


def npz_compressed(folder):
    np.savez_compressed(folder / "arrays.npz", **arrays())
    return folder / "arrays.npz", {"periodic": True}


def npy(folder):
    np.save(folder / "array.npy", arrays()["u"])
    return folder / "array.npy", {"axes": "trajectory time x", "dt": 0.1, "extent": 1.0}


def matlab(folder):
    scipy.io.savemat(folder / "arrays.mat", arrays())
    return folder / "arrays.mat", {"periodic": True}


def matlab_compressed(folder):
    scipy.io.savemat(folder / "arrays.mat", arrays(), do_compression=True)
    return folder / "arrays.mat", {"periodic": True}


def hdf5(folder, *, libver=None, **storage):
    """Bare arrays; `storage` is how the states are kept."""
    path = folder / "arrays.h5"
    with h5py.File(path, "w", libver=libver) as file:
        for name, values in arrays().items():
            own = storage if name == "u" else {}
            file.create_dataset(name, data=values, **own)
    return path, {"periodic": True}


def gzip(folder):
    return hdf5(folder, chunks=(1, 2, NX), compression="gzip", shuffle=True)


def lzf(folder):
    return hdf5(folder, chunks=(1, 2, NX), compression="lzf")


def fletcher32(folder):
    return hdf5(folder, chunks=(1, 2, NX), fletcher32=True)


def latest(folder):
    return hdf5(folder, libver="latest", chunks=(1, 2, NX), compression="gzip")


SOUND = {
    build.__name__: build
    for build in (
        ours, well, flat, compressible, darcy, sorption, reaction, incompressible, smoke, poseidon,
        mesh, netcdf3, netcdf4, npz, npz_compressed, npy, matlab, matlab_compressed, hdf5, gzip,
        lzf, fletcher32, latest,
    )
}  # fmt: skip

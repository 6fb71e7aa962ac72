"""Small files made to the layouts that PDEBench publishes, and what a reader must find in them.

Every writer returns the states in memory order (trajectory, time, channel, x[, y[, z]]), all
numbers different, so that any two swapped axes or trajectories show. Grids are not square.
"""

import h5py
import numpy as np

CONFIGS = {
    "sorption": {
        "sim": {
            "D": "0.0005",
            "por": "0.29",
            "rho_s": "2880",
            "k_f": "0.00035",
            "n_f": "0.874",
            "sol": "1.0",
            "t": "500",
            "tdim": "501",
            "x_left": "0.0",
            "x_right": "1.0",
            "xdim": "1024",
            "n": "1",
        },
    },
    "reaction": {
        "sim": {"Du": "1E-3", "Dv": "5E-3", "k": "5E-3", "t": "5", "tdim": "5", "xdim": "128"},
    },
    "water": {
        "sim": {
            "T_end": "1.0",
            "n_time_steps": "4",
            "xdim": "128",
            "gravity": "1.0",
            "dam_radius": "0.5",
            "inner_height": "2.0",
        },
    },
}


def coded(*shape):
    """A different number at every place, exact in float32."""
    return np.arange(np.prod(shape), dtype="f4").reshape(shape) + 1


def centres(n, low, high):
    """Cell centres in float32, computed in float32 as the generators do."""
    edges = np.linspace(low, high, n + 1).astype("f4")
    return edges[:-1] + np.float32(0.5 * (high - low) / n)


def times(n, step):
    return (np.arange(n) * np.float32(step)).astype("f4")


def flat(
    path,
    attributes,
    *,
    samples=3,
    frames=5,
    points=8,
    domain=(0.0, 1.0),
    step=0.01,
    devices=None,
    surplus=1,
    states=None,
):
    """1D advection (beta), Burgers (Nu) or reaction-diffusion (Nu, rho)."""
    if states is None:
        states = coded(samples, frames, 1, points)
    stored = states[:, :, 0]
    if devices:
        stored = stored.reshape(devices, -1, *stored.shape[1:])
    with h5py.File(path, "w") as file:
        file["tensor"] = stored.astype("f4")
        file["x-coordinate"] = centres(states.shape[-1], *domain)
        file["t-coordinate"] = times(states.shape[1] + surplus, step)
        file.attrs.update(attributes)
    return states


def compressible(
    path, dims, *, samples=3, frames=4, lead="sample", surplus=1, states=None, singles=0
):
    """Density, velocities and pressure as data sets of their own."""
    space = (6, 5, 4)[:dims]
    if states is None:
        states = coded(samples, frames, dims + 2, *space)
    names = ["density", *("Vx", "Vy", "Vz")[:dims], "pressure"]
    with h5py.File(path, "w") as file:
        for channel, name in enumerate(names):
            values = states[:, :, channel]
            if lead == "none":
                values = values[0]
            elif lead == "device":
                values = values[None]
            file[name] = values.reshape(*values.shape, *(1,) * singles).astype("f4")
        for axis, n in zip("xyz", states.shape[3:], strict=False):
            file[f"{axis}-coordinate"] = centres(n, *((-1, 1) if dims == 1 else (0, 1)))
        file["t-coordinate"] = times(states.shape[1] + surplus, 0.05)
        file.attrs.update({"eta": 0.01, "zeta": 0.02, **({"M": 0.1} if dims > 1 else {})})
    return states


def darcy(path, *, samples=3, beta=1.0):
    """`nu` (sample, x, y) and `tensor` (sample, 1, x, y)."""
    states = coded(samples, 1, 2, 6, 5)
    with h5py.File(path, "w") as file:
        file["nu"] = states[:, 0, 0]
        file["tensor"] = states[:, :, 1]
        file["x-coordinate"], file["y-coordinate"] = centres(6, 0, 1), centres(5, 0, 1)
        file.attrs["beta"] = beta
    return states


def config_text(family, seed, **entries):
    """The stored configuration as OmegaConf prints it."""
    lines = ["work_dir: /somewhere", "name: run", "sim:"]
    sim = CONFIGS[family]["sim"] | {name: str(value) for name, value in entries.items()}
    lines += [f"  {name}: {value}" for name, value in sim.items()] + [f"  seed: {seed}"]
    return "\n".join([*lines, "plot:", "  t_idx: 1.0", "  dim: 2", "dataverse:", "  k: 7"]) + "\n"


def grouped(
    path, family, *, seeds=(0, 1, 2), space=None, frames=5, with_config=True, surplus=0, **entries
):
    """One group per seed; `entries` change the configuration, a function of the seed each."""
    dims = 1 if family == "sorption" else 2
    space = space or (6, 5)[:dims]
    channels = 2 if family == "reaction" else 1
    states = coded(len(seeds), frames, channels, *space)
    ends = {"sorption": (0, 1), "reaction": (-1, 1), "water": (-2.5, 2.5)}[family]
    last = {"sorption": 500, "reaction": 5, "water": 1}[family]
    filters = {} if family == "water" else {"compression": "lzf"}
    with h5py.File(path, "w") as file:
        for row, seed in enumerate(seeds):
            values = np.moveaxis(states[row], 1, -1)
            if family == "reaction":
                values = values.swapaxes(1, 2)
            group = f"{seed:04d}"
            file.create_dataset(f"{group}/data", data=values, dtype="f4", **filters)
            for axis, n in zip("xy", space, strict=False):
                file.create_dataset(f"{group}/grid/{axis}", data=centres(n, *ends), **filters)
            t = np.linspace(0, last, frames + surplus).astype("f4")
            file.create_dataset(f"{group}/grid/t", data=t, **filters)
            if with_config:
                own = {name: value(seed) for name, value in entries.items()}
                file[group].attrs["config"] = config_text(family, seed, **own)
    return states


def incompressible(path, *, samples=2, frames=4, written=None, same_times=False, config=None):
    """Velocity, particles and force with the component last; times per sample."""
    space, written = (6, 5), frames if written is None else written
    states = coded(samples, frames, 5, *space)
    states[:, :, 3:] = states[:, :1, 3:]  # the force does not change in time
    states[:, written:, :3] = 0
    t = 0.005 * np.arange(frames) * (1 + (0 if same_times else np.arange(samples)[:, None]))
    t = np.broadcast_to(t, (samples, frames)).astype("f4").copy()
    t[:, written:] = 0
    if config is None:
        config = "grid_size:\n- 6\n- 5\ndomain_size:\n- 1\n- 1\nNU: 0.01\nDT: 5.0e-05\n"
    with h5py.File(path, "w") as file:
        last = np.moveaxis(states, 2, -1)
        for name, part in (("velocity", slice(0, 2)), ("particles", slice(2, 3))):
            values = last[..., part]
            chunks = (1, 1, *values.shape[2:])
            made = file.create_dataset(
                name, values.shape, "f4", chunks=chunks, compression="lzf", shuffle=True
            )
            made[:, :written] = values[:, :written]
        file.create_dataset("force", data=last[:, 0, ..., 3:], compression="lzf", shuffle=True)
        file.create_dataset("t", data=t)
        file.attrs["config"], file.attrs["latestIndex"] = config, written - 1
    return states[:, :written]

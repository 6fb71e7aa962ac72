"""netCDF files, version 3 and 4, read in slices; packed and missing values are decoded."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pdesurrogates.core import FieldSpec
from pdesurrogates.data.arrays import channel_names
from pdesurrogates.data.base import TrajectoryFile
from pdesurrogates.data.endpoints import detect_periodic, sample_states
from pdesurrogates.data.foreign import ForeignBlock
from pdesurrogates.data.guard import read_attributes, read_small, reading, require_dataset
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.heaps import watched
from pdesurrogates.data.location import array_format
from pdesurrogates.data.statement import Statement, from_block
from pdesurrogates.data.storage import ArrayBlock, Block
from pdesurrogates.data.xarray_bridge import FieldPlan

__all__ = ["NetcdfHandle", "is_netcdf4", "read_netcdf"]

_PACKING = ("scale_factor", "add_offset", "missing_value", "_Unsigned", "valid_range")
_PLACEHOLDER = b"This is a netCDF dimension but not a netCDF variable"
_LARGE = 64 * 2**20
_REMEDY = "Copy or generate it again, or open it with xarray and use from_xarray."


def is_netcdf4(path: Path | str) -> bool:
    """Whether an HDF5 file was written by netCDF (it then has dimension scales)."""
    with (
        FileHandle(path).opened() as opened,
        reading(path, "the list of its contents"),
        watched(opened) as file,
    ):
        return "_NCProperties" in file.attrs or any(
            file[name].attrs.get("CLASS") == b"DIMENSION_SCALE"
            for name in file
            if isinstance(file.get(name, getlink=True), h5py.HardLink)
            and isinstance(file[name], h5py.Dataset)
        )


def read_netcdf(
    path: Path | str,
    *,
    axes: str | Sequence[str] | None = None,
    variable: str | None = None,
    dt: float | None = None,
    extent: float | Sequence[float] | None = None,
    fields: FieldSpec | Sequence[str] | str | None = None,
    periodic: bool | None = None,
    drop_repeated_endpoint: bool = False,
) -> TrajectoryFile:
    """A netCDF file whose variables have the dims time and x[, y, z], optionally trajectory.

    Values are decoded as the conventions say (scale_factor, add_offset, _FillValue: missing values
    are NaN). Times are numbers in the unit of the file, whatever date they count from.

    Args:
        path: The file or address.
        axes: Names of the dims of the variables, where they are called otherwise.
        variable: The one variable to read; by default all with these dims.
        dt, extent, fields, periodic, drop_repeated_endpoint: As for `read_arrays`; they go before
            what the file states.

    Raises:
        ValueError: If the file is damaged or no variable has the axes.
    """
    where = str(path)
    handle = NetcdfHandle(path)
    with handle.opened() as dataset:
        plan = FieldPlan.of(dataset, where=where, axes=axes, variable=variable)
        blocks = [_block(handle, dataset, plan, name) for name in plan.names]
        block: Block = blocks[0] if len(blocks) == 1 else JoinedBlock(blocks)
        shape = (
            dataset.sizes[plan.trajectory] if plan.trajectory else 1,
            dataset.sizes[plan.time],
            block.num_channels,
            *(dataset.sizes[dim] for dim in plan.space),
        )
        if 0 in shape:
            raise ValueError(
                f"{where}: variables {', '.join(plan.names)} are empty, their sizes are "
                f"{dict(dataset.sizes)}."
            )
        times, notes = _times(dataset, plan, dt, where=where)
        stated = plan.stated_grid(dataset) if periodic is None and extent is None else None
        vectors = {}
        if stated is None and extent is None:
            vectors = plan.vectors(dataset, where=where)
        flags: bool | Sequence[bool] = True if periodic is None else periodic
        if stated is not None:
            flags = stated.is_periodic
        elif periodic is None:
            known = {word: vectors.get(word) for word in plan.words}
            flags, decisions = detect_periodic(sample_states(block, *shape[:2]), known)
            notes += decisions
        statement = Statement(
            times=times,
            dt=dt,
            coordinates=vectors or None,
            grid=stated,
            extent=extent,
            parameters=plan.parameters(dataset),
            periodic=flags,
            drop_repeated_endpoint=drop_repeated_endpoint,
            attributes={str(key): value for key, value in dataset.attrs.items()},
        )
        spec = plan.fields(dataset)
        if fields is not None:
            spec = channel_names(fields, block.num_channels)
        return from_block(
            block, spec, plan.words, shape, statement, path=path, layout="netCDF", notes=notes
        )


class NetcdfHandle(FileHandle):
    """One netCDF file through xarray, opened when first needed and once per process."""

    def _forget(self) -> None:
        super()._forget()
        self._open: xr.Dataset | None = None

    @cached_property
    def is_hdf5(self) -> bool:
        """Whether it is netCDF-4."""
        return array_format(self.path) == "HDF5"

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The data set; closed afterwards unless it was open before.

        Raises:
            ValueError: If the file is damaged, or a package is missing.
        """
        self._enter_process()
        was_open = self._open is not None
        try:
            yield self.open_dataset()
        finally:
            if not was_open:
                self.close()

    def open_dataset(self) -> xr.Dataset:
        """The data set, not decoded in time, nothing loaded."""
        self._enter_process()
        if self._open is None:
            if self.is_hdf5:
                _check_contents(self.path)
            source: Any = self.path
            if not self.is_local:
                import fsspec

                source = self._stream = fsspec.open(self.path, "rb").open()  # type: ignore
            try:
                self._open = xr.open_dataset(
                    source,
                    engine="h5netcdf" if self.is_hdf5 else "scipy",
                    decode_times=False,
                    cache=False,
                )
            except Exception as error:  # parsers of foreign formats raise anything
                raise ValueError(_unreadable(self.path, error)) from error
            if not self.is_local:  # HDF5 must not outlive the stream at the end of the process
                weakref.finalize(self, _close_both, self._open, source)
        return self._open

    def dataset(self, key: str) -> Any:
        """The variable `key`: shape, type and decoded values by slices."""
        return _Decoded(self.open_dataset()[key].variable)

    def close(self) -> None:
        """Close what this process opened (or inherited)."""
        if self._open is not None:
            self._open.close()
        super().close()


class _Decoded:
    """A variable as an array that is read and decoded when sliced."""

    def __init__(self, variable: xr.Variable) -> None:
        self.shape = variable.shape
        self.dtype = np.dtype(variable.dtype)
        self._variable = variable

    def __getitem__(self, selection: Any) -> np.ndarray:
        return self._variable[selection].to_numpy()


class JoinedBlock:
    """Several blocks as one: their channels one after the other."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = list(blocks)
        self.num_channels = sum(block.num_channels for block in blocks)
        types = {block.dtype for block in blocks}
        self.dtype = torch.float64 if torch.float64 in types else torch.float32

    def gather(self, trajectories: Sequence[int], starts: Sequence[int], length: int) -> Tensor:
        """Windows of `length` frames, (batch, length, channel, *space)."""
        parts = [block.gather(trajectories, starts, length) for block in self.blocks]
        return torch.cat(parts, dim=2)

    def close(self) -> None:
        """Close the blocks."""
        for block in self.blocks:
            block.close()


def _block(handle: NetcdfHandle, dataset: xr.Dataset, plan: FieldPlan, name: str) -> Block:
    """One field: past xarray where nothing has to be decoded, because that is faster."""
    variable = dataset[name].variable
    axes = [plan.axis_of(str(dim)) for dim in variable.dims]
    space = [dataset.sizes[dim] for dim in plan.space]
    kind, own = ForeignBlock, handle
    if handle.is_hdf5:
        plain = FileHandle(handle.path)
        with plain.opened() as file:
            require_dataset(file, name, path=handle.path)
            if not _is_packed(file[name]):
                kind, own = ArrayBlock, plain
    return kind(own, name, axes, space=space, num_times=dataset.sizes[plan.time])


def _is_packed(stored: Any) -> bool:
    """Whether stored numbers differ from the values they stand for."""
    fill = stored.attrs.get("_FillValue")
    has_fill = fill is not None and not np.isnan(np.asarray(fill, dtype=np.float64)).all()
    return has_fill or any(name in stored.attrs for name in _PACKING)


def _times(
    dataset: xr.Dataset, plan: FieldPlan, dt: float | None, *, where: str
) -> tuple[np.ndarray | None, list[str]]:
    """Times where `dt` is not given, and what to know about them."""
    name = plan.time
    if dt is not None:
        known = name in dataset.coords
        return None, [f"times of the file replaced: frames are {dt:g} apart"] if known else []
    units = str(dataset[name].attrs.get("units", "")) if name in dataset.coords else ""
    unit = units.split(" since ")[0]
    notes = [f"times are in {units}, as stored"] if " since " in units else []
    if notes and unit not in ("s", "sec", "second", "seconds"):
        notes[0] += f"; equations whose time unit is the second need times in {unit} converted"
    return plan.times(dataset, where=where), notes


def _close_both(dataset: xr.Dataset, stream: Any) -> None:
    dataset.close()
    stream.close()


def _check_contents(path: Path | str) -> None:
    """Refuse what is damaged, too large or elsewhere before other code takes it as it is."""
    with (
        FileHandle(path).opened() as file,
        reading(path, "the list of its contents"),
        watched(file) as twin,
    ):
        read_attributes(file, path=path)
        for name in map(str, file):
            is_here = isinstance(file.get(name, getlink=True), h5py.HardLink)
            item: Any = file[name] if is_here else require_dataset(file, name, path=path)
            read_attributes(item, path=path)
            if not isinstance(item, h5py.Dataset) or _is_placeholder(item):
                continue
            if item.is_scale:  # xarray loads coordinates
                source = twin if item.dtype.kind == "O" else file
                read_small(require_dataset(source, name, path=path, kinds="fiubSO"), path=path)
            elif item.shape is not None and item.nbytes > _LARGE:
                require_dataset(file, name, path=path, kinds="fiubcSOV")


def _is_placeholder(item: Any) -> bool:
    """Whether this is the size of a dimension without coordinates, kept as a data set."""
    name = item.attrs.get("NAME", b"")
    return bytes(np.bytes_(name)).startswith(_PLACEHOLDER)


def _unreadable(path: Path | str, error: Exception) -> str:
    if "h5netcdf" in str(error) and isinstance(error, ImportError | ValueError):
        return (
            f"{path}: netCDF-4 files need the package h5netcdf; install it with pip install "
            f"h5netcdf."
        )
    return f"{path}: the netCDF file cannot be opened ({type(error).__name__}: {error}). {_REMEDY}"

"""What a file may not do to its reader: every refusal names file and object."""

import h5py
import numpy as np
import pytest

from pdesurrogates.data.guard import (
    read_attributes,
    read_small,
    read_texts,
    reading,
    require_dataset,
    require_group,
)
from pdesurrogates.data.handle import FileHandle
from pdesurrogates.data.storage import ArrayBlock

U = np.arange(12, dtype="f4").reshape(3, 4)


def fetch(path, key="u", **options):
    """All values, by way of the guard."""
    with h5py.File(path, "r") as file:
        return read_small(require_dataset(file, key, path=path, **options), path=path)


def refused(path, message, key="u", **options):
    with pytest.raises(ValueError, match=message) as caught:
        fetch(path, key, **options)
    assert str(path) in str(caught.value) and key.split("/")[0] in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    """A folder with a file in it, and a file beside the folder."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for path in (inside / "other.h5", tmp_path / "secret.h5"):
        with h5py.File(path, "w") as file:
            file["u"] = U
            file["hop"] = h5py.ExternalLink("/nowhere/at/all.h5", "u")
            file["back"] = h5py.SoftLink("/u")
    return inside


def test_links_within_the_folder_are_followed(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["own"] = U
        file["group/soft"] = h5py.SoftLink("/own")
        file["relative"] = h5py.SoftLink("group/soft")
        file["u"] = h5py.ExternalLink("other.h5", "back")
        file["linked"] = h5py.SoftLink("/group")
    for key in ("u", "group/soft", "relative", "linked/soft", "/own"):
        assert np.array_equal(fetch(folder / "a.h5", key), U)


def test_a_linked_data_set_is_not_read_at_an_offset_of_this_file(folder):
    with h5py.File(folder / "a.h5", "w") as file:
        file["own"] = -U
        file["u"] = h5py.ExternalLink("other.h5", "u")
    block = ArrayBlock(
        FileHandle(folder / "a.h5"), "u", ("trajectory", "x"), space=(4,), num_times=1
    )
    assert np.array_equal(block.gather([2], [0], 1)[0, 0, 0], U[2])


@pytest.mark.parametrize(
    "link, message",
    [
        (h5py.ExternalLink("../secret.h5", "u"), "outside the folder"),
        (h5py.ExternalLink("/etc/passwd", "u"), "outside the folder"),
        (h5py.ExternalLink("gone.h5", "u"), "not in the folder"),
        (h5py.ExternalLink("other.h5", "hop"), "outside the folder"),
        (h5py.ExternalLink("other.h5", "none"), "`u` is missing|u cannot be read"),
        (h5py.SoftLink("/u"), "in circles"),
        (h5py.SoftLink("/outside"), "outside the folder"),
        (h5py.SoftLink("/none"), "`u` is missing"),
    ],
)
def test_links_that_are_refused(folder, link, message):
    with h5py.File(folder / "a.h5", "w") as file:
        file["outside"] = h5py.ExternalLink("../secret.h5", "u")
        file["u"] = link
    refused(folder / "a.h5", message)


def test_a_link_to_a_link_to_the_folder_itself(folder):
    (folder / "alias.h5").symlink_to(folder.parent / "secret.h5")
    with h5py.File(folder / "a.h5", "w") as file:
        file["u"] = h5py.ExternalLink("alias.h5", "u")
    refused(folder / "a.h5", "outside the folder")


def virtual(path, *sources, rows=3):
    """A virtual data set of 3 rows; one (file, data set) per row."""
    layout = h5py.VirtualLayout(shape=(rows, 4), dtype="f4")
    for row, (name, key) in enumerate(sources):
        layout[row] = h5py.VirtualSource(name, key, shape=(3, 4))[row]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("u", layout)


def test_virtual_data_sets(folder):
    path = folder / "a.h5"
    virtual(path, *[("other.h5", "u")] * 3)
    assert np.array_equal(fetch(path), U)
    block = ArrayBlock(FileHandle(path), "u", ("trajectory", "x"), space=(4,), num_times=1)
    assert np.array_equal(block.gather([1], [0], 1)[0, 0, 0], U[1])


@pytest.mark.parametrize(
    "sources, message",
    [
        ([("../secret.h5", "u")] * 3, "takes values from '../secret.h5', outside the folder"),
        ([("gone.h5", "u")] * 3, "takes values from 'gone.h5', which is not in the folder"),
        ([("other.h5", "none")] * 3, "none, which is no data set"),
        ([("other.h5", "hop")] * 3, "outside the folder"),
        ([("other.h5", "u")] * 2, "declares 12 values and maps 8"),
        ([(".", "u")] * 3, "leads over more than"),
    ],
)
def test_virtual_data_sets_that_are_refused(folder, sources, message):
    virtual(folder / "a.h5", *sources)
    refused(folder / "a.h5", message)


@pytest.mark.parametrize("name", ["beside.bin", "../elsewhere.bin"])
def test_values_kept_in_another_file(folder, name):
    """HDF5 looks for them in the working folder, wherever the file itself is."""
    U.tofile(folder / name)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("u", (3, 4), "f4", external=[(name, 0, U.nbytes)])
    refused(folder / "a.h5", f"u keeps its values in another file, '{name}'")


@pytest.mark.parametrize(
    "value, message",
    [
        (np.array(["a", "b"], dtype="S1"), "must hold floats .* got |S1"),
        (np.array(["a"], dtype=h5py.string_dtype()), "must hold floats .* got object"),
        (np.zeros(2, "c8"), "must hold floats .* got complex64"),
        (np.zeros(2, [("a", "f4"), ("b", "i4")]), "must hold floats .* got"),
        (np.zeros(2, [("a", "f4", 3)])["a"][0:0], None),
        (h5py.Empty("f4"), "has no shape"),
    ],
)
def test_types_that_are_refused(tmp_path, value, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = value
        file.create_dataset("vectors", (2,), np.dtype(("f4", 3)))
        file["type"] = np.dtype("f4")
        file["group/v"] = U
        file["flags"] = np.array([True, False])
    if message is not None:
        refused(tmp_path / "a.h5", message)
    refused(tmp_path / "a.h5", "must be a data set, got a named type", "type")
    refused(tmp_path / "a.h5", "must be a data set, got a group", "group")
    refused(tmp_path / "a.h5", "`none` is missing; found flags, group", "none")
    refused(tmp_path / "a.h5", "must hold floats .* got", "vectors")
    refused(tmp_path / "a.h5", "must hold floats, got bool", "flags", kinds="f")
    assert fetch(tmp_path / "a.h5", "flags").tolist() == [True, False]
    with h5py.File(tmp_path / "a.h5", "r") as file:
        group = require_group(file, "group", path=tmp_path / "a.h5")
        with pytest.raises(ValueError, match="`w` is missing in group /group; found v"):
            require_dataset(group, "w", path=tmp_path / "a.h5")
        with pytest.raises(ValueError, match="v must be a group, got a data set"):
            require_group(group, "v", path=tmp_path / "a.h5")


def test_sizes_that_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("never", (10**6, 10**6), "f4")
        file.create_dataset("chunked", (10**7, 1000), "f4", chunks=(1, 1000))[0] = 1
        lumps = file.create_dataset("lumps", (20_000, 1000), "f4", chunks=(20_000, 1000))
        lumps.id.write_direct_chunk((0, 0), bytes(5 * 10**5))
        file.create_dataset("coordinate", data=np.zeros(10**6), compression="gzip")
    refused(path, "declares shape .* 4000000000000 bytes, but nothing was ever stored", "never")
    refused(path, r"declares shape \(10000000, 1000\).* but only 4000 are stored", "chunked")
    refused(path, "in chunks of 76 MiB", "lumps")
    with h5py.File(path, "r") as file, pytest.raises(ValueError, match="should be small"):
        read_small(require_dataset(file, "coordinate", path=path), path=path, limit_bytes=10**6)


@pytest.mark.parametrize(
    "shift, size, message", [(5000, 400_000, "u cannot be read"), (0, 4000, "but the file holds")]
)
def test_a_contiguous_data_set_that_lies_elsewhere(tmp_path, shift, size, message):
    """Its place is moved beyond the end of the file, or its size made smaller."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["u"] = np.zeros(100_000, "f4")
        offset = file["u"].id.get_offset()
    content = bytearray(path.read_bytes())
    place = content.index(offset.to_bytes(8, "little") + (400_000).to_bytes(8, "little"))
    content[place : place + 16] = (offset + shift).to_bytes(8, "little") + size.to_bytes(
        8, "little"
    )
    path.write_bytes(content)
    refused(path, message)


def test_unknown_filter(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_chunk((3, 4))
        create.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((3, 4))
        made = h5py.h5d.create(file.id, b"u", h5py.h5t.NATIVE_FLOAT, space, create)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, U)
    refused(path, "compressed with filter 32999 .* install the package hdf5plugin")


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"fletcher32": True}])
def test_damaged_chunk(tmp_path, options):
    path = tmp_path / "a.h5"
    u = np.random.default_rng(0).standard_normal((4, 1000)).astype("f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("u", data=u, chunks=(1, 1000), **options)
        chunk = file["u"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 100] ^= 255
    path.write_bytes(content)
    block = ArrayBlock(FileHandle(path), "u", ("trajectory", "x"), space=(1000,), num_times=1)
    assert np.array_equal(block.gather([1], [0], 1)[0, 0, 0], u[1])
    with pytest.raises(ValueError, match="a.h5: u cannot be read .* damaged"):
        block.gather([2], [0], 1)


def test_truncated_while_open(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["u"] = np.arange(40_000, dtype="f4").reshape(4, 10_000)
    block = ArrayBlock(FileHandle(path), "u", ("trajectory", "x"), space=(10_000,), num_times=1)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 20_000)
    assert float(block.gather([2], [0], 1)[0, 0, 0, 1]) == 20_001
    with pytest.raises(ValueError, match=r"a.h5: u ends .* trajectory 3 .* truncated"):
        block.gather([3], [0], 1)


def test_attributes(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.update({"number": np.float32(0.5), "text": "a", "bytes": np.bytes_("b")})
        file.attrs["list"] = ["x", "y"]
        file.attrs["one"] = [3]
        for group in ("0", "1", "2", "3"):
            file.create_group(group)
        file["0"].attrs["config"] = "a: 1"
        file["1"].attrs["config"] = np.bytes_("b: 2")
        file["4"] = h5py.SoftLink("/0")
        file["big/v"] = U
        file["big"].attrs["huge"] = np.zeros(10**6)
        groups = ["0", "1", "2", "4"]
    with h5py.File(path, "r") as file:
        expected = {"number": 0.5, "text": "a", "bytes": "b", "list": ["x", "y"], "one": 3}
        assert read_attributes(file, path=path) == expected
        assert read_texts(file, groups, "config", path=path) == ["a: 1", "b: 2", None, "a: 1"]
        with pytest.raises(ValueError, match="attribute 'huge' of /big declares 8000000 bytes"):
            read_attributes(file["big"], path=path)


def test_errors_that_already_name_the_file_pass_as_they_are(tmp_path):
    with pytest.raises(ValueError, match="^a.h5: mine"), reading("a.h5", "u"):
        raise ValueError("a.h5: mine")
    with (
        pytest.raises(ValueError, match=r"^a.h5: u cannot be read \(not mine\)"),
        reading("a.h5", "u"),
    ):
        raise ValueError("not mine")

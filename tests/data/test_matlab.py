"""MATLAB v5 files against SciPy's reader, and damaged ones against nothing but a clear error."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pdesurrogates.data.matlab import read_matlab

RNG = np.random.default_rng(0)
ARRAYS = {
    "u": RNG.standard_normal((3, 4)),
    "a_longer_name_than_fits_into_a_tag": RNG.standard_normal((2, 3, 4)),
    "single": RNG.standard_normal((5, 1)).astype("f4"),
    "psi": RNG.standard_normal((2, 3)) + 1j * RNG.standard_normal((2, 3)),
    "mask": np.array([[True, False, True]]),
    **{f"i{k}": RNG.integers(0, 100, (2, 2)).astype(k) for k in ("i1", "u1", "i2", "u2", "i4")},
    **{f"i{k}": RNG.integers(0, 2**40, (2, 2)).astype(k) for k in ("i8", "u8")},
    "one": np.array([[7.0]]),
    "empty": np.zeros((0, 3)),
}
OTHER = {"text": "hello", "cell": np.array([1, "a"], dtype=object), "struct": {"a": 1.0}}


def mat(path, arrays, **options):
    savemat(path, arrays, **options)
    return path.read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_as_scipy(tmp_path, packed):
    content = mat(tmp_path / "a.mat", {**ARRAYS, **OTHER}, do_compression=packed)
    expected = loadmat(tmp_path / "a.mat")
    arrays = read_matlab(content)
    assert set(arrays) == set(ARRAYS)
    for name, values in arrays.items():
        assert values.dtype == expected[name].dtype and values.shape == expected[name].shape
        assert np.array_equal(values, expected[name])


def element(kind, content, order):
    return struct.pack(f"{order}II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


@pytest.mark.parametrize("order, mark", [("<", b"IM"), (">", b"MI")])
def test_either_byte_order_and_doubles_stored_as_bytes(tmp_path, order, mark):
    """MATLAB stores doubles that are small integers in one byte each, and short names in tags."""
    parts = element(6, struct.pack(f"{order}II", 6, 0), order)
    parts += element(5, struct.pack(f"{order}ii", 2, 3), order)
    first = (1 << 16) | 1  # one byte of type 1, in the tag
    parts += struct.pack(f"{order}I", first) + b"u\0\0\0"
    parts += element(2, bytes([1, 2, 3, 4, 5, 250]), order)
    version = struct.pack(f"{order}H", 0x0100)
    content = b"MATLAB 5.0".ljust(124) + version + mark + element(14, parts, order)
    (tmp_path / "a.mat").write_bytes(content)
    expected = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 250.0]])
    assert np.array_equal(read_matlab(content)["u"], expected)
    assert np.array_equal(loadmat(tmp_path / "a.mat")["u"], expected)


@pytest.mark.parametrize("packed", [False, True])
def test_no_damage_gives_anything_but_values_or_a_value_error(tmp_path, packed):
    content = mat(tmp_path / "a.mat", ARRAYS, do_compression=packed)
    for trial in range(300):
        damaged = bytearray(content)
        for place in RNG.integers(124, len(content), 1 + trial % 4):
            damaged[place] ^= 1 << int(RNG.integers(8))
        try:
            read_matlab(bytes(damaged[: len(content) - (trial % 5) * 7]))
        except ValueError as error:
            assert str(error)


def test_what_declares_too_much_is_refused():
    bomb = zlib.compress(struct.pack("<II", 14, 2**31) + bytes(2**20))
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    with pytest.raises(ValueError, match=r"declares 2147483648 bytes of arrays in \d+ stored"):
        read_matlab(head + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(ValueError, match="declares 4294967295 bytes and the file holds 16"):
        read_matlab(head + struct.pack("<II", 14, 2**32 - 1) + bytes(16))
    with pytest.raises(ValueError, match="states no byte order"):
        read_matlab(head[:-2])

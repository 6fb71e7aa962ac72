"""Files with one flipped bit; where it says nothing, they may be read."""

import struct

import h5py

from . import sound
from .core import add, flipped, rewritten


def flip_at(name, origin, find, bit=0, names="", **more):
    """A flipped bit at the byte that `find(content, file)` gives; `file` is open for h5py."""

    def build(folder):
        path, options = sound.SOUND[origin](folder)
        content = bytearray(path.read_bytes())
        with h5py.File(path) as file:
            position = find(content, file)
        path.write_bytes(flipped(content, position, bit))
        return path, options

    add("bit", name, build, names, origin=origin, **more)


def signature(text, offset):
    return lambda content, file: content.index(text) + offset


def text_length(content, file):
    """The highest byte of the length of the first text `config`."""
    length = struct.pack("<I", len(file["0000"].attrs["config"]))
    return content.index(length, content.index(b"config\0")) + 3


def number(key, place):
    return lambda content, file: file[key].id.get_offset() + place


def chunk(key, index, place):
    return lambda content, file: file[key].id.get_chunk_info(index).byte_offset + place


def entry(index, place):
    """A byte of an entry of the index of chunks of `u`: size, filters, place, address."""

    def find(content, file):
        first = file["u"].id.get_chunk_info(0)
        head = struct.pack("<II4Q", first.size, first.filter_mask, 0, 0, 0, 0)
        start = content.index(head + struct.pack("<Q", first.byte_offset))
        return start + 48 * index + place

    return find


flip_at("superblock_version", "flat", lambda content, file: 8, 1)
flip_at("superblock_size_of_addresses", "flat", lambda content, file: 13, 0)
flip_at("superblock_end_of_file", "flat", lambda content, file: 44, 3)
flip_at("superblock_root_address", "flat", lambda content, file: 64, 4)
flip_at("root_header_number_of_messages", "flat", lambda content, file: 98, 5, may_be_read=True)
flip_at("tree_signature", "flat", signature(b"TREE", 1), 0)
flip_at("tree_level", "flat", signature(b"TREE", 5), 0)
flip_at("heap_signature", "flat", signature(b"HEAP", 2), 2)
flip_at("heap_of_names_size", "flat", signature(b"HEAP", 9), 7)
flip_at("symbol_table_count", "flat", signature(b"SNOD", 6), 6)
flip_at("heap_of_texts_endless", "well", signature(b"PERIODIC", -8), 1, "attribute")
flip_at("heap_of_texts_signature", "well", signature(b"GCOL", 0), 0, "attribute")
flip_at("length_of_a_text", "sorption", text_length, 6, "attribute 'config' of 0000")
flip_at("attribute_type", "flat", signature(b"beta\0\0\0\0", 8), 1, "attribute")
SPACE = struct.pack("<3Q", sound.COUNT, sound.FRAMES, sound.NX)
FLOAT32 = bytes.fromhex("1120 1f00 04000000 0000 2000 1708 0017 7f000000")
flip_at("number_of_trajectories_in_the_header", "flat", signature(SPACE, 0), 1, "tensor")
flip_at("number_of_frames_in_the_header", "flat", signature(SPACE, 8), 4, "tensor")
flip_at("number_of_points_in_the_header", "flat", signature(SPACE, 22), 0, "tensor")
flip_at("bytes_per_number", "flat", signature(FLOAT32, 4), 1, "tensor|coordinate")
flip_at("exponent_of_the_numbers", "flat", signature(FLOAT32, 16), 3, "tensor|coordinate")
flip_at("kind_of_the_numbers", "flat", signature(FLOAT32, 0), 1, "tensor|coordinate")


def extent(key, place):
    """A byte of the address and size of a data set without chunks."""

    def find(content, file):
        dataset = file[key]
        size = dataset.size * dataset.dtype.itemsize
        return content.index(struct.pack("<2Q", dataset.id.get_offset(), size)) + place

    return find


flip_at("address_of_the_numbers", "flat", extent("tensor", 5), 0, "tensor")
flip_at("size_of_the_numbers", "flat", extent("tensor", 9), 2, "tensor")
flip_at("class_of_the_layout", "flat", extent("tensor", -1), 1, "tensor")
flip_at("chunk_index_signature", "gzip", signature(b"TREE\x01", 3), 1, "u ")
flip_at("chunk_index_size", "gzip", entry(2, 0), 2, "u ")
flip_at("chunk_index_filters", "gzip", entry(2, 4), 1, "u ")
flip_at("chunk_index_frame", "gzip", entry(2, 16), 1, "u ")
flip_at("chunk_index_place_off_the_lattice", "gzip", entry(2, 16), 0, "u ")
flip_at("chunk_index_place_beyond_the_end", "gzip", entry(2, 13), 0, "u ")
flip_at("chunk_index_address", "gzip", entry(2, 40), 1, "u ")
flip_at("chunk_index_address_beyond_the_end", "gzip", entry(2, 45), 1, "u ")
flip_at("chunk_index_of_uncompressed_numbers", "lzf", entry(5, 8), 1, "u ")
flip_at("compressed_chunk", "gzip", chunk("u", 2, 20), 4, "u ")
flip_at("compressed_chunk_head", "gzip", chunk("u", 2, 0), 1, "u ")
flip_at("compressed_chunk_of_the_well", "well", chunk("t0_fields/height", 5, 20), 4, "height")
flip_at("chunk_with_a_checksum", "fletcher32", chunk("u", 2, 20), 0, "u ")
flip_at("checksum_of_a_chunk", "fletcher32", chunk("u", 2, 2 * 16 * 4), 0, "u ")
flip_at("header_with_a_checksum", "latest", signature(b"OHDR", 12), 0)
flip_at("chunk_index_with_a_checksum", "latest", signature(b"FADB", 14), 0, "u ")

FIELD = "t1_fields/velocity"
flip_at("ours_number", "ours", number(FIELD, 40), 0, f"trajectory 0.*{FIELD}")
flip_at(
    "ours_last_number",
    "ours",
    number("t0_fields/density", -1 + 3 * 5 * 16 * 12 * 4),
    6,
    "trajectory 2.*t0_fields/density",
)
flip_at("ours_time", "ours", number("pdesurrogates/time", 15), 0, "description")
flip_at("ours_single_precision_time", "ours", number("dimensions/time", 4), 0, "description")
flip_at("ours_coordinate", "ours", number("dimensions/x", 4), 0, "description")
flip_at(
    "ours_parameter", "ours", number("pdesurrogates/parameters/viscosity", 7), 0, "description"
)
flip_at(
    "ours_checksum",
    "ours",
    number("pdesurrogates/checksums/t0_fields/density", 0),
    0,
    "description",
)
flip_at("ours_checksum_of_the_rest", "ours", number("pdesurrogates/checksums/header", 1), 0)
flip_at("ours_mask_of_an_end", "ours", number("boundary_conditions/x_periodic/mask", 0), 0)
flip_at("ours_field_name", "ours", signature(b"density", 0), 0)
flip_at("ours_attribute", "ours", signature(b"recipe\0", 0), 0)
flip_at("ours_name_of_our_group", "ours", signature(b"pdesurrogates\0", 0), 0)
flip_at("ours_name_of_the_checksums", "ours", signature(b"checksums\0", 0), 0)
flip_at("ours_number_of_frames", "ours", signature(struct.pack("<4Q", 3, 5, 16, 12), 8), 0)
flip_at("ours_free_space", "ours", signature(b"HEAP", 4 + 4 + 8 + 8 + 8), 0, may_be_read=True)
flip_at("ours_address_of_the_numbers", "ours", extent(FIELD, 0), 3)


def flip_bytes(name, origin, find, bit=0, names="", **more):
    rewritten(
        "bit", name, origin, lambda content: flipped(content, find(content), bit), names, **more
    )


flip_bytes("npz_numbers", "npz", lambda c: c.index(b"NUMPY") + 300)
flip_bytes("npz_compressed_numbers", "npz_compressed", lambda c: 120, 2)
flip_bytes("npz_directory", "npz", lambda c: c.index(b"PK\x01\x02") + 42, 3)
flip_bytes("npz_directory_size", "npz", lambda c: c.index(b"PK\x01\x02") + 20, 3, may_be_read=True)
flip_bytes("npz_member_name", "npz", lambda c: c.index(b"u.npy"), 0)
flip_bytes("npz_member_header", "npz", lambda c: c.index(b"descr"), 0)
flip_bytes("npy_shape", "npy", lambda c: c.index(b"(3, 5, 16)") + 1, 2)
flip_bytes("npy_version", "npy", lambda c: 6, 3)
flip_bytes("npy_type", "npy", lambda c: c.index(b"'<f4'") + 1, 2)
flip_bytes("npy_length_of_header", "npy", lambda c: 9, 7)
flip_bytes("matlab_type", "matlab", lambda c: 128, 4)
flip_bytes("matlab_size", "matlab", lambda c: 134, 2)
flip_bytes("matlab_dimension", "matlab", lambda c: 128 + 8 + 16 + 8, 4)
flip_bytes("matlab_byte_order", "matlab", lambda c: 126, 0)
flip_bytes("matlab_compressed_numbers", "matlab_compressed", lambda c: 400, 0)
flip_bytes("netcdf3_version", "netcdf3", lambda c: 3, 3)
flip_bytes("netcdf3_number_of_dimensions", "netcdf3", lambda c: 14, 6)
flip_bytes("netcdf3_size_of_a_dimension", "netcdf3", lambda c: c.index(b"time") + 7, 4)
flip_bytes("netcdf3_type", "netcdf3", lambda c: c.rindex(struct.pack(">I", 5)) + 3, 3)

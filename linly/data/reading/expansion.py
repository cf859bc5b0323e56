"""Size of columnar rows as Python values: measured, and split, before they are created.

A value that many rows share is stored once, so a file of a few hundred bytes can hold gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LEAF_BYTES = 8
"""Size of a value other than text, as `RawRecord.size_bytes` counts it."""


def parts_of(batch: pa.RecordBatch, most_bytes: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch into (offset, rows) of at most `most_bytes` of values, or of a single row."""
    remaining = [(0, batch)]
    while remaining:
        offset, part = remaining.pop()
        if part.num_rows <= 1 or row_bytes(part) <= most_bytes:
            yield offset, part
            continue
        half = part.num_rows // 2
        remaining.append((offset + half, part.slice(half)))
        remaining.append((offset, part.slice(0, half)))


def row_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of all values of a batch; depends only on the values, not on how they are stored.

    Args:
        batch: Valid batch whose types pass `can_be_measured`.
    """
    return sum(map(_value_bytes, batch.columns))


def text_sizes(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the text bytes of each row, int64 [num_rows], independent of the batch.

    Blocks end by size, so a size that depended on where reading began would break resuming. A value
    other than text counts 8 bytes.

    Args:
        batch: Valid batch whose types pass `can_be_measured`.
    """
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += _text_sizes(column)
    return sizes


def can_be_measured(kind: pa.DataType) -> bool:
    """Check whether values of a type are supported.

    Unsupported are unions, list views, run-end encoded values, and types without a class in pyarrow
    (intervals of months, of days and times).
    """
    if isinstance(kind, pa.BaseExtensionType):
        return can_be_measured(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return can_be_measured(kind.value_type) and not pa.types.is_nested(kind.value_type)
    if pa.types.is_map(kind):
        return can_be_measured(kind.key_type) and can_be_measured(kind.item_type)
    if _is_list(kind):
        return can_be_measured(kind.value_type)
    if pa.types.is_struct(kind):
        return all(can_be_measured(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_nested(kind) or pa.types.is_run_end_encoded(kind):
        return False
    try:
        pa.nulls(0, kind)
    except KeyError:
        return False
    return True


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the same values, each stored separately, with bytes as text."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_binary(kind):
        return pa.string()
    if types.is_large_binary(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.string_view()
    if types.is_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if types.is_large_list(kind):
        return pa.large_list(_plain_field(kind.value_field))
    if types.is_struct(kind):
        return pa.struct([_plain_field(kind.field(i)) for i in range(kind.num_fields)])
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(plain_type(field.type))


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _value_bytes(array: pa.Array) -> int:
    kind = array.type
    if len(array) == 0:
        return 0
    if isinstance(array, pa.ExtensionArray):
        return _value_bytes(array.storage)
    if pa.types.is_dictionary(kind):
        lengths = _lengths(array.dictionary)
        if lengths is None:
            return LEAF_BYTES * len(array)
        return _total(pc.take(lengths, array.indices))
    if (lengths := _lengths(array)) is not None:
        return _total(lengths)
    if pa.types.is_struct(kind):
        return sum(map(_value_bytes, array.flatten()))
    if pa.types.is_fixed_size_list(kind):
        return LEAF_BYTES * len(array) + _value_bytes(array.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        children = (array.keys, array.items) if pa.types.is_map(kind) else (array.values,)
        inner = sum(_value_bytes(child.slice(first, last - first)) for child in children)
        return LEAF_BYTES * len(array) + inner
    return LEAF_BYTES * len(array)


def _text_sizes(array: pa.Array) -> NDArray[np.int64]:
    kind, types = array.type, pa.types
    if isinstance(array, pa.ExtensionArray):
        return _text_sizes(array.storage)
    sizes = np.full(len(array), LEAF_BYTES, np.int64)
    if array.null_count == len(array):
        return sizes
    if types.is_dictionary(kind) and _is_text(kind.value_type):
        sizes = _integers(pc.take(_lengths(array.dictionary), array.indices))
    elif _is_text(kind):
        sizes = _integers(_lengths(array))
    elif types.is_struct(kind):
        sizes = np.zeros_like(sizes)
        for child in array.flatten():
            sizes += _text_sizes(child)
    elif types.is_fixed_size_list(kind) and kind.list_size:
        flat = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        sizes = _text_sizes(flat).reshape(len(array), kind.list_size).sum(axis=1)
    elif types.is_map(kind):
        sizes = sizes * np.diff(_integers(array.offsets))
    elif _is_list(kind):
        offsets = _integers(array.offsets)
        child = array.values.slice(offsets[0], offsets[-1] - offsets[0])
        ends = np.concatenate([[0], np.cumsum(_text_sizes(child))])
        sizes = np.diff(ends[offsets - offsets[0]])
    if array.null_count:
        sizes[_integers(array.is_null().cast(pa.int8())) > 0] = LEAF_BYTES
    return sizes


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _integers(array: pa.Array) -> NDArray[np.int64]:
    """Return an array of integers, with any value for nulls; Arrow's `to_numpy` imports pandas."""
    values = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)].astype(np.int64)


def _lengths(array: pa.Array) -> pa.Array | None:
    """Bytes of each text, null where it is null; None for values other than text."""
    kind, types = array.type, pa.types
    if types.is_string_view(kind) or types.is_binary_view(kind):
        # A view is 16 bytes and begins with the length of its text.
        views = np.frombuffer(array.buffers()[1], np.int32)
        lengths = views[4 * array.offset : 4 * (array.offset + len(array)) : 4]
        return pa.array(lengths, mask=array.is_null().to_numpy(zero_copy_only=False))
    if types.is_fixed_size_binary(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return pc.binary_length(array)
    if types.is_string(kind) or types.is_large_string(kind):
        return pc.binary_length(array)
    return None


def _total(lengths: pa.Array) -> int:
    text_bytes: int = pc.sum(lengths).as_py() or 0
    null_bytes: int = LEAF_BYTES * lengths.null_count
    return text_bytes + null_bytes

"""A GGUF file of a model folder, written tensor by tensor.

Memory holds one tensor at a time, in the dtype of the file, and a few rows of it in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linly.errors import ConfigError
from linly.export.gguf.gguf_family import (
    CONVERTER,
    GgufFamily,
    add_hyperparameters,
    context_length,
    frequency_factors,
    gguf_family,
    row_order,
)
from linly.export.gguf.gguf_vocabulary import add_vocabulary
from linly.modeling.stored.configuration import read_config
from linly.modeling.stored.tensor_files import DTYPES, TensorFile
from linly.modeling.stored.weight_files import StoredTensor, stored_tensors, weight_path
from linly.tokenization.load_tokenizer import load_tokenizer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter


class GgufType(str, Enum):
    """Type of a file's matrices."""

    f16 = "f16"
    q8_0 = "q8_0"

    @classmethod
    def parse(cls, text: str) -> GgufType:
        """Type of a name.

        Raises:
            ConfigError: If there is no such type.
        """
        if text not in cls.__members__:
            raise ConfigError(f"--gguf: found {text!r}, allowed: {', '.join(cls.__members__)}")
        return cls[text]


_CHUNK_VALUES = 1 << 22


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tensor of the file: where it comes from, and its type there."""

    source: str
    stored: StoredTensor
    kind: GGMLQuantizationType


def check_gguf(folder: Path) -> None:
    """Check, before any weights are read, that a model has a GGUF form.

    Args:
        folder: Folder with the configuration and the tokenizer of the model.

    Raises:
        ConfigError: If it has none.
    """
    config = read_config(folder)
    family = gguf_family(config)
    writer = import_gguf().GGUFWriter(None, family.architecture)
    add_vocabulary(writer, load_tokenizer(folder), folder, num_rows=config.vocab_size)


def write_gguf(folder: Path, path: Path, kind: GgufType, *, name: str) -> tuple[str, ...]:
    """Write a model folder as one GGUF file.

    Matrices have the type asked for; matrices whose rows q8_0 cannot divide into blocks of 32 are
    f16, and vectors fp32.

    Args:
        folder: Model folder.
        path: File to write.
        kind: Type of the matrices.
        name: Name of the model.

    Returns:
        Differences between llama.cpp and transformers, one line each.

    Raises:
        ConfigError: If the family, the vocabulary, or a value cannot be expressed in GGUF.
    """
    gguf = import_gguf()
    config, tokenizer = read_config(folder), load_tokenizer(folder)
    family = gguf_family(config)
    writer = gguf.GGUFWriter(path, family.architecture)
    try:
        writer.add_type("model")
        writer.add_name(name)
        is_f16 = kind is GgufType.f16
        file_type = gguf.LlamaFileType
        writer.add_file_type(file_type.MOSTLY_F16 if is_f16 else file_type.MOSTLY_Q8_0)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        add_hyperparameters(writer, config)
        notes = list(add_vocabulary(writer, tokenizer, folder, num_rows=config.vocab_size))
        _write_tensors(writer, folder, _plan(folder, config, family, kind), config, family)
    finally:
        writer.close()
    if context_length(config) < config.max_position_embeddings:
        notes.append(
            f"its context is limited to the sliding window of {config.sliding_window:,} positions, "
            f"since llama.cpp attends to all positions of a {config.model_type} model"
        )
    return tuple(notes)


def import_gguf() -> Any:
    """The `gguf` library.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--gguf needs {error.name}, which is not installed: pip install 'linly[gguf]'"
        ) from error
    return gguf


def _plan(folder: Path, config: Any, family: GgufFamily, kind: GgufType) -> dict[str, _Planned]:
    """Tensors of the file by name, in the order of the folder's files.

    Raises:
        ConfigError: If a tensor has no name in this architecture, or is quantized.
    """
    from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map

    architecture = next(
        key for key, name in MODEL_ARCH_NAMES.items() if name == family.architecture
    )
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    found = {}
    for source, stored in stored_tensors(folder).items():
        if source == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None or stored.dtype not in DTYPES:
            raise ConfigError(
                f"--gguf: tensor {source} ({stored.dtype}) has no place in the architecture "
                f"{family.architecture}; export the model without --gguf and {CONVERTER}"
            )
        if len(stored.shape) < 2:
            chosen = GGMLQuantizationType.F32
        elif kind is GgufType.q8_0 and stored.shape[-1] % 32 == 0:
            chosen = GGMLQuantizationType.Q8_0
        else:
            chosen = GGMLQuantizationType.F16
        found[name] = _Planned(source, stored, chosen)
    return found


def _write_tensors(
    writer: GGUFWriter, folder: Path, plan: dict[str, _Planned], config: Any, family: GgufFamily
) -> None:
    from gguf import quant_shape_to_byte_shape

    factors = frequency_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, np.dtype("f4"), factors.nbytes)
    for name, tensor in plan.items():
        shape = tuple(quant_shape_to_byte_shape(tensor.stored.shape, tensor.kind))
        num_bytes = int(np.prod(shape))
        writer.add_tensor_info(name, shape, np.dtype("u1"), num_bytes, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors.numpy())
    for tensor in plan.values():
        layer = tensor.source.rpartition(".")[0]
        order = row_order(layer, tensor.stored.shape[0], config, family)
        with TensorFile(weight_path(folder, tensor.stored.file)) as file:
            data = _converted(file, tensor)
        writer.write_tensor_data(data if order is None else data[order.numpy()])


def _converted(file: TensorFile, tensor: _Planned) -> NDArray[np.uint8]:
    """Bytes of a tensor in the dtype of the file: [rows, bytes of a row].

    Raises:
        ConfigError: If a value is too large for f16.
    """
    from gguf import quant_shape_to_byte_shape, quantize

    shape = quant_shape_to_byte_shape((*tensor.stored.shape, 1)[:2], tensor.kind)
    converted = np.empty(shape, np.uint8)
    num_rows = tensor.stored.shape[0]
    step = max(1, _CHUNK_VALUES * num_rows // max(1, tensor.stored.num_values))
    for start in range(0, num_rows, step):
        values = file.rows(tensor.source, start, min(start + step, num_rows)).float().numpy()
        with np.errstate(over="ignore"):
            data = quantize(values, tensor.kind)
        if data.dtype == np.float16 and not np.isfinite(data).all():
            raise ConfigError(
                f"--gguf f16: tensor {tensor.source} has values beyond f16's largest, 65,504; "
                f"use q8_0"
            )
        converted[start : start + step] = data.view(np.uint8)
    return converted

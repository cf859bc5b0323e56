"""The weight files of a model folder and the tensors in them, determined only here.

The rule is transformers' own: `model.safetensors` if there is one, else the files that
`model.safetensors.index.json` names. All other safetensors files of the folder are ignored (some
hold a second copy in another layout, such as `consolidated.safetensors`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linly.errors import ConfigError
from linly.files import inside, read_limited, sha256_file
from linly.modeling.stored.tensor_files import TensorFile
from linly.storage.hub import links_root

CONFIG_SIZE_LIMIT_BYTES = 1 << 24
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
_HASHING_THREADS = 4
_RANK_SHARD = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
"""Files of transformers' distributed checkpoints, which transformers prefers to all others."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a model folder.

    Attributes:
        file: Name of the file that holds it.
        dtype: Its safetensors name, such as "BF16".
        shape: Its shape.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_values(self) -> int:
        """Product of the sizes."""
        return math.prod(self.shape)


def weight_files(path: Path) -> list[str]:
    """Names of the safetensors files that hold a model folder's weights, sorted.

    Raises:
        ConfigError: If there are none, or the index leads out of the folder.
    """
    parts = sorted(p.name for p in path.glob("shard-*.safetensors") if _RANK_SHARD.match(p.name))
    if parts:
        raise ConfigError(
            f"model {path}: {parts[0]} belongs to a distributed checkpoint; load it with "
            f"transformers and save it with save_pretrained first"
        )
    if (path / WEIGHTS).is_file():
        return [WEIGHTS]
    if (path / WEIGHTS_INDEX).is_file():
        return _indexed_files(path)
    pickles = sorted(p.name for p in path.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
    if pickles:
        raise ConfigError(
            f"model {path}: found {', '.join(pickles[:3])} and no {WEIGHTS}; pickled weights can "
            f"run code and are not loaded: convert them to safetensors first"
        )
    raise ConfigError(f"model {path}: no {WEIGHTS} in it")


def _indexed_files(path: Path) -> list[str]:
    weight_map = read_json_object(path / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"model {path}: {WEIGHTS_INDEX} has no weight_map")
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not file.endswith(".safetensors"):
            raise ConfigError(
                f"model {path}: {WEIGHTS_INDEX} puts {tensor} in {file!r}, which is not a "
                f"safetensors file"
            )
    files = sorted(set(weight_map.values()))
    for file in files:
        if not weight_path(path, file).is_file():
            raise ConfigError(f"model {path}: {file} is missing, but {WEIGHTS_INDEX} names it")
    return files


def weight_path(path: Path, name: str) -> Path:
    """Path of a weight file; in the hub's cache, files are links to its blobs.

    Raises:
        ConfigError: If the name leads out of the folder, or a link out of it or the cache.
    """
    root = links_root(path)
    return inside(path, name) if root == path else inside(root, f"{path.relative_to(root)}/{name}")


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Tensors of a model folder's weights by name, read from the headers of its files.

    Raises:
        ConfigError: If there are no weights, or a file is damaged.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in weight_files(path):
        with TensorFile(weight_path(path, file)) as opened:
            for name, entry in opened.entries.items():
                if name in tensors:
                    raise ConfigError(
                        f"model {path}: {name} is in {tensors[name].file} and in {file}; remove "
                        f"the file that does not belong to the model"
                    )
                tensors[name] = StoredTensor(file, entry.dtype, entry.shape)
    return tensors


def hash_weights(path: Path) -> dict[str, str]:
    """SHA-256 of each weight file of a model folder, by name; hashed in parallel.

    Raises:
        ConfigError: If there are no safetensors, or the index leads out of the folder.
    """
    names = weight_files(path)
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        hashes = pool.map(lambda name: sha256_file(weight_path(path, name)), names)
        return dict(zip(names, hashes, strict=True))


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object from a model folder's file; NaN and Infinity are allowed.

    Raises:
        ConfigError: If the file does not hold a JSON object.
    """
    try:
        value = json.loads(read_limited(path, limit_bytes=CONFIG_SIZE_LIMIT_BYTES))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_json_object(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object for `read_json_object`, in the mapping's order."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

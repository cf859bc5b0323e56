"""Byte-level tokenizer files as `AutoTokenizer` loads them, in transformers 4 and 5.

`tokenizer_class` names code that builds a tokenizer and may replace the file's pre-tokenizer by its
own: GPT2Tokenizer splits Llama-3's numbers differently, and LlamaTokenizer of transformers 4 does
not support byte level. Files are written with PreTrainedTokenizerFast, which uses tokenizer.json
unchanged, or with their original class if a model's family requires it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from linly.files import publish
from linly.tokenization.byte_level import CONFIG_JSON, ByteLevelTokenizer
from linly.tokenization.tokenizer import Tokenizer

PLAIN_CLASS = "PreTrainedTokenizerFast"

_NO_LONGER = (
    *("auto_map", "processor_class"),  # code and settings that are not exported
    *("name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "merges_file"),
    *("_commit_hash", "is_local", "local_files_only", "backend"),
)
"""Keys of tokenizer_config.json that describe the files or the process it came from."""


def write_byte_level(
    tokenizer: ByteLevelTokenizer, directory: Path, texts: Iterable[str]
) -> tuple[int, str | None]:
    """Write a byte-level vocabulary's files with a tokenizer class that produces its ids.

    Args:
        tokenizer: The vocabulary.
        directory: An existing folder; files of the same names are replaced.
        texts: Texts to compare on.

    Returns:
        The number of texts compared, and the reason if AutoTokenizer's ids differ, else None.
    """
    texts = list(texts)
    tokenizer.write(directory)
    given = _configuration(tokenizer)
    named = given.get("tokenizer_class") or PLAIN_CLASS
    problem = None
    for name in dict.fromkeys((PLAIN_CLASS, named)):
        content = orjson.dumps(given | {"tokenizer_class": name}, option=orjson.OPT_INDENT_2)
        publish(directory / CONFIG_JSON, content)
        problem = complaint(directory, tokenizer, texts)
        if problem is None:
            break
    return len(texts), problem


def complaint(directory: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> str | None:
    """Describe how the ids of `AutoTokenizer` differ from a vocabulary's; None if they agree.

    Args:
        directory: Folder with the vocabulary's files, and config.json if it is a model folder.
        tokenizer: The vocabulary.
        texts: Texts to compare on; special tokens in them are encoded as text.
    """
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False
        )
        found = _encode(loaded, texts)
    except Exception as error:  # each class fails in its own way
        return f"AutoTokenizer cannot load it: {str(error)[:200]}"
    pairs = zip(texts, found, tokenizer.encode_batch(texts), strict=True)
    other = [text for text, ids, own in pairs if not np.array_equal(own, ids)]
    if other:
        return (
            f"the ids of AutoTokenizer ({type(loaded).__name__}) differ on {len(other):,} of "
            f"{len(texts):,} texts, the first is {other[0][:80]!r}"
        )
    if loaded.eos_token_id != tokenizer.eos_id:
        return f"AutoTokenizer's EOS is {loaded.eos_token_id}, expected {tokenizer.eos_id}"
    return None


def _encode(loaded: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without BOS and EOS; special tokens in it are encoded as text."""
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        return [
            loaded.encode(text, add_special_tokens=False, split_special_tokens=True)
            for text in texts
        ]
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return [each.ids for each in backend.encode_batch(list(texts), add_special_tokens=False)]


def _configuration(tokenizer: ByteLevelTokenizer) -> dict[str, Any]:
    """tokenizer_config.json without keys that no longer apply, in the form of transformers 4."""
    given = tokenizer.files.get(CONFIG_JSON, {})
    kept = {key: value for key, value in given.items() if key not in _NO_LONGER}
    if isinstance(kept.get("extra_special_tokens"), list):  # transformers 4 wants a mapping there
        kept.setdefault("additional_special_tokens", kept.pop("extra_special_tokens"))
    return kept

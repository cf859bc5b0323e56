"""Run by the interpreter of .venv-llama-cpp: how llama.cpp reads exported folders.

`llamacpp_worker.py SOURCE FOLDER` prints one JSON line for each subfolder of FOLDER. A model's
folder has `reference.safetensors` (ids and logits), a tokenizer's has `texts.json`. Both are
converted by the `convert_hf_to_gguf.py` of SOURCE, unless the folder holds a GGUF file, which may
have any of these files and `prompts.json` beside it. Each folder is read in a process of its own,
since llama.cpp ends the process on a model that it cannot build.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import runpy
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from safetensors.torch import load_file

REFERENCE, TEXTS, PRE_TOKENIZER = "reference.safetensors", "texts.json", "pre_tokenizer"
PROMPTS, NEW_TOKENS = "prompts.json", 12
_F32 = 0  # GGML_TYPE_F32
_NO_FLASH = 0


def convert(source: Path, folder: Path, *options: str) -> Path:
    """GGUF file of a folder."""
    converted = folder / "model.gguf"
    script = source / "convert_hf_to_gguf.py"
    sys.argv = [str(script), str(folder), "--outtype", "f32", "--outfile", str(converted), *options]
    runpy.run_path(str(script), run_name="__main__")
    return converted


def use_sentencepiece() -> None:
    """Convert every model with the tokenizer.model of its folder: logits do not depend on it."""
    import conversion

    find: Callable[..., Any] = conversion.get_model_class

    def with_vocabulary(*args: Any, **kwargs: Any) -> Any:
        kind = find(*args, **kwargs)
        kind.set_vocab = kind._set_vocab_sentencepiece
        return kind

    conversion.get_model_class = with_vocabulary


def name_pre_tokenizer(name: str) -> None:
    """Tell the converter the pre-tokenizer that it would look up by a hash of ids."""
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda *_: name


def read_model(source: Path, folder: Path) -> dict[str, object]:
    from conversion import TEXT_MODEL_MAP

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    if architecture not in TEXT_MODEL_MAP:
        return {"known": False}
    if (folder / PRE_TOKENIZER).exists():
        name_pre_tokenizer((folder / PRE_TOKENIZER).read_text())
    else:
        use_sentencepiece()
    model = opened(convert(source, folder))
    return {"known": True, "difference": difference(model, folder)}


def opened(path: Path) -> Any:
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise ValueError("llama.cpp cannot load it")
    return model


def difference(model: Any, folder: Path) -> float:
    """Largest difference of a logit from the reference's, relative to the largest logit."""
    reference = load_file(folder / REFERENCE)
    logits = torch.stack([logits_of(model, row) for row in reference["ids"]])
    expected = reference["logits"].float()
    return float((logits - expected).abs().max() / expected.abs().max())


def read_gguf(path: Path) -> dict[str, object]:
    """What the files beside a GGUF file ask for."""
    folder, model = path.parent, opened(path)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    found: dict[str, object] = {"known": True}
    if (folder / REFERENCE).exists():
        found["difference"] = difference(model, folder)
    if (folder / TEXTS).exists():
        texts = json.loads((folder / TEXTS).read_text())
        found["ids"] = [ids_of(vocabulary, text.encode()) for text in texts]
        found["begins_with_bos"] = len(ids_of(vocabulary, b"", add_special=True)) == 1
    if (folder / PROMPTS).exists():
        prompts = json.loads((folder / PROMPTS).read_text())
        found["texts"] = [greedy(model, vocabulary, prompt) for prompt in prompts]
    return found


def greedy(model: Any, vocabulary: Any, prompt: str) -> str:
    """Text that the model writes after a prompt, always with the likeliest token."""
    ids = ids_of(vocabulary, prompt.encode(), add_special=True)
    new: list[int] = []
    for _ in range(NEW_TOKENS):
        token = int(logits_of(model, torch.tensor(ids + new))[-1].argmax())
        if llama_cpp.llama_vocab_is_eog(vocabulary, token):
            break
        new.append(token)
    buffer = ctypes.create_string_buffer(4096)
    size = llama_cpp.llama_detokenize(
        vocabulary, (ctypes.c_int32 * len(new))(*new), len(new), buffer, 4096, False, False
    )
    assert size >= 0
    return buffer.raw[:size].decode(errors="replace")


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits at every position of one row, with caches in fp32."""
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = 512
    parameters.n_threads = parameters.n_threads_batch = 1
    parameters.type_k = parameters.type_v = _F32
    parameters.flash_attn_type = _NO_FLASH
    context = llama_cpp.llama_init_from_model(model, parameters)
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for index, token in enumerate(ids.tolist()):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, 1
    assert llama_cpp.llama_decode(context, batch) == 0
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rows = [
        np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, index), (size,)).copy()
        for index in range(len(ids))
    ]
    llama_cpp.llama_free(context)
    return torch.from_numpy(np.stack(rows))


def read_tokenizer(source: Path, folder: Path) -> dict[str, object]:
    texts = json.loads((folder / TEXTS).read_text())
    if (folder / PRE_TOKENIZER).exists():
        name_pre_tokenizer((folder / PRE_TOKENIZER).read_text())
    path = convert(source, folder, "--vocab-only")
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    return {"ids": [ids_of(vocabulary, text.encode()) for text in texts]}


def ids_of(vocabulary: Any, text: bytes, *, add_special: bool = False) -> list[int]:
    size = len(text) + 8
    ids = (ctypes.c_int32 * size)()
    count = llama_cpp.llama_tokenize(vocabulary, text, len(text), ids, size, add_special, False)
    assert count >= 0, count
    return list(ids[:count])


def answer(source: Path, folder: Path) -> dict[str, object]:
    try:
        if given := next(folder.glob("*.gguf"), None):
            return read_gguf(given)
        read = read_model if (folder / REFERENCE).exists() else read_tokenizer
        return read(source, folder)
    except BaseException as error:
        traceback.print_exc()
        return {"known": True, "error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}


def main() -> None:
    source, place = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[:0] = [str(source / "gguf-py"), str(source)]
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import conversion.base  # noqa: F401  before the processes part, since it takes seconds

    for folder in sorted(place.iterdir()):
        end, start = os.pipe()
        if (child := os.fork()) == 0:
            os.write(start, json.dumps(answer(source, folder)).encode())
            os._exit(0)
        os.close(start)
        with os.fdopen(end, "rb") as stream:
            found = stream.read() or b'{"known": true, "error": "the process was ended"}'
        os.waitpid(child, 0)
        print(json.dumps({"name": folder.name, **json.loads(found)}), flush=True)


main()

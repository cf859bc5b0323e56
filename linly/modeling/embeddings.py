"""Rows for the pieces that a vocabulary gained: embedding and output layer of a stored model.

A new row is the mean of the rows of the old tokens its piece was split into, computed in fp32 and
cast once (Linly; Chinese-LLaMA's global mean and plain noise are there to compare with). Embedding
rows come from embedding rows, output rows from output rows. Old rows keep every bit. Files are
read and written tensor by tensor, so no model object is needed and memory stays bounded.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import orjson
import torch

from linly.errors import ConfigError
from linly.files import inside
from linly.modeling.folder import new_folder
from linly.modeling.load import WEIGHTS_INDEX, check_model_folder, read_json_object, weight_files
from linly.modeling.parameters import EMBEDDINGS, OUTPUTS
from linly.modeling.tensor_files import (
    CHUNK_BYTES,
    DTYPES,
    Outgoing,
    TensorEntry,
    TensorFile,
    tensor_bytes,
    write_tensor_file,
)
from linly.tokenization.export import TokenizerExport, export_tokenizer
from linly.tokenization.subtokens import SubTokens, added_subtokens
from linly.tokenization.tokenizer import Tokenizer

BASE_VOCABULARY_KEY = "base_vocab_size"
"""In config.json of an extended model: the pieces it had before; later ones are new to it."""

_ROWS_AT_A_TIME = 512


class Init(str, Enum):
    """Where new rows come from."""

    mean_of_subtokens = "mean-of-subtokens"
    global_mean = "global-mean"
    normal = "normal"


@dataclass(frozen=True, slots=True)
class ExtendPlan:
    """How a model grows.

    Attributes:
        old_vocab: Pieces of its tokenizer; rows behind them are padding.
        subtokens: Of each new piece, in order of ids.
        init: Where new rows come from.
        multiple: The number of rows is rounded up to a multiple of this.
        noise: Standard deviation of what is added to rows that others equal, as a part of the
            row's own; 0 leaves them equal.
        seed: Of `noise` and of normal rows.
        std: Of normal rows.
    """

    old_vocab: int
    subtokens: Sequence[SubTokens]
    init: Init
    multiple: int
    noise: float
    seed: int
    std: float

    @property
    def new_vocab(self) -> int:
        """Pieces of the new tokenizer."""
        return self.old_vocab + len(self.subtokens)

    def num_rows(self, old_rows: int) -> int:
        """Rows of the grown matrix, padding included."""
        rows = max(old_rows, self.new_vocab)
        return rows + (-rows % self.multiple)


@dataclass(frozen=True, slots=True)
class ExtendReport:
    """What was done.

    Attributes:
        old_rows: Of the embedding, before.
        new_rows: After, padding included.
        num_added: New pieces that got a row.
        num_padding: Rows behind the last piece.
        subtoken_counts: Number of sub-tokens -> how many new pieces have it.
        identical: Groups of new ids whose rows are equal.
        matrices: Names of the tensors that grew.
        tokenizer: What was exported beside the weights.
    """

    old_rows: int
    new_rows: int
    num_added: int
    num_padding: int
    subtoken_counts: dict[int, int]
    identical: tuple[tuple[int, ...], ...]
    matrices: tuple[str, ...]
    tokenizer: TokenizerExport


def extend_model(
    model: Path,
    tokenizer: Tokenizer,
    output: Path,
    *,
    base: Tokenizer | None = None,
    init: Init = Init.mean_of_subtokens,
    multiple: int = 1,
    noise: float = 0.0,
    seed: int = 0,
) -> ExtendReport:
    """Write a model folder whose embedding and output layer hold the new vocabulary.

    A model that has it already is copied as it is: doing it twice changes nothing.

    Args:
        model: A folder of safetensors.
        tokenizer: The new vocabulary; begins with the old one.
        output: A new folder; appears whole or not at all.
        base: The old vocabulary; the `tokenizer.model` of the folder when left out.
        init: Where new rows come from.
        multiple: Pad the rows to a multiple of this, for speed.
        noise: See `ExtendPlan`.
        seed: See `ExtendPlan`.

    Raises:
        ConfigError: The folder, its tokenizer or the new one does not fit; says what to do.
    """
    config = check_model_folder(model)
    base = base or Tokenizer.load(model)
    plan = ExtendPlan(
        old_vocab=base.vocab_size,
        subtokens=added_subtokens(base, tokenizer),
        init=init,
        multiple=multiple,
        noise=noise,
        seed=seed,
        std=float(config.get("initializer_range", 0.02)),
    )
    old_rows = _old_rows(model, config, plan)
    with new_folder(output) as folder:
        matrices = _write_weights(model, folder, plan, old_rows)
        new_rows = plan.num_rows(old_rows)
        _write_configuration(model, folder, _with_base(config, plan), tokenizer, new_rows)
        exported = export_tokenizer(tokenizer, folder)
    return ExtendReport(
        old_rows=old_rows,
        new_rows=new_rows,
        num_added=len(plan.subtokens),
        num_padding=new_rows - plan.new_vocab,
        subtoken_counts=dict(sorted(Counter(map(len, plan.subtokens)).items())),
        identical=identical_rows(plan),
        matrices=matrices,
        tokenizer=exported,
    )


def identical_rows(plan: ExtendPlan) -> tuple[tuple[int, ...], ...]:
    """Groups of new ids with the same sub-tokens; a mean cannot tell them apart."""
    groups: dict[SubTokens, list[int]] = {}
    for token, parts in enumerate(plan.subtokens, start=plan.old_vocab):
        groups.setdefault(parts, []).append(token)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _old_rows(model: Path, config: Mapping[str, Any], plan: ExtendPlan) -> int:
    rows = config.get("vocab_size")
    if not isinstance(rows, int):
        raise ConfigError(f"model {model}: config.json has no vocab_size")
    if rows < plan.old_vocab:
        raise ConfigError(
            f"model {model}: its embedding has {rows:,} rows, its tokenizer {plan.old_vocab:,} "
            f"pieces; name the tokenizer it was trained with by --base-tokenizer"
        )
    return rows


def _write_weights(model: Path, folder: Path, plan: ExtendPlan, old_rows: int) -> tuple[str, ...]:
    grown: list[str] = []
    total_bytes = 0
    files = weight_files(model)
    for name in sorted(files):
        with TensorFile(inside(model, name)) as source:
            outgoing = {
                tensor: _outgoing(source, tensor, plan, old_rows) for tensor in source.entries
            }
            grown += [tensor for tensor in outgoing if tensor in (*EMBEDDINGS, *OUTPUTS)]
            total_bytes += sum(tensor.num_bytes for tensor in outgoing.values())
            target = inside(folder, name)
            write_tensor_file(target, outgoing, source.metadata)
    if not set(grown) & set(EMBEDDINGS):
        raise ConfigError(
            f"model {model}: no tensor is named {', '.join(EMBEDDINGS)}; this architecture is "
            f"not known"
        )
    if (model / WEIGHTS_INDEX).is_file():
        index = read_json_object(model / WEIGHTS_INDEX)
        index["metadata"] = {**(index.get("metadata") or {}), "total_size": total_bytes}
        _write_json(folder / WEIGHTS_INDEX, index)
    return tuple(sorted(grown))


def _outgoing(source: TensorFile, name: str, plan: ExtendPlan, old_rows: int) -> Outgoing:
    entry = source.entries[name]
    if name not in (*EMBEDDINGS, *OUTPUTS):
        if old_rows in entry.shape[:1] and name.startswith(("lm_head.", "embed_out.")):
            raise ConfigError(f"{source.path}: {name} has a row a piece and is not understood")
        pieces = source.chunks(entry.start, entry.num_bytes)
        return Outgoing(entry.dtype, entry.shape, entry.num_bytes, pieces)
    if len(entry.shape) != 2 or entry.shape[0] != old_rows or entry.dtype not in DTYPES:
        raise ConfigError(
            f"{source.path}: {name} is {entry.dtype} {list(entry.shape)}, expected {old_rows:,} "
            f"rows of {', '.join(DTYPES)}"
        )
    rows = plan.num_rows(old_rows)
    return Outgoing(
        entry.dtype,
        (rows, entry.shape[1]),
        entry.num_bytes // old_rows * rows,
        _grown_rows(source, name, entry, plan),
    )


def _grown_rows(
    source: TensorFile, name: str, entry: TensorEntry, plan: ExtendPlan
) -> Iterator[bytes]:
    """The matrix in pieces: old rows, new rows, the old padding that is left, new padding."""
    old_rows = entry.shape[0]
    row_bytes = entry.num_bytes // old_rows
    yield from source.chunks(entry.start, plan.old_vocab * row_bytes)
    for start in range(0, len(plan.subtokens), _ROWS_AT_A_TIME):
        tokens = range(start, min(start + _ROWS_AT_A_TIME, len(plan.subtokens)))
        yield tensor_bytes(_new_rows(source, name, plan, tokens).to(DTYPES[entry.dtype]))
    if plan.new_vocab < old_rows:
        left = old_rows - plan.new_vocab
        yield from source.chunks(entry.start + plan.new_vocab * row_bytes, left * row_bytes)
    padding = plan.num_rows(old_rows) - max(old_rows, plan.new_vocab)
    if padding:
        # The logit of a mean row is the mean of all logits: never the largest.
        mean = _global_mean(source, name, plan.old_vocab).to(DTYPES[entry.dtype])
        yield tensor_bytes(mean) * padding


def _new_rows(source: TensorFile, name: str, plan: ExtendPlan, tokens: range) -> torch.Tensor:
    """Rows of some new pieces (counted from the first new one): fp32 [len(tokens), columns]."""
    columns = source.entries[name].shape[1]
    if plan.init is Init.normal:
        return torch.stack([_draw(plan, name, token, columns) * plan.std for token in tokens])
    mean = None
    if plan.init is Init.global_mean or any(not plan.subtokens[token] for token in tokens):
        mean = _global_mean(source, name, plan.old_vocab)
    if plan.init is Init.global_mean:
        assert mean is not None
        return mean.expand(len(tokens), columns).clone()
    needed = sorted({part for token in tokens for part in plan.subtokens[token]})
    old = {part: source.rows(name, part, part + 1)[0].float() for part in needed}
    rows = []
    for token in tokens:
        parts = plan.subtokens[token]
        row = torch.stack([old[part] for part in parts]).mean(dim=0) if parts else mean
        assert row is not None
        rows.append(row)
    return _with_noise(torch.stack(rows), name, plan, tokens)


def _with_noise(rows: torch.Tensor, name: str, plan: ExtendPlan, tokens: range) -> torch.Tensor:
    if not plan.noise:
        return rows
    shared = Counter(plan.subtokens)
    for place, token in enumerate(tokens):
        if shared[plan.subtokens[token]] > 1:
            scale = plan.noise * rows[place].std()
            rows[place] += scale * _draw(plan, name, token, rows.shape[1])
    return rows


def _draw(plan: ExtendPlan, name: str, token: int, columns: int) -> torch.Tensor:
    """Standard normal numbers that depend on the seed, the matrix and the piece alone."""
    matrix = name in OUTPUTS
    generator = torch.Generator().manual_seed((plan.seed * 2 + matrix) * (1 << 24) + token)
    return torch.randn(columns, generator=generator)


def _global_mean(source: TensorFile, name: str, num_rows: int) -> torch.Tensor:
    """The mean of the first rows, in fp32 after summing in fp64: [columns]."""
    columns = source.entries[name].shape[1]
    total = torch.zeros(columns, dtype=torch.float64)
    step = max(1, CHUNK_BYTES // (8 * columns))
    for start in range(0, num_rows, step):
        total += source.rows(name, start, min(start + step, num_rows)).double().sum(dim=0)
    return (total / num_rows).float()


def _with_base(config: dict[str, Any], plan: ExtendPlan) -> dict[str, Any]:
    """The configuration with the first vocabulary's size, which a second extension keeps."""
    if not plan.subtokens:
        return config
    return {**config, BASE_VOCABULARY_KEY: config.get(BASE_VOCABULARY_KEY, plan.old_vocab)}


def _write_configuration(
    model: Path, folder: Path, config: dict[str, Any], tokenizer: Tokenizer, new_rows: int
) -> None:
    """config.json and generation_config.json; padding rows are never generated."""
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    if tokenizer.pad_id is not None:
        ids["pad_token_id"] = tokenizer.pad_id
    grown = {**ids, **{k: v for k, v in config.items() if v is not None}, "vocab_size": new_rows}
    if tokenizer.pad_id is not None:
        grown["pad_token_id"] = tokenizer.pad_id
    _write_json(folder / "config.json", grown)
    generation: dict[str, Any] = ids
    if (model / "generation_config.json").is_file():
        generation = {**ids, **read_json_object(model / "generation_config.json")}
    padding = list(range(tokenizer.vocab_size, new_rows))
    generation.pop("suppress_tokens", None)
    if padding:
        generation["suppress_tokens"] = padding
    _write_json(folder / "generation_config.json", generation)
    for kept in sorted((*model.glob("LICENSE*"), *model.glob("NOTICE*"))):
        if kept.is_file():
            shutil.copyfile(kept, folder / kept.name)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))

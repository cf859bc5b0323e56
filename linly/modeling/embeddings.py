"""New rows for added pieces in the embedding and output layer of a stored model.

A new row is the mean of the rows of the old tokens its piece was split into, computed in fp32 and
cast once (Linly). Chinese-LLaMA's global mean and normal noise are available for comparison.
Embedding rows come from embedding rows, output rows from output rows, a bias from the bias. Old
rows keep every bit. Files are read and written tensor by tensor, so memory stays bounded.
`vocabulary.py` finds the tensors with one row per token.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from linly.errors import ConfigError
from linly.files import inside
from linly.modeling.parts.new_rows import BASE_VOCABULARY_KEY
from linly.modeling.stored.configuration import is_in_documents, may_be_null, padding_id
from linly.modeling.stored.folder import new_folder
from linly.modeling.stored.stored_model import StoredModel, open_stored_model
from linly.modeling.stored.tensor_files import (
    CHUNK_BYTES,
    DTYPES,
    Outgoing,
    TensorEntry,
    TensorFile,
    tensor_bytes,
    write_tensor_file,
)
from linly.modeling.stored.weight_files import (
    WEIGHTS,
    WEIGHTS_INDEX,
    read_json_object,
    weight_files,
    weight_path,
    write_json_object,
)
from linly.modeling.vocabulary import Role, VocabularyTensors, vocabulary_tensors
from linly.storage.hub import model_in_cache
from linly.tokenization.hugging_face.tokenizer_export import TokenizerExport, export_tokenizer
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.subtokens import SubTokens, added_subtokens
from linly.tokenization.tokenizer import Tokenizer

BASE_MODEL_KEY = "base_model"
"""Key in config.json of an extended model: hub id and commit of the model before, if it has one."""

_ROWS_AT_A_TIME = 512


class Init(str, Enum):
    """Initialization of new rows."""

    mean_of_subtokens = "mean-of-subtokens"
    global_mean = "global-mean"
    normal = "normal"


@dataclass(frozen=True, slots=True)
class ExtendPlan:
    """Plan for the new rows of a model.

    Attributes:
        old_vocab: Pieces of its old tokenizer; later rows are padding.
        subtokens: Sub-tokens of each new piece, in order of ids.
        init: Initialization of new rows.
        multiple: Number to a multiple of which the rows are rounded up.
        noise: Standard deviation of the noise added to rows that equal others, as a fraction of
            the row's own standard deviation; 0 leaves them equal.
        seed: Seed of `noise` and of normal rows.
        std: Standard deviation of normal rows.
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
    """Result of `extend_model`.

    Attributes:
        old_rows: Rows of the embedding before.
        new_rows: Rows of the embedding after, padding included.
        num_added: New pieces that got a row.
        num_padding: Rows after the last piece.
        subtoken_counts: Number of sub-tokens -> number of new pieces with as many.
        identical: Groups of new ids with the same sub-tokens.
        matrices: Names of the tensors that grew.
        notes: Contradictions between the folder's files and its config.json.
        tokenizer: Export of the tokenizer next to the weights.
    """

    old_rows: int
    new_rows: int
    num_added: int
    num_padding: int
    subtoken_counts: dict[int, int]
    identical: tuple[tuple[int, ...], ...]
    matrices: tuple[str, ...]
    notes: tuple[str, ...]
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

    A model that already has the new vocabulary keeps all its rows: extending twice changes nothing.

    Args:
        model: A folder of safetensors.
        tokenizer: The new vocabulary; begins with the old one.
        output: A new folder; appears whole or not at all.
        base: The old vocabulary; by default the tokenizer of the model folder.
        init: Initialization of new rows.
        multiple: Number to a multiple of which the rows are padded, for speed.
        noise: Noise of rows that equal others, see `ExtendPlan`.
        seed: Seed of `noise` and of normal rows.

    Raises:
        ConfigError: If the folder, its tokenizer and the new one do not match.
    """
    stored = open_stored_model(model)
    base = base or load_tokenizer(model)
    plan = ExtendPlan(
        old_vocab=base.vocab_size,
        subtokens=added_subtokens(base, tokenizer),
        init=init,
        multiple=multiple,
        noise=noise,
        seed=seed,
        std=float(getattr(stored.config, "initializer_range", None) or 0.02),
    )
    old_rows = stored.config.vocab_size
    if old_rows < plan.old_vocab:
        raise ConfigError(
            f"model {model}: its embedding has {old_rows:,} rows, its tokenizer "
            f"{plan.old_vocab:,} pieces; pass the tokenizer it was trained with as "
            f"--base-tokenizer"
        )
    vocabulary = vocabulary_tensors(stored)
    new_rows = plan.num_rows(old_rows)
    with new_folder(output) as folder:
        _write_weights(stored, folder, plan, vocabulary)
        _write_configuration(stored, folder, plan, vocabulary, tokenizer)
        open_stored_model(folder)  # the files fit the configuration
        exported = export_tokenizer(tokenizer, folder, source=model)
    return ExtendReport(
        old_rows=old_rows,
        new_rows=new_rows,
        num_added=len(plan.subtokens),
        num_padding=new_rows - plan.new_vocab,
        subtoken_counts=dict(sorted(Counter(map(len, plan.subtokens)).items())),
        identical=identical_rows(plan),
        matrices=tuple(sorted(vocabulary.roles)),
        notes=stored.notes,
        tokenizer=exported,
    )


def identical_rows(plan: ExtendPlan) -> tuple[tuple[int, ...], ...]:
    """Groups of new ids with the same sub-tokens, and thus with the same mean."""
    groups: dict[SubTokens, list[int]] = {}
    for token, parts in enumerate(plan.subtokens, start=plan.old_vocab):
        groups.setdefault(parts, []).append(token)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _write_weights(
    stored: StoredModel, folder: Path, plan: ExtendPlan, vocabulary: VocabularyTensors
) -> None:
    total_bytes = 0
    for name in weight_files(stored.path):
        with TensorFile(weight_path(stored.path, name)) as source:
            outgoing = {
                tensor: _outgoing(source, tensor, plan, vocabulary) for tensor in source.entries
            }
            total_bytes += sum(tensor.num_bytes for tensor in outgoing.values())
            write_tensor_file(inside(folder, name), outgoing, source.metadata)
    if name != WEIGHTS:
        index = read_json_object(stored.path / WEIGHTS_INDEX)
        index["metadata"] = {**(index.get("metadata") or {}), "total_size": total_bytes}
        write_json_object(folder / WEIGHTS_INDEX, index)


def _outgoing(
    source: TensorFile, name: str, plan: ExtendPlan, vocabulary: VocabularyTensors
) -> Outgoing:
    entry = source.entries[name]
    role = vocabulary.roles.get(name)
    if role is None:
        pieces = source.chunks(entry.start, entry.num_bytes)
        return Outgoing(entry.dtype, entry.shape, entry.num_bytes, pieces)
    old_rows = entry.shape[0]
    if old_rows < plan.old_vocab or entry.dtype not in DTYPES:
        raise ConfigError(
            f"{source.path}: {name} is {entry.dtype} {list(entry.shape)}, expected at least "
            f"{plan.old_vocab:,} rows of {', '.join(DTYPES)}"
        )
    rows = plan.num_rows(old_rows)
    return Outgoing(
        entry.dtype,
        (rows, *entry.shape[1:]),
        entry.num_bytes // old_rows * rows,
        _grown_rows(source, name, entry, plan, role),
    )


def _grown_rows(
    source: TensorFile, name: str, entry: TensorEntry, plan: ExtendPlan, role: Role
) -> Iterator[bytes]:
    """Bytes of the tensor: old rows, new rows, the remaining old padding, new padding."""
    old_rows = entry.shape[0]
    row_bytes = entry.num_bytes // old_rows
    yield from source.chunks(entry.start, plan.old_vocab * row_bytes)
    for start in range(0, len(plan.subtokens), _ROWS_AT_A_TIME):
        tokens = range(start, min(start + _ROWS_AT_A_TIME, len(plan.subtokens)))
        yield tensor_bytes(_new_rows(source, name, plan, tokens, role).to(DTYPES[entry.dtype]))
    if plan.new_vocab < old_rows:
        left = old_rows - plan.new_vocab
        yield from source.chunks(entry.start + plan.new_vocab * row_bytes, left * row_bytes)
    padding = plan.num_rows(old_rows) - max(old_rows, plan.new_vocab)
    if padding:
        # The logit of a mean row is the mean of all logits: never the largest.
        mean = _global_mean(source, name, plan.old_vocab).to(DTYPES[entry.dtype])
        yield tensor_bytes(mean) * padding


def _new_rows(
    source: TensorFile, name: str, plan: ExtendPlan, tokens: range, role: Role
) -> torch.Tensor:
    """Rows of some new pieces (counted from the first new one): fp32 [len(tokens), columns].

    A bias is a matrix of one column. It is neither drawn nor given noise: its mean is neutral.
    """
    columns = source.entries[name].num_columns
    if plan.init is Init.normal and role is not Role.bias:
        return torch.stack([_draw(plan, role, token, columns) * plan.std for token in tokens])
    mean = None
    is_mean_of_all = plan.init is not Init.mean_of_subtokens
    if is_mean_of_all or any(not plan.subtokens[token] for token in tokens):
        mean = _global_mean(source, name, plan.old_vocab)
    if is_mean_of_all:
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
    return _with_noise(torch.stack(rows), plan, tokens, role)


def _with_noise(rows: torch.Tensor, plan: ExtendPlan, tokens: range, role: Role) -> torch.Tensor:
    if not plan.noise or role is Role.bias:
        return rows
    shared = Counter(plan.subtokens)
    for place, token in enumerate(tokens):
        if shared[plan.subtokens[token]] > 1:
            scale = plan.noise * rows[place].std()
            rows[place] += scale * _draw(plan, role, token, rows.shape[1])
    return rows


def _draw(plan: ExtendPlan, role: Role, token: int, columns: int) -> torch.Tensor:
    """Standard normal numbers that depend only on the seed, the matrix's role and the piece."""
    seed = (plan.seed * 2 + (role is Role.output)) * (1 << 24) + token
    generator = torch.Generator().manual_seed(seed + (1 << 23) * (role is Role.layer_input))
    return torch.randn(columns, generator=generator)


def _global_mean(source: TensorFile, name: str, num_rows: int) -> torch.Tensor:
    """Mean of the first `num_rows` rows, summed in fp64: fp32 [columns]."""
    columns = source.entries[name].num_columns
    total = torch.zeros(columns, dtype=torch.float64)
    step = max(1, CHUNK_BYTES // (8 * columns))
    for start in range(0, num_rows, step):
        total += source.rows(name, start, min(start + step, num_rows)).double().sum(dim=0)
    return (total / num_rows).float()


def _write_configuration(
    stored: StoredModel,
    folder: Path,
    plan: ExtendPlan,
    vocabulary: VocabularyTensors,
    tokenizer: Tokenizer,
) -> None:
    """Write config.json and generation_config.json; padding rows are never generated.

    Keys that do not change keep their place and value, nulls included.
    """
    file = read_json_object(stored.path / "config.json")
    new_rows = plan.num_rows(stored.config.vocab_size)
    changes = _changes(stored, file, plan, vocabulary, tokenizer)
    if origin := model_in_cache(stored.path):
        changes[BASE_MODEL_KEY] = str(origin)
    write_json_object(folder / "config.json", file | changes)
    generation: dict[str, Any] = {}
    if (stored.path / "generation_config.json").is_file():
        generation = read_json_object(stored.path / "generation_config.json")
    ids = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": padding_id(tokenizer),
    }
    missing = {k: token for k, token in ids.items() if token is not None and k not in generation}
    suppressed = [t for t in generation.pop("suppress_tokens", None) or [] if t < plan.old_vocab]
    suppressed += range(tokenizer.vocab_size, new_rows)
    generation |= missing | ({"suppress_tokens": suppressed} if suppressed else {})
    write_json_object(folder / "generation_config.json", generation)
    for kept in sorted((*stored.path.glob("LICENSE*"), *stored.path.glob("NOTICE*"))):
        if kept.is_file():
            shutil.copyfile(kept, folder / kept.name)


def _changes(
    stored: StoredModel,
    file: Mapping[str, Any],
    plan: ExtendPlan,
    vocabulary: VocabularyTensors,
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """Keys of config.json that an extension changes or adds."""
    changes: dict[str, Any] = {key: plan.num_rows(rows) for key, rows in vocabulary.sizes.items()}
    if plan.subtokens:
        changes[BASE_VOCABULARY_KEY] = file.get(BASE_VOCABULARY_KEY, plan.old_vocab)
    pad = file.get("pad_token_id", getattr(stored.config, "pad_token_id", None))
    is_real = pad is not None and is_in_documents(tokenizer, pad)
    if is_real or (tokenizer.pad_id or 0) >= plan.old_vocab:
        new_pad = padding_id(tokenizer)
        if new_pad is not None or may_be_null(stored.config, "pad_token_id"):
            changes["pad_token_id"] = new_pad
    if stored.is_untied:
        changes["tie_word_embeddings"] = False
    return changes

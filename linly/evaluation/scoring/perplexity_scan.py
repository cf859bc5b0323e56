"""List the records whose perplexity under a model is outside bounds (InsCP, arXiv 2405.20175)."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linly.config.corpus import Corpus
from linly.data.record_list import ListedRecord, Scanned, write_record_list
from linly.data.types import Shard
from linly.errors import ConfigError
from linly.evaluation.scoring.record_scores import ScoringModel, read_scores, score_corpus
from linly.modeling.attention.separation import way_of_evaluation
from linly.modeling.load_model import load_model
from linly.modeling.positions import num_positions
from linly.modeling.stored.weight_files import hash_weights
from linly.records.measures import bits_per_byte
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes

MAX_LENGTH = 2048
"""Tokens of a window unless another length is asked for."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class PerplexityBounds:
    """Perplexity of the records to keep.

    Attributes:
        at_most: Largest perplexity; None for no bound.
        at_least: Smallest perplexity; None for no bound.
    """

    at_most: float | None = None
    at_least: float | None = None

    def keeps(self, perplexity: float) -> bool:
        """Whether a record with this perplexity is kept."""
        if self.at_most is not None and perplexity > self.at_most:
            return False
        return self.at_least is None or perplexity >= self.at_least


@dataclass(frozen=True, slots=True)
class PerplexityCounts:
    """Result for one corpus.

    Attributes:
        records: Number of scored records.
        kept: Number of records within the bounds.
        quantiles: Perplexity at 10, 25, 50, 75 and 90% of the records; empty without records.
        bits_per_byte: Bits per byte of all scored text; None without records.
    """

    records: int
    kept: int
    quantiles: tuple[float, ...]
    bits_per_byte: float | None


def scan_perplexity(
    corpora: Sequence[Corpus],
    data_root: Path,
    scoring: ScoringModel,
    bounds: PerplexityBounds,
    output: Path,
    processes: Processes,
) -> dict[str, PerplexityCounts]:
    """Score corpora, and write the list of the records outside the bounds; a collective.

    Scores are kept in `OUTPUT.parts` until the list is written: a start after an interruption
    computes only what is missing. Memory: a part per rank, and 24 bytes per record on rank 0.

    Returns:
        Counts of each corpus on rank 0; none elsewhere.

    Raises:
        ConfigError: If the parts belong to another model or corpus.
        DataError: If a corpus has no shard, or one is damaged.
    """
    folder = output.with_name(f"{output.name}.parts")
    scanned: Scanned = {
        corpus.name: score_corpus(corpus, data_root, scoring, folder / corpus.name, processes)
        for corpus in corpora
    }
    counts: dict[str, PerplexityCounts] = {}
    with processes.together(f"writing {output}"):
        if processes.is_first:
            listed: list[ListedRecord] = []
            for name, shards in scanned.items():
                counts[name] = _list_records(name, folder, shards, bounds, listed)
            settings = {"perplexity": scoring.identity, "at_most": bounds.at_most}
            write_record_list(output, listed, scanned, settings | {"at_least": bounds.at_least})
            shutil.rmtree(folder)
    return counts


def _list_records(
    corpus: str,
    folder: Path,
    shards: Sequence[Shard],
    bounds: PerplexityBounds,
    listed: list[ListedRecord],
) -> PerplexityCounts:
    """Add a corpus's records outside the bounds to `listed`."""
    found = []
    kept, nll, size_bytes = 0, 0.0, 0
    for score in read_scores(folder / corpus, shards):
        perplexity = score.perplexity
        found.append(perplexity)
        nll += score.nll
        size_bytes += score.size_bytes
        if bounds.keeps(perplexity):
            kept += 1
        else:
            place = corpus, score.shard, score.record
            listed.append(ListedRecord(*place, "perplexity", score=perplexity))
    quantiles = np.quantile(found, QUANTILES, method="lower").tolist() if found else []
    whole = bits_per_byte(nll, size_bytes) if size_bytes else None
    return PerplexityCounts(len(found), kept, tuple(quantiles), whole)


def model_hash(folder: Path, tokenizer: Tokenizer) -> str:
    """Hash of what a model's scores depend on: its configuration, weights and tokenizer.

    Raises:
        ConfigError: If the folder has no safetensors.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for name, sha256 in sorted(hash_weights(folder).items()):
        digest.update(f"{name} {sha256}".encode())
    digest.update(tokenizer.fingerprint.encode())
    return digest.hexdigest()


def open_scoring_model(
    folder: Path, processes: Processes, *, sequence_length: int | None, batch_rows: int
) -> ScoringModel:
    """Load a model folder to score with.

    Args:
        folder: Model folder with its tokenizer.
        processes: Processes of the scan; the model goes to this one's device.
        sequence_length: Tokens of a window; None for the model's positions, at most 2,048.
        batch_rows: Packed rows per forward pass.

    Raises:
        ConfigError: If there is no such model, or it has fewer positions.
    """
    with processes.together(f"loading {folder}"):
        model = load_model(folder)
        tokenizer = load_tokenizer(folder)
        positions = num_positions(model.config)
        length = sequence_length or min(positions or MAX_LENGTH, MAX_LENGTH)
        if positions is not None and length > positions:
            raise ConfigError(
                f"--sequence-length: found {length:,}, allowed: {positions:,} or less, the "
                f"positions of {folder}"
            )
        model.to(processes.device).train(False)  # type: ignore[arg-type]
        way = way_of_evaluation(model, length)
        identity = model_hash(folder, tokenizer)
    return ScoringModel(model, tokenizer, identity, length, batch_rows, way)

"""Evaluation on held-out documents, per source, in loss and in bits per byte.

Every token of a document except its first is predicted once: documents longer than a row are cut
into windows that overlap by one token, which are packed into rows (`packed_windows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PretrainedConfig, PreTrainedModel

from linly.config.corpus import Corpus
from linly.config.sections.evaluation_section import EvaluationSettings
from linly.curriculum.timeline import Timeline
from linly.data.documents.encoding import encode_documents
from linly.data.types import IGNORE_LABEL, Document, EncodedDocument
from linly.errors import ConfigError
from linly.evaluation.packed_windows import PackedWindows, Window
from linly.modeling.attention.separation import Way
from linly.modeling.completion import complete, prompt_ids
from linly.modeling.positions import num_positions
from linly.records.evaluation_record import SourceEvaluation
from linly.records.measures import bits_per_byte
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out documents of a source.

    Attributes:
        windows: (ids, labels), each int32 [up to sequence_length], labels unshifted.
        num_documents: Number of documents that the windows are cut from.
        size_bytes: UTF-8 bytes of the documents' supervised text.
    """

    source: str
    language: str
    kind: str
    windows: tuple[Window, ...]
    num_documents: int
    size_bytes: int


class Evaluator:
    """Evaluates a model on a fixed set of documents; all ranks take part."""

    def __init__(
        self,
        held_out: Sequence[HeldOut],
        processes: Processes,
        *,
        sequence_length: int,
        batch_rows: int,
        way: Way | None = "positions",
    ) -> None:
        """Pack the windows into rows, each source separately.

        Args:
            held_out: Documents of each source.
            processes: Processes of the run.
            sequence_length: Positions of a packed row.
            batch_rows: Packed rows per forward pass.
            way: Method by which the model separates the documents of a row; None if it cannot.
        """
        self._held_out = [source for source in held_out if source.windows]
        self._packed = PackedWindows(
            [source.windows for source in self._held_out],
            processes,
            sequence_length=sequence_length,
            batch_rows=batch_rows,
            way=way,
        )

    def evaluate(self, model: PreTrainedModel) -> dict[str, SourceEvaluation]:
        """Loss and bits per byte of every source that has held-out documents.

        Args:
            model: Model in evaluation mode, without gradients; the same on all ranks.

        Returns:
            The `sources` of an evaluation record, the same on all ranks.
        """
        nll = self._packed.nll(model)
        return {
            source.source: _result(source, math.fsum(found))
            for source, found in zip(self._held_out, nll, strict=True)
        }


def prepare_held_out(
    timeline: Timeline, documents: Mapping[str, Sequence[Document]], tokenizer: Tokenizer
) -> list[HeldOut]:
    """Encode the held-out documents of each source that has any and cut them into windows.

    Args:
        timeline: Timeline of the run; a source that it has dropped is evaluated as well.
        documents: Held-out documents of every source.
        tokenizer: Tokenizer of the run.
    """
    return [
        encode_held_out(
            source,
            timeline.corpora[timeline.sources[source].corpus],
            documents[source],
            tokenizer,
            sequence_length=timeline.sequence_length,
        )
        for source in sorted(source for source in documents if documents[source])
    ]


def encode_held_out(
    source: str,
    corpus: Corpus,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    *,
    sequence_length: int,
) -> HeldOut:
    """Encode the held-out documents of a source and cut them into windows.

    Args:
        source: Name of the source.
        corpus: Its corpus.
        documents: Its held-out documents, at least one.
        tokenizer: Tokenizer of the model.
        sequence_length: Positions of a row.
    """
    encoded = encode_documents(tokenizer, documents)
    return HeldOut(
        source,
        corpus.language,
        corpus.kind,
        tuple(window for document in encoded for window in windows(document, sequence_length)),
        sum(len(document.starts) for document in encoded),
        sum(
            len(segment.text.encode())
            for document in documents
            for segment in document.segments
            if segment.supervised and segment.form != "special"
        ),
    )


def windows(document: EncodedDocument, length: int) -> Iterator[Window]:
    """Cut a record's documents into windows; each token except the first is a target once.

    The end-of-sequence token is never a target: it does not represent any text.

    Yields:
        ids and unshifted labels, int32 [up to `length`].
    """
    labels = np.where(document.supervised, document.ids, IGNORE_LABEL).astype(np.int32)
    for begin, end in zip(document.starts, document.ends, strict=True):
        labels[end - 1] = IGNORE_LABEL
        for start in range(begin, max(begin + 1, end - 1), length - 1):
            stop = min(start + length, end)
            window = labels[start:stop].copy()
            window[0] = IGNORE_LABEL
            if (window != IGNORE_LABEL).any():
                yield document.ids[start:stop], window


def check_prompts(
    config: PretrainedConfig, tokenizer: Tokenizer, settings: EvaluationSettings
) -> None:
    """Check that the completion of each prompt fits into the model's positions.

    Raises:
        ConfigError: If one does not.
    """
    positions = num_positions(config)
    if positions is None or not settings.prompts:
        return
    longest = max(len(prompt_ids(tokenizer, prompt)) for prompt in settings.prompts)
    if longest + settings.max_new_tokens > positions:
        raise ConfigError(
            f"evaluation.max_new_tokens: found {settings.max_new_tokens:,}, allowed: "
            f"{positions - longest:,} or less: the longest of evaluation.prompts has {longest:,} "
            f"tokens and the model {positions:,} positions; lower it, or shorten the prompt"
        )


def generate_samples(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    processes: Processes,
    *,
    max_new_tokens: int,
) -> list[dict[str, str]]:
    """Greedy completions of the prompts, which are distributed over the ranks.

    The model must be in evaluation mode, without gradients, and the same on all ranks.
    """
    settings = {"do_sample": False, "max_new_tokens": max_new_tokens}
    mine = {}
    with processes.together("completing the prompts"):
        for index in range(processes.rank, len(prompts), processes.world_size):
            ids = prompt_ids(tokenizer, prompts[index])
            mine[str(index)] = complete(model, tokenizer, ids, settings)
    texts = {index: text for part in processes.gather_json(mine) for index, text in part.items()}
    return [{"prompt": prompt, "text": texts[str(index)]} for index, prompt in enumerate(prompts)]


def _result(source: HeldOut, nll: float) -> SourceEvaluation:
    targets = sum(int((labels != IGNORE_LABEL).sum()) for _, labels in source.windows)
    return SourceEvaluation(
        language=source.language,
        kind=source.kind,
        documents=source.num_documents,
        loss=nll / targets,
        bits_per_byte=bits_per_byte(nll, source.size_bytes),
        tokens=targets,
        size_bytes=source.size_bytes,
    )

"""The Chinese-LLaMA merge: pieces of another vocabulary appended to a base (arXiv 2304.08177)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from linly.errors import ConfigError
from linly.tokenization.growth.reachable import unreachable_pieces
from linly.tokenization.model_file import BPE, NORMAL, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer

RANK_STEP = 2e-5
"""Distance between the scores of neighbours: all stay above -1, where LLaMA's own merges begin."""


class Scores(str, Enum):
    """Scores of the appended pieces.

    `zero` is the choice of the published models: all pieces tie, and sentencepiece merges the
    leftmost. `ranked` follows the other vocabulary's order, so that a list of merges can produce
    the same ids.
    """

    ranked = "ranked"
    zero = "zero"


@dataclass(frozen=True, slots=True)
class Merge:
    """A merged vocabulary, with counts of the other's pieces.

    Attributes:
        model_bytes: The merged model, serialized.
        num_added: Number of pieces appended.
        num_shared: Number of the other's pieces that the base has.
        unreachable: Appended pieces that text never produces: their parts do not merge into them.
    """

    model_bytes: bytes
    num_added: int
    num_shared: int
    unreachable: tuple[str, ...]


def merge_vocabularies(
    base: SentencePieceTokenizer, other: SentencePieceTokenizer, scores: Scores
) -> Merge:
    """Append every ordinary piece of `other` that the base lacks, in the other's order.

    The base's ids, normalizer and trainer settings stay.

    Raises:
        ConfigError: If the base is not BPE, so that scores are not an order of merges; or if the
            other's ranks would fall below the base's own merges.
    """
    model = parse_model(base.model_bytes, origin="base")
    if model.trainer_spec.model_type != BPE:
        raise ConfigError("the base vocabulary is not BPE; pieces can only be merged into BPE")
    known = {piece.piece for piece in model.pieces}
    theirs = parse_model(other.model_bytes, origin="other").pieces
    added = [p.piece for p in theirs if p.type == NORMAL and p.piece not in known]
    num_old = len(model.pieces)
    for rank, piece in enumerate(added):
        score = -RANK_STEP * rank if scores is Scores.ranked else 0.0
        model.pieces.add(piece=piece, score=score, type=NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return Merge(
        model_bytes=bytes(model.SerializeToString()),
        num_added=len(added),
        num_shared=sum(piece.piece in known for piece in theirs),
        unreachable=unreachable_pieces(model, first=num_old),
    )

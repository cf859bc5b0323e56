"""linly.evaluation.scoring: each record's perplexity is what plain transformers computes."""

from __future__ import annotations

import math
from pathlib import Path

import orjson
import pytest
import torch
from transformers import AutoModelForCausalLM

from linly.config.corpus import Corpus, load_corpus
from linly.data.record_list import read_record_list
from linly.errors import ConfigError
from linly.evaluation.scoring import record_scores
from linly.evaluation.scoring.perplexity_scan import (
    PerplexityBounds,
    open_scoring_model,
    scan_perplexity,
)
from linly.evaluation.scoring.record_scores import RecordScore, ScoringModel, score_corpus
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

ALONE = Processes(0, 1, torch.device("cpu"))
LENGTH = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    make_tiny_world(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(world: Path) -> Corpus:
    return load_corpus("english", [world / "corpora"])


@pytest.fixture(scope="module")
def scoring(world: Path) -> ScoringModel:
    return open_scoring_model(world / "model", ALONE, sequence_length=LENGTH, batch_rows=4)


def plain_perplexities(world: Path) -> dict[tuple[str, int], float]:
    """Perplexity of every record by transformers, one window at a time."""
    model = AutoModelForCausalLM.from_pretrained(world / "model").float().eval()
    tokenizer = load_tokenizer(world / "model")
    found = {}
    for shard in ("english/0.jsonl", "english/1.jsonl"):
        for record, line in enumerate((world / "data" / shard).read_bytes().splitlines()):
            text = tokenizer.encode(orjson.loads(line)["text"]).tolist()
            ids = [tokenizer.bos_id, *text]
            nll = 0.0
            for start in range(0, len(ids) - 1, LENGTH - 1):
                window = torch.tensor([ids[start : start + LENGTH]])
                with torch.no_grad():
                    loss = model(window, labels=window).loss
                nll += float(loss) * (window.shape[1] - 1)
            found[shard, record] = math.exp(nll / len(text))
    return found


def _gap(ordered: list[float], near: int) -> float:
    """A bound in the widest gap near a rank, far from every value compared with rounding."""
    place = max(range(near - 20, near + 20), key=lambda at: ordered[at + 1] - ordered[at])
    assert ordered[place + 1] / ordered[place] > 1 + 1e-4
    return (ordered[place] + ordered[place + 1]) / 2


def test_kept_share_and_order_are_those_of_plain_transformers(
    world: Path, corpus: Corpus, scoring: ScoringModel, tmp_path: Path
) -> None:
    expected = plain_perplexities(world)
    ordered = sorted(expected.values())
    bounds = PerplexityBounds(at_least=_gap(ordered, 150), at_most=_gap(ordered, 450))
    left_out = {place for place, value in expected.items() if not bounds.keeps(value)}
    output = tmp_path / "list.parquet"
    counts = scan_perplexity([corpus], world / "data", scoring, bounds, output, ALONE)["english"]
    rows = read_record_list(output, "english").table.to_pylist()
    assert {(row["shard"], row["record"]) for row in rows} == left_out
    assert counts.records == 600
    assert counts.kept == 600 - len(left_out)
    assert counts.quantiles[2] == pytest.approx(ordered[299], rel=1e-4)
    by_score = sorted(rows, key=lambda row: row["score"])
    assert [expected[row["shard"], row["record"]] for row in by_score] == pytest.approx(
        sorted(expected[place] for place in left_out), rel=1e-4
    )
    assert not output.with_name("list.parquet.parts").exists()


def test_an_interrupted_scan_computes_only_what_is_missing(
    world: Path,
    corpus: Corpus,
    scoring: ScoringModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_scores, "CHUNK_RECORDS", 100)
    score_corpus(corpus, world / "data", scoring, tmp_path / "whole", ALONE)
    parts = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.parquet")}
    assert len(parts) == 6
    for rank in (0, 1):  # each rank by itself, as if the other had been killed
        half = Processes(rank, 2, torch.device("cpu"))
        monkeypatch.setattr(Processes, "gather_json", lambda self, value: [value])
        score_corpus(corpus, world / "data", scoring, tmp_path / "halves", half)
        assert len(list((tmp_path / "halves").glob("*.parquet"))) in (3, 6)
    halves = {path.name: path.read_bytes() for path in (tmp_path / "halves").glob("*.parquet")}
    assert halves == parts
    monkeypatch.setattr(record_scores, "_scores", None)  # nothing is computed again
    score_corpus(corpus, world / "data", scoring, tmp_path / "halves", ALONE)


def test_parts_of_another_model_or_corpus_are_refused(
    world: Path, corpus: Corpus, scoring: ScoringModel, tmp_path: Path
) -> None:
    (tmp_path / "scores.json").write_bytes(orjson.dumps({"model": "other"}))
    with pytest.raises(ConfigError, match="begun with another model, corpus, shards"):
        score_corpus(corpus, world / "data", scoring, tmp_path, ALONE)


def test_more_tokens_than_positions_are_refused(world: Path) -> None:
    with pytest.raises(ConfigError, match="--sequence-length: found 999,999, allowed"):
        open_scoring_model(world / "model", ALONE, sequence_length=999_999, batch_rows=1)


def test_perplexity_beyond_floats_is_infinite() -> None:
    assert RecordScore("a", 0, 1e6, 1, 1).perplexity == math.inf

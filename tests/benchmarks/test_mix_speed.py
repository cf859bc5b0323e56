"""How fast one process mixes real text: beside bare sentencepiece, and beside `datasets`.

Rows of 2,048 tokens, 60% English and 40% Chinese, LLaMA's vocabulary with 8,076 characters added.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import pytest
import sentencepiece
import tokenizers

from linly.config.corpus import Corpus
from linly.config.recipe import load_recipe
from linly.data.mixing.stream_plan import StreamPlan
from linly.data.reading.shards import list_shards
from linly.tokenization.hugging_face.tokenizer_export import hugging_face_json
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.real_mixture import (
    CHINESE,
    ENGLISH,
    MIXTURE,
    SEQUENCE_LENGTH,
    extend_llama,
    make_rows,
    texts_of,
    write_recipe,
)
from tests.support.speed import Measured, Target, cpu_seconds, side_by_side, table_row
from tests.support.tiny_corpora import load_corpora
from tests.support.worlds import plan_of

pytestmark = pytest.mark.benchmark

REPOSITORY = Path(__file__).resolve().parents[2]

GPU_RATES = {
    "1.1B": round(3733 * 6.74 / 1.1),
    "7B": 3733,  # an A100 of 80 GB, 48% of its peak by 6 N; the others at the same share of it
    "13B": round(3733 * 6.74 / 13.02),
}
"""Model -> tokens a second that one GPU trains on."""


@pytest.fixture(scope="module")
def tokenizer_path(llama_tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extend_llama(llama_tokenizer_path, tmp_path_factory.mktemp("vocabulary"))


def of_all(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares that add up to 100%."""
    return {name: 100 * share / sum(shares.values()) for name, share in shares.items()}


def beside_sentencepiece(
    plan: StreamPlan, tokenizer_path: Path, *, num_rows: int, rounds: int
) -> dict[str, Measured]:
    """Tokens a second of sentencepiece alone on the rows' documents, and of the whole mixer.

    The garbage collector looks past what the tests' libraries hold: a producer imports none of it.
    """
    gc.collect()
    gc.freeze()
    texts = texts_of(plan, SentencePieceTokenizer.load(tokenizer_path), num_rows)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_path))
    num_bare = sum(len(processor.encode(text)) for text in texts)
    model = tokenizer_path.read_bytes()
    cached = uncached = SentencePieceTokenizer(model, by_words=False)

    def bare() -> float:
        return num_bare / cpu_seconds(lambda: [processor.encode(text) for text in texts])

    def mixer(tokenizer: SentencePieceTokenizer) -> float:
        seconds = cpu_seconds(lambda: make_rows(plan, tokenizer, num_rows))
        return num_rows * SEQUENCE_LENGTH / seconds

    def cold() -> float:
        nonlocal cached
        cached = SentencePieceTokenizer(model)
        return mixer(cached)

    return side_by_side(
        {"bare": bare, "off": lambda: mixer(uncached), "cold": cold, "warm": lambda: mixer(cached)},
        rounds=rounds,
    )


def show(what: str, found: Mapping[str, Measured], targets: Mapping[str, Target]) -> None:
    names = {"cold": "new word cache", "warm": "warm word cache", "off": "no word cache"}
    for key, target in targets.items():
        figures = f"{millions(found[key])}, sentencepiece {millions(found['bare'])}"
        ratio = found[key].over(found["bare"])
        print(table_row(f"{what}, {names[key]}", figures, ratio, target))


def millions(rate: Measured) -> str:
    return f"{rate.median / 1e6:.2f} M tokens/s"


def test_the_mixer_beside_bare_sentencepiece(
    real_data: Path, tokenizer_path: Path, tmp_path: Path
) -> None:
    num_rows = 4000  # nearly all of the text, once
    recipe = write_recipe(tmp_path, MIXTURE, num_rows=num_rows, data_root=real_data)
    plan = plan_of(load_recipe(recipe), tokenizer_path)
    found = beside_sentencepiece(plan, tokenizer_path, num_rows=num_rows, rounds=9)
    print()
    targets = {"cold": Target(1.8), "warm": Target(2.5), "off": Target(0.92)}
    show("Mixer, 60% English, 40% Chinese", found, targets)
    print("\n| model | tokens/s of a GPU | GPUs supplied, new cache | GPUs supplied, warm cache |")
    for model, rate in GPU_RATES.items():
        cold, warm = (found[key].median / rate for key in ("cold", "warm"))
        print(f"| {model} | {rate:,} | {cold:,.0f} | {warm:,.0f} |")


@pytest.mark.parametrize(
    ("what", "shares", "num_rows"),
    [
        ("English only", ENGLISH, 1000),
        ("Chinese only", CHINESE, 2000),
        ("Sentence pairs of 20 tokens", {"real-tatoeba": 100}, 150),
    ],
)
def test_one_language_and_short_documents(
    what: str,
    shares: Mapping[str, float],
    num_rows: int,
    real_data: Path,
    tokenizer_path: Path,
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path, of_all(shares), num_rows=num_rows, data_root=real_data)
    plan = plan_of(load_recipe(recipe), tokenizer_path)
    found = beside_sentencepiece(plan, tokenizer_path, num_rows=num_rows, rounds=3)
    print()
    show(what, found, {"cold": Target(), "warm": Target(), "off": Target()})


def test_the_mixer_beside_interleave_datasets(
    real_data: Path, tokenizer_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    num_rows = 4000  # nearly all of the text, once
    recipe = write_recipe(tmp_path, MIXTURE, num_rows=num_rows, data_root=real_data)
    plan = plan_of(load_recipe(recipe), tokenizer_path)
    model = tokenizer_path.read_bytes()
    fast = tokenizers.Tokenizer.from_str(hugging_face_json(SentencePieceTokenizer(model)).decode())

    tokenizer = SentencePieceTokenizer(model)

    def ours() -> float:
        seconds = cpu_seconds(lambda: make_rows(plan, tokenizer, num_rows))
        return num_rows * SEQUENCE_LENGTH / seconds

    def new() -> float:
        nonlocal tokenizer
        tokenizer = SentencePieceTokenizer(model)
        return ours()

    def theirs() -> float:
        rows = interleaved(real_data, fast, tmp_path / "cache")
        seconds = cpu_seconds(lambda: take(rows, num_rows))
        return num_rows * SEQUENCE_LENGTH / seconds

    found = side_by_side({"theirs": theirs, "new": new, "warm": ours}, rounds=3)
    print()
    for key in ("new", "warm"):
        figures = f"{millions(found[key])}, datasets {millions(found['theirs'])}"
        ratio = found[key].over(found["theirs"])
        what = f"Mixer relative to `datasets`, {key} word cache"
        print(table_row(what, figures, ratio, Target(4)))


def take(rows: Iterator[Any], num_rows: int) -> None:
    """Go through rows, all of which must be whole."""
    taken = list(islice((len(row["input_ids"]) for row in rows), num_rows))
    assert taken == [SEQUENCE_LENGTH] * num_rows


def interleaved(
    data_root: Path, tokenizer: tokenizers.Tokenizer, cache: Path
) -> Iterator[dict[str, Any]]:
    """The same files in the same ratios: each source tokenized, packed, then interleaved."""
    corpora = load_corpora(REPOSITORY / "tests/real/corpora")
    streams = [
        text_dataset(corpora[name], data_root, cache)
        .map(lambda batch: encode(tokenizer, batch), batched=True, batch_size=16)
        .select_columns(["input_ids"])
        .map(pack, batched=True, batch_size=16)
        for name in MIXTURE
    ]
    return iter(
        datasets.interleave_datasets(
            streams,
            probabilities=[share / 100 for share in MIXTURE.values()],
            seed=1,
            stopping_strategy="all_exhausted",
        )
    )


def text_dataset(corpus: Corpus, data_root: Path, cache: Path) -> Any:
    """A corpus as a stream of records with a `text`."""
    files = [str(data_root / shard.path) for shard in list_shards(corpus, data_root)]
    kind = next(k for k in ("json", "parquet", "txt") if f".{k}" in files[0])
    stream = datasets.load_dataset(
        {"txt": "text"}.get(kind, kind),
        data_files=files,
        split="train",
        streaming=True,
        cache_dir=str(cache),
    )
    form = corpus.fields["text"].replace("?", "")
    form = form if "{" in form else f"{{{form}}}"
    return stream.map(lambda record: {"text": form.format(**record)})


def encode(tokenizer: tokenizers.Tokenizer, batch: Mapping[str, list[str]]) -> dict[str, Any]:
    """Ids between a BOS and an EOS."""
    encoded = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
    return {"input_ids": [[1, *one.ids, 2] for one in encoded]}


def pack(batch: Mapping[str, list[list[int]]]) -> dict[str, Any]:
    """Concatenate and cut into rows; what is left over is dropped."""
    ids = list(chain.from_iterable(batch["input_ids"]))
    last = len(ids) - SEQUENCE_LENGTH
    return {
        "input_ids": [ids[at : at + SEQUENCE_LENGTH] for at in range(0, last + 1, SEQUENCE_LENGTH)]
    }

"""linly.data.guessing.corpus_drafts: corpora drafted from folders, lists of files and patterns."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from linly.config.corpus import make_corpus
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.data.guessing import file_groups
from linly.data.guessing.corpus_drafts import CorpusDrafts, draft_corpora
from linly.data.reading.shards import list_shards
from linly.errors import DataError
from tests.unit.data.guessing.test_guess_language import TEXTS

DATA = Path(os.environ.get("LINLY_TEST_DATA", "../shared/data"))


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., None]:
    """Write files of one text each: JSON lines by suffix, else lines of text."""

    def write(**texts_by_name: str) -> None:
        for name, text in texts_by_name.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = orjson.dumps({"text": text}) if ".jsonl" in name else text.encode()
            path.write_bytes(gzip.compress(data + b"\n") if name.endswith(".gz") else data + b"\n")

    return write


def drafted(root: Path, *patterns: str) -> dict[str, tuple[str, object]]:
    """Draft, and return name -> (language, paths); every text reads back as its corpus."""
    found = draft_corpora(patterns, root)
    check(found)
    return {draft.name: (draft.language, draft.corpus.paths) for draft in found.drafts}


def check(found: CorpusDrafts) -> None:
    for draft in found.drafts:
        if "?" not in draft.language:
            tree = parse_yaml(draft.text, Origin("a.yaml", None, Path(".")))
            assert make_corpus(draft.name, tree) == draft.corpus
        assert list_shards(draft.corpus, found.data_root) == draft.shards
        assert draft.document.segments


def test_a_folder_becomes_a_corpus_for_each_folder_and_language(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    put(**{
        "data/english/part1/a.jsonl": TEXTS["en"], "data/english/part2/a.jsonl": TEXTS["en"],
        "data/mixed/x.jsonl": TEXTS["ko"], "data/mixed/y.jsonl": TEXTS["ko"],
        "data/mixed/z.jsonl.gz": TEXTS["th"], "data/README.md": "About.",
        "data/english/validation/a.jsonl": TEXTS["en"],
    })  # fmt: skip
    assert drafted(tmp_path / "data", str(tmp_path / "data")) == {
        "english": ("en", ("english/part1/a.jsonl", "english/part2/a.jsonl")),
        "english-validation": ("en", ("english/validation/a.jsonl",)),
        "mixed-ko": ("ko", ("mixed/*.jsonl",)),
        "z": ("th", ("mixed/z.jsonl.gz",)),
    }


@pytest.mark.parametrize(
    "patterns",
    [["train.en", "train.ko"], ["train.*"], ["*.en", "*.ko"], ["."], ["train.??"]],
)
@pytest.mark.parametrize("codec", ["", ".gz"])
def test_files_of_two_language_endings_are_pairs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    put: Callable[..., None],
    patterns: list[str],
    codec: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    put(**{f"train.{language}{codec}": TEXTS[language] for language in ("en", "ko")})
    given = [one + codec if one[-1] not in ".*" else one for one in patterns]
    found = draft_corpora(given, None)
    check(found)
    (draft,) = found.drafts
    assert draft.corpus.kind == "parallel"
    assert draft.language == "en-ko"
    paths = draft.corpus.paths
    assert {language: Path(path).name for language, path in dict(paths).items()} == {
        "en": f"train.en{codec}",
        "ko": f"train.ko{codec}",
    }


def test_pairs_of_several_stems_have_a_pattern_for_each_language(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    put(**{f"opus/{s}.{code}": TEXTS[code] for s in ("a", "b.c") for code in ("de", "en")})
    paths = {"de": "opus/*.de", "en": "opus/*.en"}
    assert drafted(tmp_path, "opus/*") == {"opus": ("de-en", paths)}
    put(**{"opus/alone.en": TEXTS["en"]})
    assert drafted(tmp_path, "opus/*") == {
        "a": ("de-en", {"de": "opus/a.de", "en": "opus/a.en"}),
        "b": ("de-en", {"de": "opus/b.c.de", "en": "opus/b.c.en"}),
        "alone": ("en", ("opus/alone.en",)),
    }


def test_files_of_three_language_endings_are_not_paired(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    put(**{f"opus/a.{code}": TEXTS[code] for code in ("de", "en", "fr")})
    with pytest.raises(DataError, match="line-aligned files have two languages, found 3: pass two"):
        draft_corpora(["opus/*"], tmp_path)


def test_optional_fields_do_not_divide_a_corpus(tmp_path: Path) -> None:
    for name, record in (
        ("a", {"text": TEXTS["en"]}),
        ("b", {"title": "River", "text": TEXTS["en"]}),
        ("c", {"text": "12"}),
    ):
        (tmp_path / f"{name}.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    (draft,) = draft_corpora(["*.jsonl"], tmp_path).drafts
    assert draft.corpus.paths == ("*.jsonl",)
    assert draft.corpus.fields == {"text": "{title?}\n\n{text}"}


def test_an_evaluation_split_is_remarked_on(tmp_path: Path, put: Callable[..., None]) -> None:
    put(**{"books/valid.jsonl": TEXTS["en"]})
    (draft,) = draft_corpora(["books/valid.jsonl"], tmp_path).drafts
    assert any("named as a validation split" in remark for remark in draft.remarks)


def test_names_stay_within_their_limit(tmp_path: Path, put: Callable[..., None]) -> None:
    put(
        **{f"{'x' * 80}/{name}.jsonl": TEXTS[name[:2]] for name in ("en-1", "en-2", "ko-1", "ko-2")}
    )
    put(**{f"{'x' * 80}/test/{k}.jsonl": TEXTS["en"] for k in range(2)})
    found = drafted(tmp_path, str(tmp_path))
    assert sorted(len(name) for name in found) == [64, 64, 64]
    assert {name[-3:] for name in found} == {"-en", "-ko", "est"}


def test_many_alike_files_are_not_all_read(
    tmp_path: Path, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    guess = file_groups.guess_corpus

    def counted(path: Path) -> object:
        read.append(path)
        return guess(path)

    monkeypatch.setattr(file_groups, "guess_corpus", counted)
    put(**{f"many/{k:03}.jsonl": TEXTS["en"] for k in range(100)})
    (draft,) = draft_corpora(["many/*"], tmp_path).drafts
    assert len(draft.shards) == 100
    assert len(read) <= file_groups.NUM_EXAMINED
    put(**{"many/096.jsonl": TEXTS["de"]})
    assert drafted(tmp_path, "many/*").keys() == {"many-en", "many-de"}


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="needs real text, named by LINLY_TEST_DATA")
def test_real_folders_are_drafted() -> None:
    found = draft_corpora([str(DATA)], None)
    check(found)
    languages = {draft.name: draft.language for draft in found.drafts}
    assert {languages[name] for name in ("slimpajama", "refinedweb", "alpaca_en", "gpteacher")} == {
        "en"
    }
    assert {languages[name] for name in ("wiki_zh", "csl", "laws", "firefly")} == {"zh"}
    assert {languages[name] for name in ("d2l_moses", "tatoeba", "tmx", "translation2019zh")} == {
        "en-zh"
    }
    assert "?" not in languages.values()
    assert {Path(path).suffix for path in found.left_out} <= {".model"}

"""The JSON schemas of files accept what linly accepts, refuse slips, and describe every key."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from docs.hooks.key_reference import all_keys, dotted
from linly.cli.schema import FileKind, file_schema
from linly.config.corpus import corpus_files, load_corpus
from linly.config.curriculum import load_curriculum
from linly.config.recipe import load_recipe
from linly.config.shapes import CURVES
from linly.config.yaml.overrides import parse_override, with_override
from linly.config.yaml.yaml import read_yaml, write_yaml
from linly.errors import ConfigError

ROOT = Path(__file__).parents[3]
KINDS: tuple[FileKind, ...] = get_args(FileKind)
FOLDERS = {
    "recipe": ("launch/recipes", "tests/real/recipes"),
    "curriculum": ("curricula", "tests/real/curricula"),
    "corpus": ("corpora", "corpora/demo", "tests/real/corpora"),
}
SHIPPED = [
    pytest.param(kind, path, id=f"{kind}-{path.stem}")
    for kind, folders in FOLDERS.items()
    for folder in folders
    for path in sorted((ROOT / folder).glob("*.yaml"))
]


@cache
def validator(kind: FileKind) -> Draft202012Validator:
    return Draft202012Validator(file_schema(kind))


def problems(kind: FileKind, form: Any) -> list[str]:
    """Errors of a schema's validation, in words."""
    found = validator(kind).iter_errors(form)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_valid_schema(kind: FileKind) -> None:
    Draft202012Validator.check_schema(file_schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_has_a_sentence(kind: FileKind) -> None:
    keys = list(all_keys(kind))
    assert len(keys) > 10
    assert [dotted(key.path) for key in keys if not key.sentence.endswith(".")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_says_what_a_resume_may_change(kind: FileKind) -> None:
    keys = [key for key in all_keys(kind) if key.path != ("extends",)]
    silent = [dotted(key.path) for key in keys if not key.on_resume]
    sections = {"data", "training", "evaluation", "curriculum", "corpora", "exclude_records"}
    assert set(silent) <= sections  # whose keys say it


@pytest.mark.parametrize(("kind", "path"), SHIPPED)
def test_a_shipped_file_fits_its_schema(kind: FileKind, path: Path) -> None:
    assert problems(kind, read_yaml(path).plain()) == []


def test_a_resolved_recipe_fits_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINLY_DATA", str(tmp_path))
    for name in ("linly-llama2-7b", "chinese-alpaca-7b", "demo"):
        recipe = load_recipe(ROOT / f"launch/recipes/{name}.yaml")
        assert problems("recipe", recipe.file_form()) == []


@pytest.mark.parametrize("kind", CURVES)
def test_every_kind_of_curve_fits_the_schema(kind: str) -> None:
    curve = {"curve": kind, "from": "70%", "to": "20%", "until": "500M"}
    for shape in (curve, {"curve": kind, "points": {"0%": "10%", "2B": "5%"}}):
        form = {"tokens": "5B", "mixture": {"a": {"ratio": shape, "sources": {"x": "100%"}}}}
        assert problems("curriculum", form) == []


CURRICULUM = "curricula/linly-llama2.yaml"
SLIPS: list[tuple[FileKind, str, str]] = [
    ("curriculum", CURRICULUM, "token=5B"),
    ("curriculum", CURRICULUM, "tokens=5 billion"),
    ("curriculum", CURRICULUM, "mixture.chinese.ratio=rset"),
    ("curriculum", CURRICULUM, "mixture.chinese.ratio={curve: cosine, from: 1}"),
    (
        "curriculum",
        "curricula/linly-llama2.yaml",
        "mixture.chinese.ratio={curve: cos, from: 0%, to: 9%}",
    ),
    (
        "curriculum",
        "curricula/linly-llama2.yaml",
        "mixture.chinese.ratio={curve: step, from: 0%, to: 9%, steepness: 3}",
    ),
    ("curriculum", CURRICULUM, "mixture.chinese.sources={wiki2019zh: 30}"),
    (
        "curriculum",
        "curricula/linly-llama2.yaml",
        "mixture.chinese.sources={wiki2019zh: {max_epochs: 2}}",
    ),
    ("recipe", "launch/recipes/demo.yaml", "training.lr=fast"),
    ("recipe", "launch/recipes/demo.yaml", "training.lr=20.0"),
    ("recipe", "launch/recipes/demo.yaml", "training.warmup=3"),
    ("recipe", "launch/recipes/demo.yaml", "training.warm_up=3%"),
    ("recipe", "launch/recipes/demo.yaml", "training.trainable=lora"),
    ("recipe", "launch/recipes/demo.yaml", "training.trainable={lora: {ranks: 8}}"),
    ("recipe", "launch/recipes/demo.yaml", "training.activation_checkpointing=some"),
    ("recipe", "launch/recipes/demo.yaml", "data.sequence_length=4"),
    ("recipe", "launch/recipes/demo.yaml", "data.attention=documents"),
    ("recipe", "launch/recipes/demo.yaml", "checkpoint.async=maybe"),
    ("recipe", "launch/recipes/demo.yaml", "optimizer={}"),
    ("recipe", "launch/recipes/demo.yaml", "corpora=5"),
    ("corpus", "corpora/slimpajama.yaml", "kind=texts"),
    ("corpus", "corpora/slimpajama.yaml", "template=alpaca"),
    ("corpus", "corpora/slimpajama.yaml", "held_out=5"),
    ("corpus", "corpora/slimpajama.yaml", "where=[{field: a, equal: 1, at_least: 2}]"),
    ("corpus", "corpora/slimpajama.yaml", "where=[{field: a}]"),
    ("corpus", "corpora/slimpajama.yaml", "format=jsonlines"),
    ("corpus", "corpora/slimpajama.yaml", "paths=slimpajama/*.jsonl"),
    ("corpus", "corpora/slimpajama.yaml", "language=null"),
]


@pytest.mark.parametrize(("kind", "path", "slip"), SLIPS, ids=lambda value: str(value)[-60:])
def test_a_slip_is_refused_by_the_schema_and_by_linly(
    kind: FileKind, path: str, slip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / path.rpartition("/")[0])
    tree = with_override(read_yaml(ROOT / path), parse_override(slip))
    assert problems(kind, tree.plain()) != []
    file = tmp_path / "slip.yaml"
    file.write_text(write_yaml(tree.plain()), encoding="utf-8")
    with pytest.raises(ConfigError):
        read_file(kind, file, original=ROOT / path, slip=slip)


def read_file(kind: FileKind, file: Path, *, original: Path, slip: str) -> None:
    """Read a file as the commands do; a recipe with the slip as an override."""
    if kind == "curriculum":
        load_curriculum(file)
    elif kind == "corpus":
        assert corpus_files([file.parent])
        load_corpus(file.stem, [file.parent])
    else:
        load_recipe(original, [slip])

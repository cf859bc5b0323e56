"""A setting that is changed by itself never clashes with the default of another one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from linly.config.corpus import Corpus
from linly.config.recipe import Recipe, load_recipe
from linly.config.sections.data_section import DataSettings
from linly.config.sections.evaluation_section import EvaluationSettings
from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.sections.tracker_sections import MlflowSettings, TrackioSettings, WandbSettings
from linly.config.sections.trainable_setting import Lora
from linly.config.sections.training_section import TrainingSettings
from linly.config.sections.watching_sections import AlarmSettings, GuardSettings
from linly.config.yaml.strict_model import Model
from linly.config.yaml.yaml import write_yaml
from linly.errors import ConfigError

BATCHES = (1, 2, 6, 8, 10, 30, 96, 100, 250, 1000, 1024)
"""Numbers of rows that people choose for a step."""
STEPS = (1, 7, 10, 30, 50, 100, 128, 300, 500, 1000, 2500, 10_000)
SECONDS = (5, 30.0, 600)

VALUES: dict[type[Model], dict[str, tuple[Any, ...]]] = {
    Recipe: {
        "stop_at_step": (1, 100, 10_000),
        "model": ("models/llama",),
        "run": ("runs/other", "/scratch/runs/one"),
        "name": ("other",),
        "languages": ({"learned": "ko"}, {"kept": "zh", "learned": "en"}, {"kept": "fr"}),
        "data_root": (".", "/data"),
    },
    DataSettings: {
        "sequence_length": (128, 512, 1000, 1024, 4096, 8192, 131_072),
        "global_batch": BATCHES,
        "seed": (0, 1, 42),
        "attention": ("document", "full"),
        "packing": (None, "chunk", "best-fit", "one-document"),
        "producers": (0, 2, 8),
        "prefetch_rows": (1, 64, 4096),
        "timeout_s": SECONDS,
    },
    TrainingSettings: {
        "optimizer": ("adamw",),
        "lr": (1e-6, 2e-5, 1e-3),
        "schedule": ("cosine", "constant", "linear", "wsd", "inverse-sqrt"),
        "warmup": ("0%", "3%", "10%", "100%"),
        "final_lr": ("0%", "50%", "100%"),
        "decay": ("0%", "20%", "100%", "500M", 1000),
        "decay_form": ("linear", "cosine", "1-sqrt"),
        "weight_decay": (0, 0.1),
        "betas": ([0.9, 0.999], [0.9, 0.98]),
        "eps": (1e-6, 1e-5),
        "clip": (0.5, 10),
        "micro_batch": (1, 2, 8, 16, 32),
        "trainable": (
            *("full", "embeddings", "new_rows"),
            *({"new_rows": {"head": "all"}}, {"lora": {}}, {"lora": {"rank": 64}}),
        ),
        "phases": (
            [{"until": "5%", "trainable": "new_rows"}, {"trainable": "full"}],
            [{"until": "200M", "trainable": "embeddings"}, {"trainable": "full"}],
        ),
        "average": (
            *(None, {"kind": "ema", "decay": 0.99, "every": 5}),
            {"kind": "window", "steps": 500, "every": 50},
        ),
        "lr_scale": ({}, {"embeddings": 0.2, "new_rows": 1.0}, {"head": 2.0}),
        "activation_checkpointing": ("full", "selective", "none", True, False),
        "attention_backend": ("auto", "sdpa", "flex", "varlen", "eager"),
        "loss": ("auto", "plain", "chunked", "liger"),
        "compile": (True, False),
        "reduce_bucket_size": (50_000_000, 500_000_000),
        "allgather_bucket_size": (50_000_000, 500_000_000),
        "collective_timeout_s": SECONDS,
        "deepspeed": (None, {"zero_optimization": {"reduce_bucket_size": 5e8}}),
    },
    Lora: {
        "rank": (4, 16, 256),
        "alpha": (8, 16, 512),
        "dropout": (0, "10%"),
        "targets": (["q_proj"], ["c_attn"]),
        "also": ([], ["embed_tokens"], ["embed_tokens", "lm_head"]),
    },
    CheckpointSettings: {
        "every": STEPS,
        "keep_last": (1, 2, 10),
        "keep_every": (None, *STEPS),
        "async": (True, False),
        "mirror": ("/backup", "s3://bucket/runs"),
    },
    EvaluationSettings: {
        "every": STEPS,
        "max_documents": (1, 50, 1000),
        "prompts": ([], ["Once upon a time"]),
        "max_new_tokens": (1, 256),
        "tasks": ([], [{"name": "icl"}], [{"name": "mmlu", "files": "exams/mmlu", "shots": 0}]),
        "tasks_every": (None, 250, 1000),
        "weight_drift": (True, False),
    },
    GuardSettings: {
        "spike": (2, 5, 100),
        "spike_window": (2, 10, 500),
        "max_consecutive_skips": (1, 20),
    },
    AlarmSettings: {
        "drift": (0.5, 5),
        "window": (2, 10, 500),
        "loss_rise": ("1%", "50%"),
        "forgetting": ("1%", "50%"),
        "task_drop": ("1%", "50%"),
        "data_wait": ("1%", "50%"),
        "quarantine": ("1%", "50%"),
        "command": ([], ["notify-send", "linly"]),
    },
    WandbSettings: {
        "project": ("linly",),
        "entity": (None, "team"),
        "mode": ("online", "offline"),
        "name": ("one",),
    },
    MlflowSettings: {
        "experiment": ("linly",),
        "tracking_uri": ("http://127.0.0.1:5000", "sqlite:///mlflow.db"),
        "name": ("one",),
    },
    TrackioSettings: {"project": ("linly",), "name": ("one",)},
    Corpus: {
        "language": ("zh", "ko", "zh-TW"),
        "format": (None, "jsonl", "json", "parquet", "arrow", "tsv", "csv", "txt"),
        "encoding": ("utf-8", "gb18030", "big5", "utf-16"),
        "paths": (["*.jsonl"], ["hf://datasets/org/name/*.parquet"], ["a.txt", "b.csv.gz"]),
        "exclude": (["*test*"],),
        "fields": ({"text": "content"}, {"text": "{title}\n\n{body}"}),
        "columns": (["text", "label"],),
        "delimiter": (";", "|", "\t"),
        "escape": ("\\", None),
        "where": ([{"field": "score", "at_least": 3}],),
        "template": ("text", "inscp"),
        "packing": ("chunk", "best-fit", "one-document"),
        "held_out": ("0%", "0.1%", "10%", ["test/*.jsonl"]),
        "max_bad_fraction": ("0%", "10%"),
        "chat_date": ("2024-01-31",),
        "damaged_shards": ("error", "quarantine"),
        "read_attempts": (1, 20),
        "read_delay_s": SECONDS,
    },
}
"""Plausible values of every key of a recipe and of a corpus, in the form that a file has."""

PLACES: dict[type[Model], tuple[str, ...]] = {
    Recipe: (),
    DataSettings: ("data",),
    TrainingSettings: ("training",),
    Lora: ("training", "trainable", "lora"),
    CheckpointSettings: ("checkpoint",),
    EvaluationSettings: ("evaluation",),
    GuardSettings: ("guards",),
    AlarmSettings: ("alarms",),
    WandbSettings: ("wandb",),
    MlflowSettings: ("mlflow",),
    TrackioSettings: ("trackio",),
    Corpus: ("corpora", "books"),
}
REQUIRED = {
    "wandb": {"project": "one"},
    "mlflow": {"experiment": "one"},
    "trackio": {"project": "one"},
}
"""Keys that a section must have."""

ELSEWHERE = {
    *("annealing", "curriculum", "corpora", "corpus_folders", "exclude_records", "kind", "chat"),
    *(place[0] for place in PLACES.values() if place),
}
"""Keys that hold others or name files, or that decide which others are needed."""


def written() -> dict[str, Any]:
    """A recipe with the keys that it must have, as plain data."""
    return {
        "curriculum": {
            "tokens": "5B",
            "mixture": {"english": {"ratio": "100%", "sources": {"books": "100%"}}},
        },
        "corpora": {"books": {"language": "en", "kind": "text", "paths": ["books/*.jsonl"]}},
        "data_root": "data",
        "run": "runs/one",
    }


def changes() -> Iterator[tuple[tuple[str, ...], Any]]:
    for model, fields in VALUES.items():
        for key, values in fields.items():
            for value in values:
                yield (*PLACES[model], key), value


def with_change(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    tree = written()
    place: Any = tree
    for key, _ in pairwise(path):
        place = place.setdefault(key, dict(REQUIRED.get(key, {})))
    place[path[-1]] = value
    return tree


def read(folder: Path, tree: dict[str, Any]) -> Recipe:
    (folder / "recipe.yaml").write_text(write_yaml(tree), encoding="utf-8")
    return load_recipe(folder / "recipe.yaml")


@pytest.mark.parametrize("model", VALUES, ids=lambda model: model.__name__)
def test_every_key_has_plausible_values_here(model: type[Model]) -> None:
    assert set(VALUES[model]) == set(model.file_keys()) - ELSEWHERE - {
        "name" if model is Corpus else ""
    }


def test_each_setting_works_beside_the_defaults_of_the_others(tmp_path: Path) -> None:
    refused = []
    for path, value in changes():
        try:
            read(tmp_path, with_change(path, value))
        except ConfigError as error:
            refused.append(f"{'.'.join(path)} = {value!r}: {error}")
    assert refused == []


@pytest.mark.parametrize("batch", BATCHES)
def test_default_micro_batch_divides_the_given_batch(batch: int, tmp_path: Path) -> None:
    recipe = read(tmp_path, with_change(("data", "global_batch"), batch))
    assert batch % recipe.training.micro_batch == 0
    assert recipe.training.micro_batch == max(n for n in (1, 2, 4) if batch % n == 0)


def test_given_micro_batch_is_never_changed(tmp_path: Path) -> None:
    tree = with_change(("data", "global_batch"), 6) | {"training": {"micro_batch": 4}}
    with pytest.raises(ConfigError, match=r"micro_batch: found 4, allowed: a divisor of .* \(6\)"):
        read(tmp_path, tree)


def test_data_root_comes_from_the_environment_if_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = written()
    monkeypatch.setenv("LINLY_DATA", "/big/$data")
    assert read(tmp_path, tree).data_root == tmp_path / "data"
    del tree["data_root"]
    assert read(tmp_path, tree).data_root == Path("/big/$data")
    monkeypatch.delenv("LINLY_DATA")
    with pytest.raises(ConfigError, match=r"data_root: missing.*export LINLY_DATA=FOLDER"):
        read(tmp_path, tree)

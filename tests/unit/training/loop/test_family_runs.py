"""Runs of other families than Llama: documents apart, or refused with what to do."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from linly.cli.main import main
from linly.config.recipe import load_recipe
from linly.errors import ConfigError
from linly.export.generation import Sampling, generate_texts, open_model
from linly.modeling.load_model import save_model
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.models import tiny_model
from tests.support.tiny_world import make_tiny_world

PROMPTED = ("evaluation.prompts=['the cat', 'a dog sees the house']", "evaluation.max_documents=4")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=4)
    return folder


def model_of(world: Path, name: str) -> Path:
    folder = world / "models" / name
    if not folder.exists():
        save_model(tiny_model(name), load_tokenizer(world / "model"), folder)
    return folder


def start(
    world: Path, alone: Processes, name: str, run: str, *overrides: str
) -> list[dict[str, object]]:
    """Train and return the lines of metrics.jsonl."""
    base = [f"run={world / 'runs' / run}", f"model={model_of(world, name)}", "data.producers=0"]
    recipe = load_recipe(world / "recipe.yaml", [*base, *PROMPTED, *overrides])
    train(recipe, alone, resume_step=None, is_quiet=True)
    lines = (world / "runs" / run / "metrics.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["falcon-7b", "falcon-40b", "falcon-alibi", "bloom", "opt"])
def test_a_run_does_not_depend_on_its_micro_batch(name: str, world: Path, alone: Processes) -> None:
    one, four = (
        start(world, alone, name, f"{name}-{size}", f"training.micro_batch={size}")
        for size in (1, 4)
    )
    assert len(one) == 4
    for left, right in zip(one, four, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=2e-3)
    samples = (world / "runs" / f"{name}-1" / "samples.jsonl").read_bytes().splitlines()
    assert samples


@pytest.mark.parametrize("name", ["mamba", "recurrent_gemma", "qwen3_next"])
def test_a_model_that_mixes_documents_trains_on_one_document_a_row(
    name: str, world: Path, alone: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    why = r"model of type .*: documents of a row see each other .* `data.packing: one-document`"
    with pytest.raises(ConfigError, match=why):
        start(world, alone, name, f"{name}-mixed")
    alike = (f"run={world / 'runs' / name}", f"model={model_of(world, name)}")
    with pytest.raises(SystemExit) as found:
        main(["check", str(world / "recipe.yaml"), *alike])
    assert found.value.code == 1
    assert "BAD  documents: model of type" in capsys.readouterr().out
    packing = "data.packing=one-document"
    metrics = start(world, alone, name, name, packing)
    assert len(metrics) == 4
    assert all(sum(line["padding_by_source"].values()) > 0 for line in metrics)  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as found:
        main(["check", str(world / "recipe.yaml"), *alike, packing])
    assert found.value.code == 0
    assert "ok   documents: each row holds one document" in capsys.readouterr().out


def test_a_model_that_cannot_be_exported_is_refused_at_the_start(
    world: Path, alone: Processes
) -> None:
    (model_of(world, "phi") / "generation_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"generation_config\.json: not JSON"):
        start(world, alone, "phi", "phi")
    assert not (world / "runs" / "phi" / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", ["bloom", "mamba", "mpt", "recurrent_gemma", "rwkv"])
def test_a_model_without_a_table_of_positions_generates(name: str, world: Path) -> None:
    opened = open_model(str(model_of(world, name)))
    sampling = Sampling(max_new_tokens=5, temperature=0)
    texts = list(generate_texts(opened, ["the cat", "a"], template="text", sampling=sampling))
    assert len(texts) == 2


def test_a_model_that_cannot_generate_is_named(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_model(str(model_of(world, "bloom")))

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no cache of this kind")

    monkeypatch.setattr(opened.model, "generate", fail)
    with pytest.raises(ConfigError, match=r"of type bloom: ValueError: no cache of this kind; .*"):
        list(generate_texts(opened, ["a"], template="text", sampling=Sampling(max_new_tokens=5)))

"""Runs of a model on the hub: its commit is recorded, and a resume uses it, also offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, constants

from linly.config.recipe import load_recipe
from linly.export.generation import open_model
from linly.export.model_export import ExportForm, export_run
from linly.modeling.embeddings import extend_model
from linly.modeling.stored.weight_files import read_json_object
from linly.storage.hub import HubModel, fetch_model
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.training.loop.trainer import train
from linly.training.ranks.processes import Processes
from tests.support.chat_templates import CHATML
from tests.support.commands import linly_ok
from tests.support.model_hub import ModelHub, folder_files, model_hub
from tests.support.tiny_world import make_tiny_world

NAME = "org/base"
LORA = "training.trainable={lora: {rank: 2}}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    with model_hub(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=4)
    return folder


def settings(run: Path, *more: str) -> list[str]:
    quick = ["data.producers=0", "checkpoint.every=2", "evaluation.every=99"]
    return [f"run={run}", f"model={NAME}", *quick, *more]


def run_to(world: Path, run: Path, step: int, alone: Processes, *more: str) -> None:
    overrides = settings(run, f"stop_at_step={step}", *more)
    train(load_recipe(world / "recipe.yaml", overrides), alone, resume_step=None, is_quiet=True)


def test_resume_uses_the_recorded_commit_without_network(
    hub: ModelHub,
    world: Path,
    tmp_path: Path,
    alone: Processes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = folder_files(world / "model")
    commit, run = hub.publish(NAME, files), tmp_path / "run"
    run_to(world, run, 2, alone)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["model"] == f"{NAME}@{commit}"
    hub.publish(NAME, files | {"config.json": b"{}", "tokenizer.model": b""})
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    run_to(world, run, 4, alone)
    assert hub.asked == []
    assert yaml.safe_load((run / "recipe.yaml").read_text())["model"] == f"{NAME}@{commit}"
    again = load_recipe(run / "recipe.yaml")
    assert again.model == HubModel(NAME, commit)
    assert again.file_form() == yaml.safe_load((run / "recipe.yaml").read_text())
    export_run(run, steps=[], output=tmp_path / "out", form=ExportForm())
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.base_model == NAME
    assert f"Continual pre-training of `{NAME}@{commit}`" in card.text


def test_frozen_weights_come_from_the_recorded_commit(
    hub: ModelHub, world: Path, tmp_path: Path, alone: Processes
) -> None:
    files = folder_files(world / "model")
    hub.publish(NAME, files)
    run_to(world, tmp_path / "run", 2, alone, LORA)
    hub.publish(NAME, files | {"model.safetensors": b"others"})
    export_run(tmp_path / "run", steps=[], output=tmp_path / "out", form=ExportForm())
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_chat_format_is_that_of_the_same_commit(hub: ModelHub, world: Path, tmp_path: Path) -> None:
    """It is read with the recipe, and the hub's branch may move before the run starts."""
    commit = hub.publish(
        NAME, folder_files(world / "model") | {"chat_template.jinja": CHATML.encode()}
    )
    loaded = load_recipe(
        world / "recipe.yaml", settings(tmp_path / "run", "corpora.tuned.template=chat")
    )
    assert loaded.model == HubModel(NAME, commit)
    assert loaded.corpora["tuned"].chat is not None
    assert "model.safetensors" not in hub.downloads()


def test_recipe_asks_the_hub_only_when_it_must(hub: ModelHub, world: Path, tmp_path: Path) -> None:
    loaded = load_recipe(world / "recipe.yaml", settings(tmp_path / "run"))
    assert loaded.model == HubModel(NAME)
    assert hub.asked == []


def test_plan_downloads_no_weights(
    hub: ModelHub, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(NAME, folder_files(world / "model"))
    linly_ok("plan", world / "recipe.yaml", *settings(tmp_path / "run"))
    assert "checkpoint" in capsys.readouterr().out
    assert "model.safetensors" not in hub.downloads()
    linly_ok("check", world / "recipe.yaml", *settings(tmp_path / "run"))
    assert hub.downloads().count("model.safetensors") == 1


def test_commands_take_hub_ids(
    hub: ModelHub, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.publish(NAME, folder_files(world / "model"))
    characters, grown, out = (tmp_path / name for name in ("c.txt", "new.model", "new"))
    linly_ok("vocab", "characters", "--base", NAME, "--standard", "tis620", "--output", characters)
    linly_ok("vocab", "extend", "--base", NAME, "--characters", characters, "--output", grown)
    assert "model.safetensors" not in hub.downloads()
    linly_ok("model", "extend", "--model", NAME, "--tokenizer", grown, "--output", out)
    assert read_json_object(out / "config.json")["base_model"] == f"{NAME}@{commit}"
    asked = ["--prompt", "the", "--max-new-tokens", 2, "--temperature", 0]
    capsys.readouterr()
    linly_ok("generate", f"{NAME}@{commit}", *asked)
    assert capsys.readouterr().out


def test_extended_model_names_its_hub_base_in_the_card(
    hub: ModelHub, world: Path, tmp_path: Path, alone: Processes
) -> None:
    commit = hub.publish(NAME, folder_files(world / "model"))
    base = fetch_model(HubModel(NAME))
    old = load_tokenizer(base)
    assert isinstance(old, SentencePieceTokenizer)
    larger = SentencePieceTokenizer(extend_vocabulary(old, list("山河")))
    extend_model(base, larger, tmp_path / "extended")
    run = tmp_path / "run"
    run_to(world, run, 2, alone, f"model={tmp_path / 'extended'}")
    export_run(run, steps=[], output=tmp_path / "out", form=ExportForm(license="mit"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.base_model, card.data.license) == (NAME, "mit")
    assert f"`{NAME}@{commit}`" in card.text
    assert open_model(str(tmp_path / "out")).tokenizer.vocab_size == larger.vocab_size

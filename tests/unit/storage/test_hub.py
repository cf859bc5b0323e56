"""Models by hub id: what is downloaded, when the network is used, and the error of each failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from linly.errors import ConfigError
from linly.storage.hub import (
    HubModel,
    fetch_configuration,
    fetch_model,
    model_in_cache,
    model_place,
    pin,
)
from tests.support.model_hub import TOKEN, ModelHub, model_hub

NAME = "org/name"
SMALL = {"config.json": b"{}", "tokenizer.json": b"[1]", "tokenizer_config.json": b"[2]"}
WEIGHTS = {"model.safetensors": b"weights"}
OTHERS = {
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"code",
    "original/consolidated.safetensors": b"again",
    "README.md": b"card",
    "data.json": b"{}",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    with model_hub(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("meta-llama/Llama-2-7b-hf", HubModel("meta-llama/Llama-2-7b-hf")),
        ("org/name@v1.0", HubModel("org/name", "v1.0")),
        ("org/name@refs/pr/4", HubModel("org/name", "refs/pr/4")),
        ("name", None),
        ("/data/models", None),
        ("../models/base", None),
        ("~/models/base", None),
        ("models/base/", None),
        ("a/b/c", None),
        ("org/name@", None),
        ("org/..", None),
        ("hf://org/name", None),
    ],
)
def test_names_are_told_from_paths(text: str, parsed: HubModel | None) -> None:
    assert HubModel.parse(text) == parsed
    assert parsed is None or str(parsed) == text


def test_what_exists_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert model_place(NAME, tmp_path / NAME) == tmp_path / NAME
    assert model_place(NAME, tmp_path / "elsewhere") == HubModel(NAME)
    assert model_place("org/a.model", tmp_path / "org/a.model") == tmp_path / "org/a.model"


def test_only_known_files_are_downloaded(hub: ModelHub) -> None:
    commit = hub.publish(NAME, SMALL | WEIGHTS | OTHERS)
    folder = fetch_model(HubModel(NAME))
    assert {path.name for path in folder.iterdir()} == {*SMALL, *WEIGHTS}
    assert sorted(hub.downloads()) == sorted([*SMALL, *WEIGHTS])
    assert model_in_cache(folder) == HubModel(NAME, commit)


def test_configuration_comes_without_weights(hub: ModelHub) -> None:
    hub.publish(NAME, SMALL | WEIGHTS)
    folder = fetch_configuration(HubModel(NAME))
    assert {path.name for path in folder.iterdir()} == {*SMALL}


def test_index_names_the_weight_files(hub: ModelHub) -> None:
    index = b'{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}'
    parts = {"part-1.safetensors": b"1", "part-2.safetensors": b"2", "part-3.safetensors": b"3"}
    hub.publish(NAME, SMALL | parts | {"model.safetensors.index.json": index})
    found = {path.name for path in fetch_model(HubModel(NAME)).iterdir()}
    assert found == {*SMALL, "model.safetensors.index.json", *list(parts)[:2]}


def test_revisions_are_pinned_to_their_commits(hub: ModelHub) -> None:
    old = hub.publish(NAME, SMALL | WEIGHTS, ref="v1")
    new = hub.publish(NAME, SMALL | {"model.safetensors": b"newer"})
    assert pin(HubModel(NAME)).revision == pin(HubModel(NAME, "main")).revision == new
    assert pin(HubModel(NAME, "v1")).revision == old
    assert (fetch_model(HubModel(NAME, "v1")) / "model.safetensors").read_bytes() == b"weights"
    assert pin(HubModel(NAME, "0" * 40)) == HubModel(NAME, "0" * 40)


def test_cached_commit_needs_no_request(hub: ModelHub) -> None:
    commit = hub.publish(NAME, SMALL | WEIGHTS)
    folder = fetch_model(HubModel(NAME))
    hub.asked.clear()
    assert fetch_model(HubModel(NAME, commit)) == folder
    assert hub.asked == []


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "no network", "the hub is down"])
def test_cached_model_works_offline(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hub.publish(NAME, SMALL | WEIGHTS)
    folder = fetch_model(HubModel(NAME))
    take_away(hub, monkeypatch, how)
    assert fetch_model(HubModel(NAME)) == fetch_configuration(HubModel(NAME)) == folder


def take_away(hub: ModelHub, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "no network":
        hub.close()
    else:
        hub.faults.always = 500


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "no network"])
def test_model_that_is_not_cached_names_the_cures(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    take_away(hub, monkeypatch, how)
    with pytest.raises(ConfigError) as error:
        fetch_model(HubModel(NAME))
    one_line(error, "not completely in the hub's cache", "hf download org/name", "tokenizer.json")


def one_line(error: pytest.ExceptionInfo[ConfigError], *texts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for text in texts:
        assert text in message, message


def test_configuration_alone_is_not_the_model(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, SMALL | WEIGHTS)
    fetch_configuration(HubModel(NAME))
    take_away(hub, monkeypatch, "HF_HUB_OFFLINE")
    with pytest.raises(ConfigError, match="not completely in the hub's cache"):
        fetch_model(HubModel(NAME))


def test_missing_repository_names_both_ways(hub: ModelHub) -> None:
    with pytest.raises(ConfigError) as error:
        fetch_model(HubModel(NAME))
    one_line(error, "no such folder", "no such repository", "tokenizer.json", "org/name@revision")


def test_missing_revision_is_named(hub: ModelHub) -> None:
    hub.publish(NAME, SMALL | WEIGHTS)
    with pytest.raises(ConfigError) as error:
        fetch_model(HubModel(NAME, "v9"))
    one_line(error, "no revision 'v9'")


def test_gated_repository_needs_a_login(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.publish(NAME, SMALL | WEIGHTS)
    hub.repositories[NAME].is_gated = True
    with pytest.raises(ConfigError) as error:
        fetch_model(HubModel(NAME))
    one_line(error, "gated: accept its terms", "hf auth login", "HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (fetch_model(HubModel(NAME)) / "model.safetensors").is_file()


def test_repository_without_safetensors_is_refused(hub: ModelHub) -> None:
    hub.publish(NAME, SMALL | OTHERS)
    with pytest.raises(ConfigError) as error:
        fetch_model(HubModel(NAME))
    one_line(error, "has no model.safetensors", "pickled weights")
    assert "pytorch_model.bin" not in hub.downloads()


def test_folder_outside_the_cache_is_no_hub_model(tmp_path: Path) -> None:
    assert model_in_cache(tmp_path) is None
    assert model_in_cache(tmp_path / "models--org--name" / "snapshots" / "main") is None

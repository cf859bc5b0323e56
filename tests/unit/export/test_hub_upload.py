"""Uploads to the hub: private unless asked otherwise, refused before work is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.export.hub_upload import HubUpload
from tests.support.model_hub import TOKEN, ModelHub, Repository, folder_files, model_hub

NAME = "org/my-model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    with model_hub(monkeypatch, tmp_path / "cache") as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: other\n---\n# A run\n")
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    (folder / "a-f16.gguf").write_bytes(b"GGUF")
    return folder


@pytest.mark.parametrize("is_public", [False, True])
def test_every_file_is_uploaded_as_it_is(hub: ModelHub, folder: Path, is_public: bool) -> None:
    before = folder_files(folder)
    url = HubUpload.checked(NAME, is_public=is_public).send(folder)
    (commit,) = hub.repositories[NAME].commits
    assert url == f"{hub.url}/{NAME}/commit/{commit}"
    assert hub.repositories[NAME].is_private is not is_public
    uploaded = hub.repositories[NAME].commits[commit]
    assert uploaded == before == folder_files(folder)
    assert TOKEN in hub.tokens
    assert not any(TOKEN.encode() in content for content in uploaded.values())


def test_public_repository_is_refused_unless_asked_for(hub: ModelHub) -> None:
    hub.repositories[NAME] = Repository()
    with pytest.raises(ConfigError, match="exists and is public; pass --public"):
        HubUpload.checked(NAME, is_public=False)
    HubUpload.checked(NAME, is_public=True)


def test_existing_private_repository_gets_a_commit(hub: ModelHub, folder: Path) -> None:
    hub.repositories[NAME] = Repository(is_private=True)
    HubUpload.checked(NAME, is_public=False).send(folder)
    assert len(hub.repositories[NAME].commits) == 1


def test_login_is_needed(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="nobody is logged in to the hub; run `hf auth login`"):
        HubUpload.checked(NAME, is_public=False)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["my-model", "org/my-model@main", "a/b/c", "../x", ""])
def test_other_names_are_refused(hub: ModelHub, name: str) -> None:
    with pytest.raises(ConfigError, match="allowed: org/name"):
        HubUpload.checked(name, is_public=False)


def test_refusal_of_the_hub_is_one_line(hub: ModelHub, folder: Path) -> None:
    upload = HubUpload.checked(NAME, is_public=False)
    del hub.repositories[NAME]
    with pytest.raises(ConfigError) as error:
        upload.send(folder)
    assert f"to try again: hf upload {NAME} {folder}" in str(error.value)
    assert "RepositoryNotFoundError: 404" in str(error.value)
    assert "\n" not in str(error.value)

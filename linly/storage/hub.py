"""Models on the Hugging Face hub, by name: `org/name`, or `org/name@revision`.

Their files come through huggingface_hub into its cache, which transformers and others share. Only
configuration, tokenizer and safetensors are downloaded. A model at a commit that is in the cache
needs no network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from linly.errors import ConfigError

MODEL_FORM = (
    "a model folder (config.json, safetensors, and tokenizer.model or tokenizer.json) or a hub id "
    "such as org/name or org/name@revision"
)

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_WRITTEN = re.compile(rf"({_NAME}/{_NAME})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,200}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CACHED = re.compile(r"models--([^/]+)--([^/]+)")
_SNAPSHOTS = "snapshots"

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "model.safetensors.index.json",
)
_FILES = (".model", ".json")
"""Suffixes of vocabulary files, which are no repository's."""
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model repository on the hub.

    Attributes:
        repository: Its id, `org/name`.
        revision: Branch, tag or commit; None for the default branch.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        """Return `org/name@revision`."""
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    @classmethod
    def parse(cls, text: str) -> HubModel | None:
        """Parse `org/name` or `org/name@revision`; None for any other text."""
        match = _WRITTEN.fullmatch(text)
        is_name = match is not None and ".." not in text and "--" not in match[1]
        return cls(match[1], match[2]) if match is not None and is_name else None


def model_in_cache(folder: Path) -> HubModel | None:
    """Model whose files are in a folder, if it is a snapshot in the hub's cache."""
    commit, place = folder.name, folder.parent
    match = _CACHED.fullmatch(place.parent.name)
    if match is None or place.name != _SNAPSHOTS or not _COMMIT.fullmatch(commit):
        return None
    return HubModel(f"{match[1]}/{match[2]}", commit)


def links_root(folder: Path) -> Path:
    """Folder that the links in a model folder must stay in: itself, or its part of the cache."""
    return folder.parent.parent if model_in_cache(folder) is not None else folder


def pin(model: HubModel) -> HubModel:
    """The model at the commit that its revision names now, or when it was last downloaded.

    Raises:
        ConfigError: If there is no such repository or revision, it may not be read, or the hub
            cannot be reached and the model was never downloaded.
    """
    if model.is_pinned:
        return model
    from huggingface_hub import HfApi

    with _explaining(model):
        found = HfApi().resolve_revision(model.repository, revision=model.revision)
    return HubModel(model.repository, found.resolved)


def fetch_configuration(model: HubModel) -> Path:
    """Folder with a model's configuration and tokenizer, without its weights.

    Raises:
        ConfigError: As `pin`.
    """
    with _without_progress():
        return _fetch(pin(model), _SMALL_FILES)


def fetch_model(model: HubModel) -> Path:
    """Folder with a model's configuration, tokenizer and safetensors.

    Raises:
        ConfigError: As `pin`, or if the repository has no safetensors.
    """
    pinned = pin(model)
    folder = fetch_configuration(pinned)
    names = _indexed(folder / _INDEX) if (folder / _INDEX).is_file() else [_WEIGHTS]
    if not all((folder / name).is_file() for name in names):
        _fetch(pinned, names)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ConfigError(
            f"model {model}: its repository has no {missing[0]}; pickled weights (.bin) can run "
            f"code and are not downloaded: use a revision with safetensors, such as one that the "
            f"hub's converter has opened as a pull request (org/name@refs/pr/1), or convert it"
        )
    return folder


def cached_configuration(model: HubModel) -> Path | None:
    """Folder with a model's configuration if it is in the cache; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.repository, "config.json", revision=model.revision)
    return Path(found).parent if isinstance(found, str) else None


def model_place(text: str, path: Path) -> Path | HubModel:
    """What a text names: a model on the hub if it can be one and there is nothing at its path.

    Args:
        text: Text as written.
        path: Path that the text would be.
    """
    hub = None if path.exists() or path.suffix in _FILES else HubModel.parse(text)
    return path if hub is None else hub


def model_folder(place: Path | HubModel) -> Path:
    """Folder of a model with its weights, downloaded if need be; see `fetch_model`."""
    return fetch_model(place) if isinstance(place, HubModel) else place


def configuration_folder(place: Path | HubModel) -> Path:
    """Folder of a model, perhaps without its weights; see `fetch_configuration`."""
    return fetch_configuration(place) if isinstance(place, HubModel) else place


def _indexed(index: Path) -> list[str]:
    """Names of the weight files; `modeling.stored.weight_files` checks the index itself."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{index}: cannot be read as an index of weights: {error}") from error
    return sorted(name for name in names if isinstance(name, str))


def _fetch(pinned: HubModel, names: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    with _explaining(pinned):
        return Path(
            snapshot_download(
                pinned.repository, revision=pinned.revision, allow_patterns=list(names)
            )
        )


@contextmanager
def _without_progress() -> Iterator[None]:
    """Show no progress bars, which even files in the cache have."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _explaining(model: HubModel) -> Iterator[None]:
    """Turn the hub's errors into one line with a cure."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    page = f"{constants.ENDPOINT}/{model.repository}"
    try:
        yield
    except GatedRepoError as error:
        raise ConfigError(
            f"model {model}: its repository is gated: accept its terms at {page}, then log in "
            f"with `hf auth login` or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"model {model}: no such folder, and no such repository on the hub, or a private one; "
            f"pass {MODEL_FORM}; for a private one log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(
            f"model {model}: its repository has no revision {model.revision!r}; see "
            f"{page}/tree/main for its branches, tags and commits"
        ) from error
    except (
        EntryNotFoundError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RevisionResolutionError,
        httpx2.HTTPError,
    ) as error:
        raise ConfigError(
            f"model {model}: no such folder, it is not completely in the hub's cache, and the hub "
            f"cannot be reached ({type(error).__name__}); pass {MODEL_FORM}, or download it where "
            f"there is network (hf download {model.repository}) and set HF_HOME to that cache"
        ) from error

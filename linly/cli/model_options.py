"""Options that name a model or a vocabulary: a path, or a model on the hub."""

from __future__ import annotations

from pathlib import Path


def model_path(text: str) -> Path:
    """Parse an option: a model folder, downloaded with its weights if it is on the hub."""
    from linly.storage.hub import model_folder, model_place

    return model_folder(model_place(text, Path(text)))


def vocabulary_path(text: str) -> Path:
    """Parse an option: a vocabulary's file or folder, downloaded if it is on the hub."""
    from linly.storage.hub import configuration_folder, model_place

    return configuration_folder(model_place(text, Path(text)))

"""Section `checkpoint` of a recipe: saving checkpoints and keeping them."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    Field,
    field_validator,
)

from linly.config.yaml.quantities import (
    Count,
    Switch,
    Text,
)
from linly.config.yaml.strict_model import (
    Model,
    found,
    problem,
)
from linly.storage.urls import is_url, url_problem


class CheckpointSettings(Model):
    """Settings of saving checkpoints and keeping them (in steps).

    Attributes:
        every: Steps between checkpoints.
        keep_last: Newest checkpoints to keep.
        keep_every: Steps between older checkpoints to keep: the first at or after each multiple of
            it; null keeps only the newest.
        is_async: Whether training continues while a copy in host memory is written.
        mirror: Folder or s3://bucket/prefix; the run is copied to NAME in it after each save.
    """

    every: Count = 200
    keep_last: Count = 3
    keep_every: Count | None = 1000
    is_async: Annotated[Switch, Field(alias="async")] = True
    mirror: Text | None = None

    @field_validator("mirror")
    @classmethod
    def _check_mirror(cls, value: str | None) -> str | None:
        if value is not None and is_url(value):
            why = url_problem(value) if value.startswith("s3://") else "not an s3:// URL"
            if why is not None:
                raise problem(f"{found(value, 'a folder, or s3://bucket/prefix')}; {why}")
        return value

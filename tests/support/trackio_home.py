"""A folder of its own for Trackio, which reads the place of its folder when it is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def use_trackio_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let Trackio keep its curves in a folder, on this machine only."""
    patch.setenv("TRACKIO_DIR", str(folder))
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        patch.delenv(name, raising=False)
    pytest.importorskip("trackio", reason="needs linly[trackio]")
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "trackio" and hasattr(module, "TRACKIO_DIR"):
            patch.setattr(module, "TRACKIO_DIR", folder)

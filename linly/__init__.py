"""linly: full-parameter continual pre-training on a mixture whose ratios move along a curve.

From Python: `load_recipe`, `load_curriculum`, `plan`, `rows`, `train` and `export_run`, which
the commands use too (`linly.api`). Importing the package imports nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linly.api import export_run, load_curriculum, load_recipe, plan, rows, train

__version__ = "0.1.0"

__all__ = ["__version__", "export_run", "load_curriculum", "load_recipe", "plan", "rows", "train"]


def __getattr__(name: str) -> Any:
    """Import a function of `linly.api` when it is used.

    Raises:
        AttributeError: If there is no such function.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("linly.api"), name)

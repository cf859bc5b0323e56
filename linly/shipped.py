"""Files that come with linly: corpora, curricula and recipes.

They are folders of the repository, and a wheel carries them inside the package (setup.py). Files of
a user and commands name them as `linly:corpora`, `linly:curricula/NAME.yaml` and
`linly:recipes/NAME.yaml`.
"""

from __future__ import annotations

from pathlib import Path

from linly.errors import ConfigError

_PACKAGE = Path(__file__).absolute().parent
_IN_WHEEL = _PACKAGE / "shipped_files"

ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent
"""Folder of the folders below; recipes name the others relative to themselves."""

CORPORA = ROOT / "corpora"
CURRICULA = ROOT / "curricula"
RECIPES = ROOT / "launch" / "recipes"

_PREFIX = "linly:"


def shipped_names() -> dict[str, Path]:
    """Map every name of something that comes with linly to its path."""
    names = {f"{_PREFIX}corpora": CORPORA}
    for kind, folder in (("curricula", CURRICULA), ("recipes", RECIPES)):
        names |= {f"{_PREFIX}{kind}/{path.name}": path for path in sorted(folder.glob("*.yaml"))}
    return names


def shipped_path(name: str) -> Path | None:
    """Return the path that `linly:NAME` stands for; None for a text that does not begin so.

    Names are looked up in a list and never joined to a path, so none leads out of it.

    Raises:
        ConfigError: If nothing of that name comes with linly.
    """
    if not name.startswith(_PREFIX):
        return None
    names = shipped_names()
    if name not in names:
        raise ConfigError(
            f"found {name!r}, which does not come with linly; allowed: {', '.join(names)}"
        )
    return names[name]

"""Type checks of changed copies of modules, for what mypy must refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import linly


def type_errors(
    folder: Path, module: str, changes: Mapping[str, tuple[str, str]]
) -> dict[str, list[str]]:
    """Errors of mypy in copies of a module of the package.

    Args:
        folder: Folder for the copies.
        module: File of the module, such as `config/shapes.py`.
        changes: Name of a copy -> the text that it replaces, which must occur, and the new text.

    Returns:
        Messages by copy, without place; an unchanged copy must have none.
    """
    package = Path(linly.__file__).parent
    source = (package / module).read_text(encoding="utf-8")
    for name, (old, new) in {"unchanged": ("", ""), **changes}.items():
        assert old in source, f"{module} does not hold: {old}"
        (folder / f"{name}.py").write_text(source.replace(old, new, 1), encoding="utf-8")
    files = [str(folder / f"{name}.py") for name in ("unchanged", *changes)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", *files],
        capture_output=True,
        text=True,
        check=False,
        cwd=package.parent,
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        place, mark, message = line.partition(": error: ")
        if mark:
            found.setdefault(Path(place.split(":")[0]).stem, []).append(message)
    assert done.returncode in (0, 1), done.stderr
    assert "unchanged" not in found, done.stdout
    return found

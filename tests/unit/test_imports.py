"""The import graph, read from the sources: parts import what lies below them and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "linly"
LAYERS = (
    {"errors"},
    {"storage"},
    {"files", "streams", "locks", "row_record", "log_lines"},
    {"runs"},
    {"config"},
    {"curriculum", "alarms"},
    {"tokenization"},
    {"data"},
    {"modeling"},
    {"training", "monitor"},
    {"cli"},
)
"""From the bottom; parts of one layer do not know each other, but for these that use `files`."""
WITHIN_LAYER = {("streams", "files"), ("log_lines", "files"), ("row_record", "files")}
TORCH_FREE = (
    "errors",
    "storage",
    "files",
    "streams",
    "locks",
    "row_record",
    "log_lines",
    "runs",
    "config",
    "curriculum",
    "alarms",
    "tokenization",
    "data",
)
TORCH_ALLOWED = {"linly.data.loader"}


def modules() -> dict[str, Path]:
    """Dotted name -> source file of everything in the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports anywhere, function bodies included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str:
    """`linly.data.mixer.Mixer` -> `data`; the package itself -> ``."""
    return [*name.split("."), ""][1]


def layer_of(part: str) -> int:
    """Height of a part, from 0."""
    return next(height for height, parts in enumerate(LAYERS) if part in parts)


def breaks_order(importer: str, imported: str) -> bool:
    """Whether the import of one part by another points up or sideways."""
    if importer == imported or (importer, imported) in WITHIN_LAYER:
        return False
    return layer_of(imported) >= layer_of(importer)


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {part_of(name) for name in modules()} - {""}
    assert parts == set().union(*LAYERS)


def test_imports_point_down_the_layers_only() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in imports_of(path)
        if part_of(name) and imported.startswith("linly.") and part_of(imported) != "__version__"
        if breaks_order(part_of(name), part_of(imported))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("importer", "imported", "wrong"),
    [
        ("data", "curriculum", False),
        ("data", "data", False),
        ("streams", "files", False),
        ("files", "streams", True),
        ("curriculum", "data", True),
        ("monitor", "training", True),
        ("training", "monitor", True),
    ],
)
def test_the_order_knows_up_and_sideways(importer: str, imported: str, wrong: bool) -> None:
    assert breaks_order(importer, imported) is wrong


def test_only_the_engine_imports_deepspeed() -> None:
    users = [
        name
        for name, path in modules().items()
        if any(imported.split(".")[0] == "deepspeed" for imported in imports_of(path))
    ]
    assert users == ["linly.training.engine"]


def test_what_needs_no_torch_runs_where_torch_is_missing() -> None:
    names = [
        name for name in modules() if part_of(name) in TORCH_FREE and name not in TORCH_ALLOWED
    ]
    program = (
        "import importlib, sys\n"
        "for name in ('torch', 'transformers', 'deepspeed'):\n"
        "    sys.modules[name] = None  # any import of it now fails\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_commands_start_without_torch() -> None:
    program = (
        "import sys\nfrom linly.cli.main import build_app\nbuild_app()\n"
        "print(sorted({'torch', 'transformers', 'deepspeed', 'plotly'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

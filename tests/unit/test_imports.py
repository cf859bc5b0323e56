"""The import graph, read from the sources: parts import only what is below them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.house import imports_of, modules

LAYERS = (
    {"errors"},
    {"storage"},
    {"files", "shipped", "streams"},
    {"records"},
    {"runs"},
    {"config"},
    {"curriculum", "exams"},
    {"tokenization"},
    {"data"},
    {"modeling"},
    {"training.ranks", "starter"},
    {"training.engine"},
    {"evaluation", "training.checkpoints"},
    {"training.changes"},
    {"export", "training.recording"},
    {"training.loop", "monitor"},
    {"api"},
    {"cli"},
    {"__main__", "launch"},
)
"""From the bottom; parts of one layer do not import each other, except `WITHIN_LAYER`."""
WITHIN_LAYER = {("streams", "files")}
TORCH_FREE = (
    "errors",
    "storage",
    "files",
    "shipped",
    "streams",
    "records",
    "runs",
    "config",
    "curriculum",
    "exams",
    "tokenization",
    "data",
    "api",
)
TORCH_FREE_MODULES = {
    "linly.training.engine.environment",
    "linly.training.engine.optimizers",
    "linly.training.ranks.hostfile",
    "linly.training.ranks.job",
}
TORCH_ALLOWED = {"linly.data.loading.loader"}


def part_of(name: str) -> str:
    """`linly.data.mixing.mixer.Mixer` -> `data`, `linly.training.loop.trainer` -> `training.loop`.

    The package itself, and `linly.training`, which holds only other parts, are ``.
    """
    first, second = [*name.split("."), "", ""][1:3]
    if first == "training":
        return f"training.{second}" if second else ""
    return first


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
        ("monitor", "training.loop", True),
        ("training.loop", "monitor", True),
        ("training.engine", "training.loop", True),
        ("training.loop", "training.engine", False),
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
    assert users == ["linly.training.engine.engine"]


def test_what_needs_no_torch_runs_where_torch_is_missing() -> None:
    names = [
        name
        for name in modules()
        if name in TORCH_FREE_MODULES or (part_of(name) in TORCH_FREE and name not in TORCH_ALLOWED)
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


def test_the_package_imports_nothing_by_itself() -> None:
    program = (
        "import linly, sys\nprint(sorted(name for name in sys.modules if name.startswith('linly')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['linly']"


def test_commands_start_without_torch() -> None:
    program = (
        "import sys\nfrom linly.cli.main import build_app\nbuild_app()\n"
        "print(sorted({'torch', 'transformers', 'deepspeed', 'plotly'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

"""Structure of the package, read from its sources.

`python -m tests.house` prints the counts that `tests/unit/test_house.py` holds:

    modules            lines, and functions of more than 50 lines
    folders            files in each; circles of imports, between modules and between folders
    names              modules and classes whose name occurs twice
    docstrings         Args and Attributes lines that do not begin with a noun

`python -m tests.house --draw` writes the diagrams of docs/maintainers/architecture.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "linly"
DOCUMENT = PACKAGE.parent / "docs" / "maintainers" / "architecture.md"
DRAWN = ("linly", "linly.data", "linly.training", "linly.monitor")
"""Folders whose parts docs/maintainers/architecture.md draws."""
LONG_FUNCTION = 50
NO_NOUN = re.compile(
    r"^\s+\w+: (Of|That|Whose|With|Without|What|Where|As|To|From|For|Or|So|Like|See|Behind)\b"
)
_DOCUMENTED = re.compile(r"^\s*(Args|Attributes):\s*$")


@cache
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


def module_graph() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        targets = {_module_of(imported, known) for imported in imports_of(path)}
        graph[name] = targets - {"", name}
    return graph


def _module_of(imported: str, known: Mapping[str, Path]) -> str:
    """The module that a dotted name is in; empty for names outside the package."""
    while imported and imported not in known:
        imported = imported.rpartition(".")[0]
    return imported


def folder_of(module: str) -> str:
    """Folder of a module; a module of the package's own folder stands for itself."""
    if modules()[module].name == "__init__.py":
        return module
    folder = module.rpartition(".")[0]
    return module if folder == PACKAGE.name else folder


def folder_graph(depth: int | None = None) -> dict[str, set[str]]:
    """Folder -> folders whose modules it imports.

    Args:
        depth: Number of leading parts that name a folder: 2 joins `linly.data.mixing` with all of
            `linly.data`; None keeps every folder apart.
    """
    graph: dict[str, set[str]] = defaultdict(set)
    for importer, targets in module_graph().items():
        source = _cut(folder_of(importer), depth)
        graph[source] |= {_cut(folder_of(target), depth) for target in targets}
    return {folder: targets - {folder} for folder, targets in graph.items()}


def _cut(folder: str, depth: int | None) -> str:
    return ".".join(folder.split(".")[:depth])


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of names that import each other, directly or through others (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in sorted(graph.get(name, ())):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def files_by_folder() -> dict[str, int]:
    """Folder -> modules in it, `__init__` aside."""
    return dict(
        Counter(
            str(path.parent.relative_to(PACKAGE.parent))
            for path in PACKAGE.rglob("*.py")
            if path.name != "__init__.py"
        )
    )


def repeated_names() -> dict[str, list[str]]:
    """Names of modules and classes that occur more than once -> where."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        if path.name not in ("__init__.py", "__main__.py"):
            places[path.stem].append(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def long_functions() -> list[str]:
    """Functions of more than 50 lines, docstring included."""
    return [
        f"{path.relative_to(PACKAGE.parent)}:{node.lineno} {node.name}"
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LONG_FUNCTION
    ]


def nameless_lines() -> list[str]:
    """Args and Attributes lines of docstrings that begin without a noun."""
    found = []
    for path in modules().values():
        inside = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if _DOCUMENTED.match(line):
                inside = True
            elif not line.strip() or '"""' in line:
                inside = False
            elif inside and NO_NOUN.match(line):
                found.append(f"{path.relative_to(PACKAGE.parent)}:{number}: {line.strip()}")
    return found


def num_lines() -> int:
    """Lines of the package."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules().values())


def diagram(folder: str) -> str:
    """Mermaid flowchart of the parts of a folder; arrows that others imply are left out."""
    graph: dict[str, set[str]] = defaultdict(set)
    for importer, targets in folder_graph().items():
        part = _part(importer, folder)
        graph[part] |= {_part(target, folder) for target in targets} - {part, ""}
    graph.pop("", None)
    assert circles(graph) == [], folder
    lines = ["```mermaid", "flowchart BT"]
    for part, targets in sorted(graph.items()):
        implied = set().union(*(_reachable(target, graph) for target in targets))
        lines.append(f'    {part.replace("/", "_")}["{part}"]')
        lines += [
            f"    {part.replace('/', '_')} --> {target.replace('/', '_')}"
            for target in sorted(targets - implied)
        ]
    return "\n".join([*lines, "```"])


def _part(name: str, folder: str) -> str:
    """The part of a folder that a name is in; empty for names outside.

    The parts of `linly.training` count as parts of the package: `linly.evaluation` is between them.
    """
    if not name.startswith(f"{folder}."):
        return ""
    part, inner = [*name.removeprefix(f"{folder}.").split("."), ""][:2]
    if part == "training":
        return f"{part}/{inner}" if inner else ""
    return part


def _reachable(part: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Parts that a part imports through others."""
    found: set[str] = set()
    waiting = [*graph.get(part, ())]
    while waiting:
        target = waiting.pop()
        if target not in found:
            found.add(target)
            waiting += graph.get(target, ())
    return found


def with_diagrams(text: str) -> str:
    """The document with its diagrams drawn anew, each between its two marks."""
    for folder in DRAWN:
        begin, end = f"<!-- {folder}: begin -->", f"<!-- {folder}: end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{diagram(folder)}\n{end}{after}"
    return text


def main() -> None:
    """Print the counts, or draw the diagrams."""
    if sys.argv[1:] == ["--draw"]:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(with_diagrams(text), encoding="utf-8")
        return
    crowded = sorted(files_by_folder().items(), key=lambda item: -item[1])
    print(f"lines                     {num_lines():,} in {len(modules())} modules")
    print(f"functions over 50 lines   {len(long_functions())}")
    print(f"files in a folder         {', '.join(f'{f} {n}' for f, n in crowded[:6])}")
    print(f"circles between modules   {len(circles(module_graph()))}")
    print(f"circles between folders   {len(circles(folder_graph()))}")
    print(f"names that occur twice    {len(repeated_names())}: {', '.join(repeated_names())}")
    print(f"Args lines without a noun {len(nameless_lines())}")


if __name__ == "__main__":
    main()

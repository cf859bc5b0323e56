"""The notebook as a page: run in an empty folder, and written with its outputs."""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PAGE = "notebook.md"
_CELL_TIMEOUT_S = 600
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def run_notebook() -> tuple[str, dict[str, bytes]]:
    """Run the notebook.

    Returns:
        Its page as Markdown, and its pictures by name.

    Raises:
        CellExecutionError: If a cell fails; with its trace.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, settings):
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=_CELL_TIMEOUT_S, resources=resources).execute()
    return written(notebook)


def written(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """Write a notebook that has run as Markdown, with its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(_fenced("python", cell.source))
        for kind, content in _outputs(cell):
            if kind == "image/png":
                name = f"notebook-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(content)
                parts.append(f"![Chart of the cell above]({name})")
            else:
                parts.append(_fenced("text", _COLORS.sub("", content).strip("\n")))
    return "\n\n".join(parts) + "\n", pictures


def _outputs(cell: Any) -> Iterator[tuple[str, str]]:
    """Iterate over what a cell printed, as one text, and showed; stderr is left out."""
    streams = [output for output in cell.outputs if output.output_type == "stream"]
    if printed := "".join(output.text for output in streams if output.name == "stdout"):
        yield "text/plain", printed
    for output in cell.outputs:
        if output.output_type in ("display_data", "execute_result"):
            kind = "image/png" if "image/png" in output.data else "text/plain"
            yield kind, output.data[kind]


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"

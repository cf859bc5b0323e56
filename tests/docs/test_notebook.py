"""The notebook's page: cells, what they printed, and their pictures; nothing is committed run."""

from __future__ import annotations

import base64

import nbformat
from nbformat import v4

from docs.hooks.notebook import NOTEBOOK, written


def test_a_page_has_the_outputs_of_the_cells() -> None:
    picture = base64.b64encode(b"PNG").decode()
    cell = v4.new_code_cell(
        "show()",
        outputs=[
            v4.new_output("stream", name="stdout", text="\x1b[31m12 rows\x1b[39m\n"),
            v4.new_output("stream", name="stderr", text="a warning\n"),
            v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"}),
        ],
    )
    page, pictures = written(v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), cell]))
    assert page.split("\n\n") == [
        "# Title",
        "```python\nshow()\n```",
        "```text\n12 rows\n```",
        "![Chart of the cell above](notebook-1.png)\n",
    ]
    assert pictures == {"notebook-1.png": b"PNG"}


def test_the_committed_notebook_has_no_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.get("outputs")] == []

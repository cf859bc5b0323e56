"""The worked examples of CONTRIBUTING.md, applied to a copy of the package.

An example is a `diff` block under a heading `### Title`. In it a line `--- FILE` begins a file,
lines that begin with a space are in the file, and lines that begin with `+` are added after them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TITLE = re.compile(r"^### (.+)$", re.MULTILINE)
_DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def example(title: str) -> dict[str, str]:
    """Changes of an example: the lines of its diff by file."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = _TITLE.split(text)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))[title]
    changes: dict[str, str] = {}
    for diff in _DIFF.findall(found):
        for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
            file, _, lines = part.partition("\n")
            changes[file] = changes.get(file, "") + lines
    return changes


def followed(title: str, copy: Path) -> list[str]:
    """Copy the package and its tests, apply an example to the copy, return the changed files."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("linly", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy / "pyproject.toml")
    changes = example(title)
    for file, lines in changes.items():
        path = copy / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        kept = "".join(line[1:] for line in lines.splitlines(True) if line.startswith(" "))
        new = "".join(line[1:] for line in lines.splitlines(True))
        assert not text or text.count(kept) == 1, f"{file}: found {text.count(kept)} times:\n{kept}"
        path.write_text(text.replace(kept, new) if text else new, encoding="utf-8")
    return list(changes)


def run_tests(copy: Path, *tests: str) -> str:
    """Output of pytest in a copy, which must pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout

"""The worked examples of CONTRIBUTING.md, applied to a copy of the package.

An example is a `diff` block under a heading `### Title`. In it a line `--- FILE` begins a place of
a file, which is found by its lines that begin with a space or `-`; those with `-` are removed, and
lines that begin with `+` are new. A file without such lines is a new one.
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


def section(title: str) -> str:
    """Text under a heading of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = _TITLE.split(text)
    return dict(zip(sections[1::2], sections[2::2], strict=True))[title]


def example(title: str) -> list[tuple[str, list[str]]]:
    """Changes of an example: file and lines of each place of its diff."""
    changes = []
    for diff in _DIFF.findall(section(title)):
        for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
            file, *lines = part.splitlines(keepends=True)
            changes.append((file.strip(), lines))
    return changes


def followed(title: str, copy: Path) -> list[str]:
    """Copy the package and its tests, apply an example to the copy, return the changed files."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("linly", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy / "pyproject.toml")
    shutil.copytree(ROOT / "curricula", copy / "curricula")
    changes = example(title)
    for file, lines in changes:
        path = copy / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        old = "".join(line[1:] for line in lines if not line.startswith("+"))
        new = "".join(line[1:] for line in lines if not line.startswith("-"))
        assert not text or text.count(old) == 1, f"{file}: found {text.count(old)} times:\n{old}"
        path.write_text(text.replace(old, new) if text else new, encoding="utf-8")
    return list(dict.fromkeys(file for file, _ in changes))


def run_tests(copy: Path, *tests: str) -> str:
    """Output of pytest in a copy, which must pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def output_of(copy: Path, *command: str) -> str:
    """Output of a Python program in a copy, which must succeed."""
    done = subprocess.run(
        [sys.executable, *command], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

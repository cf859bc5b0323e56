"""Every promise's tests fail when a guard of the promise is removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.guards_file import DOCUMENT, PROMISES, ROOT, Guard, read_guards, with_tables

GUARDS = read_guards()
TESTS_FAILED = 1  # exit code of pytest; a collection error has another code


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of the files that the tests need."""
    copy = tmp_path_factory.mktemp("project") / "linly"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("linly", "tests", "corpora", "curricula", "demo", "launch"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_an_entry_fits_the_code(guard: Guard) -> None:
    assert guard.problem() is None


def test_every_promise_has_a_guard_and_the_document_lists_them_all() -> None:
    assert set(PROMISES) <= {guard.promise for guard in GUARDS}
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_tables(text, GUARDS), "run: python -m tests.faults.guards_file"


@pytest.mark.faults
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_tests_need_the_guard(guard: Guard, project: Path) -> None:
    whole = (project / guard.file).read_text(encoding="utf-8")
    data = os.environ.get("LINLY_TEST_DATA") or str(ROOT.parent / "shared" / "data")
    settings = {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", "LINLY_TEST_DATA": data}
    environment = os.environ | settings
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *guard.tests]
    try:
        guard.remove(project)
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, timeout=600
        )
    finally:
        (project / guard.file).write_text(whole, encoding="utf-8")
    assert done.returncode == TESTS_FAILED, done.stdout[-3000:] + done.stderr[-1000:]

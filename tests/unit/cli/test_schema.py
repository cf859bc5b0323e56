"""`linly schema` prints the schema of a kind of file."""

from __future__ import annotations

import json

import pytest

from linly.cli.schema import FileKind, file_schema
from tests.support.commands import linly, linly_ok


@pytest.mark.parametrize("kind", ["recipe", "curriculum", "corpus"])
def test_a_schema_is_printed_as_json(kind: FileKind, capsys: pytest.CaptureFixture[str]) -> None:
    linly_ok("schema", kind)
    assert json.loads(capsys.readouterr().out) == file_schema(kind)


def test_another_kind_is_refused_with_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert linly("schema", "model") == 2
    assert "curriculum" in capsys.readouterr().err

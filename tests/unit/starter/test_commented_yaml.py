"""YAML with comments reads back as the values it was written from."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from linly.config.yaml.yaml import Origin, parse_yaml
from linly.starter.commented_yaml import WIDTH, Entry, commented_yaml

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=30)
SCALAR = st.one_of(TEXT, st.integers(0, 10**9), st.sampled_from([5e-5, 1e-3, 0.9]), st.booleans())
VALUE = st.one_of(SCALAR, st.lists(SCALAR), st.dictionaries(TEXT.filter(bool), SCALAR))


@settings(max_examples=50)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), VALUE), TEXT, TEXT)
def test_values_read_back(values: dict[str, object], comment: str, head: str) -> None:
    entries = [Entry(key, value, comment) for key, value in values.items()]
    text = commented_yaml(head, [Entry("top", None), *(nested(e) for e in entries)])
    read = parse_yaml(text, Origin("x.yaml", None, Path.cwd())).plain()
    assert read == {"top": values or None}


def nested(entry: Entry) -> Entry:
    return Entry(entry.key, entry.value, entry.comment, 1)


def test_comments_are_in_one_column_and_long_ones_above() -> None:
    text = commented_yaml(
        "A file.\n  linly train --with a-command",
        [Entry("data", None), Entry("rows", 8, "few", 1), Entry("lr", 5e-5, "slow " * 30, 1)],
    )
    assert text.splitlines() == [
        "# A file.",
        "#   linly train --with a-command",
        "data:",
        "  rows: 8                            # few",
        *(line for line in text.splitlines() if line.startswith("  # slow slow")),
        "  lr: 5e-5",
    ]
    assert max(map(len, text.splitlines())) <= WIDTH

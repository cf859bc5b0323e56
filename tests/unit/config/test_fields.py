"""linly.config.fields: paths and forms, with any name between backquotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linly.config.fields import is_form, parse_form, parse_path, top_names, write_path

NAMES = st.text(st.sampled_from("ab`.{}?!: 中\n"), max_size=6)


@given(st.lists(NAMES, min_size=1, max_size=3), st.booleans())
def test_a_path_of_any_names_reads_back(names: list[str], optional: bool) -> None:
    written = write_path(names) + "?" * optional
    assert parse_path(written) == (tuple(names), optional)
    assert not is_form(written)
    form = f"{{{{a}}}} {{{written}}}\n"
    assert is_form(form)
    assert parse_form(form) == [("{a} ", written), ("\n", None)]


@pytest.mark.parametrize("name", ["text", "text (en)", "Unnamed_0", "评论", "a-b", "0"])
def test_plain_names_are_written_plainly(name: str) -> None:
    assert write_path([name]) == name


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("text", ("text",)),
        ("a.b?", ("a.b", "a")),
        ("`a.b`", ("a.b",)),
        ("`a`.b", ("a",)),
        ("``", ("",)),
        ("`Question?`?", ("Question?",)),
    ],
)
def test_the_own_field_of_a_path_is_known(written: str, names: tuple[str, ...]) -> None:
    assert top_names(written) == names


@pytest.mark.parametrize("written", ["", "?", "a.", ".a", "a..b", "`a", "`a`b", "a.`b"])
def test_a_path_with_an_empty_or_open_part_is_an_error(written: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        parse_path(written)


@pytest.mark.parametrize("written", ["{a", "a}", "{a!r}", "{a:>10}", "{}", "{a{b}}", "{`a}"])
def test_a_form_with_more_than_paths_is_an_error(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a path|may have only"):
        parse_form(written)

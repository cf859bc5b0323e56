"""Schemas of file forms: docstrings as descriptions, forms beside each other, no required keys."""

from __future__ import annotations

from linly.config.yaml.json_forms import either, mapping_of, read_docstring, without_required


class Described:
    """Two keys, and
    why there are two.

    More about it: nothing.

    Attributes:
        first: One line: with a colon.
        second: Two lines, of which the last
            one: has a name like a key's.
    """


class Bare:
    """No keys."""


def test_a_docstring_gives_summary_and_sentences() -> None:
    summary, sentences = read_docstring(Described)
    assert summary == "Two keys, and why there are two."
    assert sentences == {
        "first": "One line: with a colon.",
        "second": "Two lines, of which the last one: has a name like a key's.",
    }


def test_a_docstring_without_keys_has_no_sentences() -> None:
    assert read_docstring(Bare) == ("No keys.", {})


def test_another_form_keeps_the_description_outside() -> None:
    key = {"type": "object", "description": "A mapping.", "x-on-resume": "free"}
    both = either(key, {"type": "string"}, allowed="path, or a mapping")
    assert both["anyOf"] == [{"type": "string"}, key]
    assert (both["description"], both["x-on-resume"]) == ("A mapping.", "free")


def test_keys_of_every_form_become_optional() -> None:
    mapping = mapping_of({"type": "string"}) | {"required": ["a"]}
    optional = mapping_of({"type": "string"})
    assert without_required({"anyOf": [mapping, {"type": "null"}]}) == {
        "anyOf": [optional, {"type": "null"}]
    }

"""Forms of a conversation in a corpus file's `fields`."""

from __future__ import annotations

from collections.abc import Set

_FORMS = (
    ("messages", "role", "content"),
    ("messages", "user", "assistant"),
    ("text", "user_mark", "assistant_mark"),
)
_BESIDE = {"messages": frozenset({"system", "tools", "weight"}), "text": frozenset({"system"})}
"""What may be named besides, by the field of the turns."""

CONVERSATION_FORMS = (
    " or ".join("{" + ", ".join(form) + "}" for form in _FORMS)
    + "; with messages also system, tools and weight, with text also system"
)
"""All forms, for errors."""


def is_conversation(roles: Set[str]) -> bool:
    """Whether these are the fields of a conversation in one of its forms."""
    return any(roles >= set(form) and roles - set(form) <= _BESIDE[form[0]] for form in _FORMS)

"""Forms of a conversation in a corpus file's `fields`."""

from __future__ import annotations

from collections.abc import Set

_FORMS = {
    ("messages", "role", "content"): frozenset({"system", "tools", "weight"}),
    ("messages", "user", "assistant"): frozenset({"system", "tools", "weight"}),
    ("messages",): frozenset({"system", "tools"}),
    ("text", "user_mark", "assistant_mark"): frozenset({"system"}),
}
"""Required fields of each form -> optional fields."""

BESIDE = {
    "system": ("system", "system_prompt", "system_message"),
    "tools": ("tools", "functions"),
}
"""Role -> fields of a record that belong to its conversation; each must be named in `fields`."""

CONVERSATION_FORMS = (
    " or ".join("{" + ", ".join(form) + "}" for form in _FORMS)
    + "; with messages also system, tools and weight, with text also system"
)
"""All forms, for errors."""


def is_conversation(roles: Set[str]) -> bool:
    """Return whether these fields match one of the conversation forms."""
    return any(
        roles >= set(form) and roles - set(form) <= beside for form, beside in _FORMS.items()
    )

"""Facts into sentences, questions and documents of one language, by lists of forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from demo.lexicon import Term
from demo.topics import Fact, Topic
from demo.world import Dice

PRONOUN_CHANCE = 0.9


@dataclass(frozen=True, slots=True)
class Grammar:
    """The forms of a language.

    Attributes:
        forms: By kind of fact, `str.format` texts over its values (attributes of `Term`).
        questions: Likewise, for the kinds that can be asked for.
        titles: Forms of a title over `title` and `category`.
        openings: Forms of a request for a text about `title`.
        gap: Between two sentences.
    """

    forms: Mapping[str, tuple[str, ...]]
    questions: Mapping[str, tuple[str, ...]]
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    gap: str

    def sentence(self, fact: Fact, dice: Dice) -> str:
        """The fact by its subject's name."""
        return _capital(dice.pick(self.forms[fact.kind]).format_map(fact.values))

    def question(self, fact: Fact, dice: Dice) -> str | None:
        """A question that the fact answers; None for kinds that are not asked."""
        forms = self.questions.get(fact.kind)
        return None if forms is None else _capital(dice.pick(forms).format_map(fact.values))

    def body(self, facts: tuple[Fact, ...], dice: Dice) -> str:
        """Sentences in order; a subject that goes on may become its pronoun."""
        sentences, before = [], ""
        for fact in facts:
            subject = fact.values["s"].zh
            values: Mapping[str, Term] = fact.values
            if subject == before and dice.uniform() < PRONOUN_CHANCE:
                values = {**fact.values, "s": fact.pronoun}
            sentences.append(_capital(dice.pick(self.forms[fact.kind]).format_map(values)))
            before = subject
        return self.gap.join(sentences)

    def title(self, topic: Topic, dice: Dice) -> str:
        """A heading."""
        names = {"title": topic.title, "category": topic.category}
        return _capital(dice.pick(self.titles).format_map(names))

    def opening(self, topic: Topic, dice: Dice) -> str:
        """A request to write about the topic."""
        return dice.pick(self.openings).format_map({"title": topic.title})


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]

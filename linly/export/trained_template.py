"""The chat template of an export: the format in which a run has trained instructions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from linly.curriculum.timeline import Timeline
from linly.data.documents.templates import DELIMITERS
from linly.tokenization.continuation import has_dummy_prefix
from linly.tokenization.tokenizer import Tokenizer

OWN_TEMPLATE = "chat"
"""Template of documents that is the model's own chat template."""

_TEMPLATE = Template("""\
{{- $bos -}}
{%- set turns = messages -%}
{%- if messages[0]['role'] == 'system' -%}
    {{- messages[0]['content'] -}}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {{- $preamble -}}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) or message['role'] not in \
['user', 'assistant'] -%}
        {{- raise_exception('after the system turn, user and assistant turns must alternate') -}}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {%- if not loop.first -%}{{- $join -}}{%- endif -%}
        {{- $before + message['content'] + $after -}}
    {%- else -%}
        {{- $join + message['content'] -}}
        {%- if loop.last and not add_generation_prompt -%}{{- $eos -}}{%- endif -%}
    {%- endif -%}
{%- endfor -%}
""")


@dataclass(frozen=True, slots=True)
class TrainedTemplate:
    """Format of the instructions that a run has trained.

    Attributes:
        name: Template of documents with the most supervised tokens; None without instructions.
        jinja: The same as a chat template; None if that of the base model remains.
        notes: Notices about the choice.
    """

    name: str | None
    jinja: str | None = None
    notes: tuple[str, ...] = ()


def trained_template(
    timeline: Timeline, supervised: Mapping[str, int], tokenizer: Tokenizer
) -> TrainedTemplate:
    """Format of the instructions and conversations of a run.

    Args:
        timeline: Timeline of the run.
        supervised: Supervised tokens of each source so far.
        tokenizer: Vocabulary of the model.
    """
    tokens: Counter[str] = Counter()
    for source, share in timeline.sources.items():
        corpus = timeline.corpora[share.corpus]
        if corpus.kind in ("instruction", "conversation"):
            tokens[share.template or corpus.template] += supervised.get(source, 0)
    names = [name for name, number in tokens.most_common() if number]
    if not names:
        return TrainedTemplate(None)
    name, *others = names
    notes = []
    if others:
        notes.append(
            f"chat template: {name}, with the most supervised tokens ({tokens[name]:,}); the run "
            f"also trained {', '.join(f'{each} ({tokens[each]:,})' for each in others)}"
        )
    if name == OWN_TEMPLATE:
        return TrainedTemplate(name, None, tuple(notes))
    if name not in DELIMITERS:
        notes.append(f"no chat template: template {name} has no form for conversations")
        return TrainedTemplate(name, None, tuple(notes))
    return TrainedTemplate(name, jinja_template(name, tokenizer), tuple(notes))


def jinja_template(name: str, tokenizer: Tokenizer) -> str:
    """Chat template that writes conversations as a template of documents does.

    Where a vocabulary puts a space before each text, the segments of a document are joined by one.

    Args:
        name: Name of the template of documents, a key of DELIMITERS.
        tokenizer: Vocabulary of the model.
    """
    texts = {
        "bos": tokenizer.piece(tokenizer.bos_id),
        "eos": tokenizer.piece(tokenizer.eos_id),
        "join": joint(tokenizer),
        **DELIMITERS[name]._asdict(),
    }
    literals = {key: json.dumps(text, ensure_ascii=False) for key, text in texts.items()}
    return _TEMPLATE.substitute(literals)


def joint(tokenizer: Tokenizer) -> str:
    """Text between two segments of a document as the vocabulary reads them: a space, or nothing."""
    return " " if has_dummy_prefix(tokenizer) else ""

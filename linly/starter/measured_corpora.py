"""Measures found corpora with a model's vocabulary, and finds their roles in the mixture.

FoundCorpus --template, held-out share, estimate--> MeasuredCorpus
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linly.config.chat_format import CHAT_TEMPLATES
from linly.config.corpus import Corpus, with_chat
from linly.config.sections.languages import Languages
from linly.config.source import Source
from linly.config.yaml.quantities import format_fraction
from linly.curriculum.run_plan import Available
from linly.data.inspection.estimate import estimate_tokens
from linly.data.inspection.first_records import fault_of_guess
from linly.data.inspection.held_out import held_out_documents
from linly.errors import LinlyError
from linly.starter.found_corpora import FoundCorpus
from linly.starter.mixture_choice import Role
from linly.starter.model_look import ModelLook

_WANTED_DOCUMENTS = 100
_FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_FOR_WANTED = 0.05
"""Largest fraction that is held out to reach `_WANTED_DOCUMENTS`; more only for a first one."""


@dataclass(frozen=True, slots=True)
class MeasuredCorpus:
    """A corpus with its role and its amount of data.

    Attributes:
        found: The corpus, its shards and its file.
        role: Role in the mixture; None if its language is neither kept nor learned.
        available: Tokens to train on; none if it has no role.
        document_tokens: Mean number of tokens of a document; 0 if it has no role.
    """

    found: FoundCorpus
    role: Role | None
    available: Available
    document_tokens: float = 0.0

    @property
    def name(self) -> str:
        """Name of the corpus."""
        return self.found.name


def source_of(found: FoundCorpus, look: ModelLook, data_root: Path) -> Source:
    """Build the source that a run with this model reads a corpus as."""
    corpus = found.corpus
    if corpus.template in CHAT_TEMPLATES:
        corpus = with_chat(corpus, None, look.path)
    return Source(corpus.name, corpus, None, data_root)


def role_of(corpus: Corpus, languages: Languages) -> Role | None:
    """Role of a corpus in the mixture, None if it has none.

    A variant counts as its language: zh-Hant as zh. Pairs and instructions need one of the two
    languages, since they serve either.
    """
    written = corpus.fields if corpus.kind == "parallel" else (corpus.language,)
    found = {code.split("-")[0] for code in written}
    kept, learned = (code.split("-")[0] for code in (languages.kept, languages.learned))
    if corpus.kind == "parallel":
        return "parallel" if learned in found else None
    if corpus.kind in ("instruction", "conversation"):
        return "instruction" if found & {kept, learned} else None
    return "learned" if learned in found else "kept" if kept in found else None


def measure_corpus(
    found: FoundCorpus, look: ModelLook, languages: Languages, data_root: Path
) -> MeasuredCorpus:
    """Measure a corpus; a guessed one gets a held-out share, and a template that fits the model.

    Raises:
        DataError: If a shard that is read is damaged.
        ConfigError: If its corpus file cannot be read with the model.
    """
    role = role_of(found.corpus, languages)
    if role is None:
        return MeasuredCorpus(found, None, Available(0, 0, True, False))
    if found.is_guess and look.has_chat_template and role == "instruction":
        found = _with_chat_template(found, look, data_root)
    kept = 1.0
    source = source_of(found, look, data_root)
    if found.is_guess:
        whole = source.corpus.model_copy(update={"held_out": 0.0})
        source = Source(source.name, whole, None, data_root)
    estimate = estimate_tokens(source, found.shards, look.tokenizer)
    if found.is_guess:
        fraction = _held_out_fraction(source, found, estimate.documents)
        kept = 1 - fraction
        why = f"of about {estimate.documents:,} documents; never trained on"
        found = found.with_line("held_out", format_fraction(fraction), why)
        source = source_of(found, look, data_root)
    has_held_out = bool(held_out_documents(source, found.shards, max_documents=1))
    available = Available(
        tokens=round(estimate.tokens * kept),
        supervised_tokens=round(estimate.supervised_tokens * kept),
        exact=estimate.exact and kept == 1,
        has_held_out=has_held_out,
    )
    return MeasuredCorpus(found, role, available, estimate.tokens / max(1, estimate.documents))


def _held_out_fraction(source: Source, found: FoundCorpus, num_documents: int) -> float:
    """Smallest fraction that holds out about 100 documents; larger if it would hold out none."""
    wanted = min(_MOST_FOR_WANTED, _WANTED_DOCUMENTS / max(1, num_documents))
    candidates = [fraction for fraction in _FRACTIONS if fraction >= wanted]
    for fraction in candidates:
        corpus = source.corpus.model_copy(update={"held_out": fraction})
        trial = Source(source.name, corpus, None, source.data_root)
        if held_out_documents(trial, found.shards, max_documents=1):
            return fraction
    return candidates[0]


def _with_chat_template(found: FoundCorpus, look: ModelLook, data_root: Path) -> FoundCorpus:
    """Use the model's chat template if it can write the corpus's first records."""
    changed = found.with_line("template", "chat", "the chat template of the model")
    try:
        source = source_of(changed, look, data_root)
        fault = fault_of_guess(source, found.shards)
    except LinlyError:
        return found
    return found if fault else changed

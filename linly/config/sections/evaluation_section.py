"""Section `evaluation` of a recipe: held-out documents and sampled prompts."""

from __future__ import annotations

from typing import Annotated

from linly.config.sections.languages import Languages, default_prompts
from linly.config.yaml.quantities import (
    Count,
    Text,
    at_most,
)
from linly.config.yaml.strict_model import (
    OnResume,
    Settings,
)


class EvaluationSettings(Settings):
    """Settings of evaluation on held-out documents, and of sampled prompts.

    Attributes:
        every: Steps between evaluations.
        max_documents: Largest number of held-out documents of each source.
        prompts: Prompts that the model completes at every evaluation; `[]` for none. By default
            some in each of the recipe's languages.
        max_new_tokens: Largest number of tokens of a completion.
    """

    every: Annotated[Count, OnResume.RECORDED] = 250  # a guarded curve decides at evaluations
    max_documents: Annotated[Count, OnResume.FREE] = 200
    prompts: Annotated[tuple[Text, ...], OnResume.FREE] = default_prompts(*Languages().both)
    max_new_tokens: Annotated[
        Count, at_most(1 << 20, "no model has more positions"), OnResume.FREE
    ] = 64

"""`training.trainable` of a recipe: its three forms, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.config.sections.trainable_setting import Lora, NewRows, Trainable
from linly.config.sections.training_section import TrainingSettings
from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import Model, validate
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.errors import ConfigError

FORMS = (
    "full, embeddings, new_rows, {new_rows: {head: all}}, or "
    "{lora: {rank: 8, alpha: 32, targets: [q_proj, ...]}}"
)


class Document(Model):
    name: Text
    training: TrainingSettings = TrainingSettings()


def read(trainable: str) -> TrainingSettings:
    text = f"training:\n  trainable: {trainable}\n"
    tree = parse_yaml(text, Origin("recipe.yaml", 1, Path()))
    return validate(Document, tree, name="document").training


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("full", Trainable()),
        ("embeddings", Trainable(kind="embeddings")),
        ("new_rows", Trainable(kind="new_rows", new_rows=NewRows())),
        ("{new_rows: {head: all}}", Trainable(kind="new_rows", new_rows=NewRows(head="all"))),
        ("{lora: {}}", Trainable(kind="lora", lora=Lora())),
        (
            "{lora: {rank: 16, alpha: 64, dropout: 5%, targets: [up_proj], also: [lm_head]}}",
            Trainable(
                kind="lora",
                lora=Lora(rank=16, alpha=64, dropout=0.05, targets=("up_proj",), also=("lm_head",)),
            ),
        ),
    ],
)
def test_each_form_is_read_and_reads_back_equal(text: str, expected: Trainable) -> None:
    settings = read(text)
    assert settings.trainable == expected
    assert TrainingSettings.model_validate(settings.file_form()) == settings


def test_the_defaults_are_those_of_chinese_llama() -> None:
    lora = Lora()
    assert (lora.rank, lora.alpha, lora.dropout) == (8, 32, 0.05)
    assert lora.targets == ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "embedings",
            f"trainable: found 'embedings', did you mean 'embeddings'? allowed: {FORMS}",
        ),
        ("lora", f"trainable: found 'lora', allowed: {FORMS}"),
        ("null", f"trainable: found nothing, allowed: {FORMS}"),
        ("[full]", f"trainable: found a list, allowed: {FORMS}"),
        ("{kind: full}", "trainable.kind: unknown key 'kind', allowed: lora, new_rows"),
        (
            "{lor: {}}",
            "trainable.lor: unknown key 'lor', did you mean 'lora'? allowed: lora, new_rows",
        ),
        (
            "{lora: 8}",
            "trainable.lora: found 8, allowed: a mapping such as {rank: 8, also: [embed_tokens]}",
        ),
        ("{lora: {rank: 0}}", "trainable.lora.rank: found 0, allowed: 1 or more"),
        (
            "{lora: {alpha: 0}}",
            "trainable.lora.alpha: found 0.0, allowed: 1e-06 or more: a smaller factor leaves "
            "nothing of an addition in BF16",
        ),
        ("{lora: {dropout: 100%}}", "trainable.lora.dropout: found '100%', allowed: less than 1"),
        (
            "{lora: {targets: []}}",
            "trainable.lora.targets: found an empty list, allowed: at least 1 items",
        ),
        (
            "{lora: {rnk: 8}}",
            "trainable.lora.rnk: unknown key 'rnk', did you mean 'rank'? allowed: alpha, also, "
            "dropout, rank, targets",
        ),
        (
            "{lora: {also: [embed_token]}}",
            "trainable.lora.also[0]: found 'embed_token', did you mean 'embed_tokens'? allowed: "
            "embed_tokens, lm_head",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text)
    assert str(raised.value) == f"recipe.yaml:2: training.{error}"

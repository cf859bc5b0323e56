"""The setting `training.average`: kinds, defaults, refusals, and the form that is written back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from linly.config.sections.average_setting import WeightAveraging
from linly.config.sections.training_section import TrainingSettings


@pytest.mark.parametrize(
    ("written", "whole", "num_copies", "span_steps"),
    [
        ({"kind": "ema"}, {"kind": "ema", "decay": 0.999, "every": 10}, 1, 10),
        ({"kind": "window"}, {"kind": "window", "steps": 500, "every": 50}, 2, 500),
        ({"kind": "ema", "every": 3}, {"kind": "ema", "decay": 0.999, "every": 3}, 1, 3),
    ],
)
def test_defaults_are_those_of_the_kind(
    written: dict[str, Any], whole: dict[str, Any], num_copies: int, span_steps: int
) -> None:
    average = WeightAveraging.model_validate(written)
    assert average.file_form() == whole
    assert WeightAveraging.model_validate(whole) == average
    assert (average.num_copies, average.span_steps) == (num_copies, span_steps)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"kind": "mean"}, "Input should be 'ema' or 'window'"),
        ({"decay": 0.9}, "Field required"),
        ({"kind": "ema", "steps": 10}, "unknown key 'steps', allowed: decay, every, kind"),
        ({"kind": "window", "decay": 0.9}, "unknown key 'decay', allowed: every, kind, steps"),
        ({"kind": "window", "steps": 100, "every": 30}, "allowed: a multiple of every"),
    ],
)
def test_what_does_not_fit_the_kind_is_refused(written: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        TrainingSettings.model_validate({"average": written})

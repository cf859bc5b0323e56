"""The settings of a first run fit its model, its tokens and its ranks."""

from __future__ import annotations

import pytest

from linly.errors import ConfigError
from linly.starter.settings_choice import SettingsChoice, choose_settings

B, M = 1_000_000_000, 1_000_000


def chosen(
    *,
    num_parameters: int = 7 * B,
    positions: int | None = 4096,
    tokens: int = 5 * B,
    document_tokens: float = 500.0,
    world_size: int = 1,
) -> SettingsChoice:
    return choose_settings(
        num_parameters=num_parameters,
        positions=positions,
        tokens=tokens,
        document_tokens=document_tokens,
        world_size=world_size,
    )


def test_a_7b_model_gets_the_published_settings() -> None:
    settings = chosen()
    assert (settings.sequence_length, settings.global_batch) == (2048, 512)
    assert (settings.num_steps, settings.lr, settings.micro_batch) == (4768, 5e-5, 4)
    assert (settings.warmup, settings.recomputes) == (1, True)
    assert (settings.evaluate_every, settings.save_every) == (200, 200)
    assert settings.max_documents == 200


@pytest.mark.parametrize("positions", [64, 100, 512, 1000, 2048, 131_072])
def test_rows_stay_within_the_model_s_positions(positions: int) -> None:
    for tokens in (200_000, 20 * M, 5 * B):
        settings = chosen(positions=positions, tokens=tokens)
        assert settings.sequence_length <= min(positions, 2048)
        assert settings.tokens <= tokens < settings.tokens + settings.step_tokens


def test_a_model_without_a_limit_gets_rows_of_2048() -> None:
    assert chosen(positions=None).sequence_length == 2048


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6, 8, 24, 64])
@pytest.mark.parametrize("tokens", [200_000, 30 * M, 5 * B])
def test_the_batch_divides_among_the_ranks(world_size: int, tokens: int) -> None:
    settings = chosen(world_size=world_size, tokens=tokens)
    assert settings.global_batch % (world_size * settings.micro_batch) == 0


def test_a_smaller_model_learns_faster_and_needs_no_recomputing() -> None:
    rates = [chosen(num_parameters=n).lr for n in (4 * M, 125 * M, B, 7 * B)]
    assert rates == [1e-3, 2e-4, 1e-4, 5e-5]
    assert not chosen(num_parameters=125 * M).recomputes


def test_a_short_run_has_many_steps_and_few_evaluations() -> None:
    settings = chosen(num_parameters=4 * M, tokens=300_000, document_tokens=3000.0)
    assert settings.num_steps == 146
    assert (settings.evaluate_every, settings.max_documents) == (20, 4)
    assert settings.max_new_tokens < chosen().max_new_tokens
    assert settings.warmup == 5


def test_too_few_tokens_are_refused_with_the_least_number() -> None:
    with pytest.raises(ConfigError, match=r"5K tokens, allowed: at least 20,480 \(10 steps\)"):
        chosen(tokens=5000)

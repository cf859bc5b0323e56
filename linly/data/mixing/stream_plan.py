"""Specification of the stream: everything that the global order of rows depends on, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from linly.config.recipe import Recipe
from linly.config.source import sources_of
from linly.curriculum.apportion import Phase
from linly.curriculum.timeline import Timeline, fold, start_decision
from linly.data.mixing.mixer import Mixer
from linly.data.mixing.order import ORDER_VERSION
from linly.data.mixing.source_spec import SourceSpec, source_fingerprint
from linly.data.mixing.state import Identity, MixerState
from linly.data.types import Shard, ShardList
from linly.errors import ConfigError, DataError
from linly.tokenization.load_tokenizer import load_tokenizer


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Everything a process needs to build the stream; sent to the producers.

    Attributes:
        phases: Curricula of the run, each from its first row.
        sources: Sources by name.
        tokenizer_path: Path that `load_tokenizer` accepts.
        identity: Identity that a state must match.
    """

    phases: tuple[Phase, ...]
    sources: tuple[SourceSpec, ...]
    tokenizer_path: Path
    identity: Identity

    @property
    def num_rows(self) -> int:
        """Rows of the run."""
        return self.phases[-1].mixture.num_rows

    def new_state(self) -> MixerState:
        """State before the first row."""
        return MixerState(self.identity)


def stream_plan(
    recipe: Recipe,
    tokenizer_path: Path,
    shards: Mapping[str, tuple[Shard, ...]],
    timeline: Timeline | None = None,
    later_lists: Mapping[str, tuple[ShardList, ...]] | None = None,
) -> StreamPlan:
    """Collect everything that the rows of a recipe depend on.

    Args:
        recipe: Resolved recipe.
        tokenizer_path: Path of the recipe model's tokenizer, or of its replacement.
        shards: Source name -> the list pinned when the source joined the run.
        timeline: Timeline of the run after its decisions; None for a run without decisions.
        later_lists: Source name -> lists of shards made during the run.

    Raises:
        ConfigError: If the tokenizer cannot be read, or the ratios do not add up.
        DataError: If a source has no shards.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    timeline = fold([start_decision(recipe)]) if timeline is None else timeline
    shares = timeline.sources
    corpora = {**timeline.corpora, **recipe.corpora}
    sources = []
    for name, source in sources_of(shares, corpora, recipe.data_root).items():
        if not shards.get(name):
            raise DataError(f"source {name!r}: no shards were listed for it")
        sources.append(
            SourceSpec(
                source=source,
                shards=tuple(shards[name]),
                seed=recipe.data.seed,
                sequence_length=recipe.data.sequence_length,
                padding_id=tokenizer.pad_id if tokenizer.pad_id is not None else tokenizer.eos_id,
                max_epochs=shares[name].max_epochs,
                on_exhausted=shares[name].on_exhausted,
                later_lists=(later_lists or {}).get(name, ()),
            )
        )
    return StreamPlan(
        phases=timeline.phases,
        sources=tuple(sources),
        tokenizer_path=tokenizer_path,
        identity=Identity(
            order_version=ORDER_VERSION,
            seed=recipe.data.seed,
            sequence_length=recipe.data.sequence_length,
            tokenizer=tokenizer.fingerprint,
            sources={spec.name: source_fingerprint(spec) for spec in sources},
        ),
    )


def make_mixer(
    plan: StreamPlan,
    state: MixerState,
    *,
    only: frozenset[str] | None = None,
    working_on: Callable[[str, str], None] = lambda source, shard: None,
) -> Mixer:
    """Build a mixer in this process, for all sources or for some (see `Mixer`).

    Raises:
        ConfigError: If the tokenizer is not the one of the plan.
    """
    tokenizer = load_tokenizer(plan.tokenizer_path)
    if tokenizer.fingerprint != plan.identity.tokenizer:
        raise ConfigError(
            f"tokenizer {plan.tokenizer_path}: its sha256 is {tokenizer.fingerprint}, not "
            f"{plan.identity.tokenizer} as at the start; restore the file"
        )
    return Mixer(
        phases=plan.phases,
        sources=plan.sources,
        tokenizer=tokenizer,
        state=state,
        only=only,
        working_on=working_on,
    )

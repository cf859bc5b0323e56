"""linly from Python: the functions behind `linly plan`, `mix`, `train` and `export`.

    recipe = linly.load_recipe("recipe.yaml", ["curriculum.tokens=2M"])
    plan = linly.plan(recipe)
    with linly.rows(recipe) as rows:
        first = next(rows)
    outcome = linly.train(recipe)
    exported = linly.export_run(recipe.run, "models/mine")

A function imports the packages that it needs when it is called, torch only for training and export.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linly.config.curriculum import Curriculum
    from linly.config.recipe import Recipe
    from linly.curriculum.run_plan import Available, Plan
    from linly.data.loading.rows import Rows
    from linly.export.model_export import Exported
    from linly.training.loop.trainer import Outcome

FilePath = str | os.PathLike[str]

CURRICULUM_SEQUENCE_LENGTH = 2048
"""Sequence length for planning a curriculum without a recipe, since a curriculum has none."""


def load_recipe(path: FilePath, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe with everything that it names.

    Args:
        path: Recipe file.
        overrides: Values to override, such as `training.lr=1e-4`.

    Raises:
        ConfigError: If anything is invalid; names file, line and key of every error.
    """
    from linly.config.recipe import load_recipe

    return load_recipe(Path(path), overrides)


def load_curriculum(path: FilePath) -> Curriculum:
    """Read a curriculum file.

    Raises:
        ConfigError: If the file is invalid; names file, line and key of every error.
    """
    from linly.config.curriculum import load_curriculum

    return load_curriculum(Path(path))


def plan(
    planned: Recipe | Curriculum,
    *,
    tokenizer: FilePath | None = None,
    counts_data: bool = True,
    positions: Sequence[float] = (),
    on_source: Callable[[str], None] = lambda name: None,
) -> Plan:
    """Plan a run: shares, rows and epochs of each source, steps, world sizes.

    A plan that reads a source too often is returned too; its source's `is_exceeded` says so. A
    recipe of an annealing branch is planned from the step on at which its decay begins.

    Args:
        planned: Recipe, or a curriculum, which is planned without batches and data.
        tokenizer: Vocabulary to count available tokens with; None for that of the recipe's model.
        counts_data: Whether the shards are read, to count or estimate the available tokens.
        positions: Fractions of the run to report shares at, besides start, middle and end.
        on_source: Function called with a source's name before its data is read.

    Raises:
        LinlyError: If the ratios do not add up somewhere in the run, or the data cannot be read.
    """
    from linly.config.recipe import Recipe
    from linly.curriculum.learning_rate import LearningRate
    from linly.curriculum.run_plan import Batch, make_plan
    from linly.storage.hub import configuration_folder

    if not isinstance(planned, Recipe):
        length = CURRICULUM_SEQUENCE_LENGTH
        return make_plan(planned, sequence_length=length, extra_positions=positions)
    model = planned.model if tokenizer is None else Path(tokenizer)
    available: Mapping[str, Available] = {}
    if counts_data and model is not None:
        available = _available(planned, configuration_folder(model), on_source)
    annealing = planned.training.annealing
    return make_plan(
        planned.curriculum,
        sequence_length=planned.data.sequence_length,
        batch=Batch(planned.data.global_batch, planned.training.micro_batch),
        rate=LearningRate.from_recipe(planned),
        first_step=annealing.from_step if annealing else 0,
        available=available,
        extra_positions=positions,
    )


def _available(
    recipe: Recipe, model: Path, on_source: Callable[[str], None]
) -> dict[str, Available]:
    """Count or estimate the tokens of each source."""
    from linly.data.inspection.source_inventory import source_inventory
    from linly.tokenization.load_tokenizer import load_tokenizer

    tokenizer = load_tokenizer(model)
    available: dict[str, Available] = {}
    for name, source in recipe.sources.items():
        on_source(name)
        found = source_inventory(
            source, tokenizer, sequence_length=recipe.data.sequence_length, max_held_out=1
        )
        available[name] = found.available
    return available


def rows(
    recipe: Recipe,
    *,
    tokenizer: FilePath | None = None,
    state: Mapping[str, Any] | None = None,
    producers: int | None = None,
) -> Rows:
    """Open the rows that a run of the recipe would train on, in order; see `Rows`.

    Args:
        recipe: Recipe; of its model only the tokenizer is read.
        tokenizer: Vocabulary to use instead of the model's.
        state: Result of `Rows.state_dict` to resume from; None to begin with the first row.
        producers: Processes that build rows; None for the recipe's `data.producers`. With 0 they
            are built in this process.

    Raises:
        LinlyError: If the recipe does not fit the data, or the state another stream.
    """
    from linly.data.loading.rows import Rows

    path = None if tokenizer is None else Path(tokenizer)
    return Rows(recipe, tokenizer=path, state=state, producers=producers)


def train(
    recipe: Recipe,
    *,
    resume_step: int | None = None,
    is_quiet: bool = False,
    on_end: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Train a recipe, or resume its run; a collective if a launcher started several processes.

    The process group remains, since DeepSpeed cannot use another one in the same process.

    Args:
        recipe: Recipe of the run.
        resume_step: Step of the checkpoint to resume from; None for the newest complete one.
        is_quiet: Whether to print warnings only.
        on_end: Function that the first process calls with the outcome, while the others wait.

    Raises:
        LinlyError: If the run cannot start or fails; its checkpoints are unchanged.
    """
    _check_world_size(recipe)
    from linly.training.ranks.processes import start_processes

    processes = start_processes(recipe.training.collective_timeout_s)
    from linly.training.loop.trainer import train

    outcome = train(recipe, processes, resume_step=resume_step, is_quiet=is_quiet)
    if processes.is_first:
        on_end(outcome)
    processes.barrier()  # launchers end all ranks when the first one exits
    return outcome


def _check_world_size(recipe: Recipe) -> None:
    """Check the launcher's number of ranks before torch is imported, which takes seconds."""
    from linly.curriculum.run_plan import Batch
    from linly.data.loading.ranks import check_world_size
    from linly.training.ranks.launcher import rank_variables

    environment = {**os.environ, **rank_variables(os.environ)}
    batch = Batch(recipe.data.global_batch, recipe.training.micro_batch)
    check_world_size(batch, int(environment["WORLD_SIZE"]))


def export_run(
    run: FilePath | Sequence[FilePath],
    output: FilePath,
    *,
    average: bool = False,
    dtype: str = "bf16",
    shard_size: str = "5GB",
    gguf: Sequence[str] = (),
    license: str = "other",
    repository: str | None = None,
) -> Exported:
    """Write checkpoints of a run as a model folder that plain transformers loads.

    Args:
        run: Run folder for its newest complete checkpoint; `RUN@200` for that of a step,
            `RUN@200,400` for the mean of several; a list such as `["A@1000:0.3", "B@1200:0.7"]`
            for a weighted mean of several runs of one base model.
        output: Output folder; must be missing or empty.
        average: Whether to take the weights that `training.average` kept, not the last ones.
        dtype: Type of the weights: bf16, fp16 or fp32.
        shard_size: Largest size of a file.
        gguf: Types of GGUF files to write as well, f16 or q8_0.
        license: License for the model card, as the hub names it.
        repository: Hub id for the model card if the export will be uploaded.

    Raises:
        LinlyError: If there is no such checkpoint, or it is damaged, or cannot be exported.
    """
    from linly.export.gguf.gguf_file import GgufType
    from linly.export.model_export import ExportForm, export_mean
    from linly.export.run_checkpoints import parse_choice

    runs = [run] if isinstance(run, str | os.PathLike) else run
    choices = [parse_choice(os.fspath(each)) for each in runs]
    types = tuple(GgufType.parse(kind) for kind in dict.fromkeys(gguf))
    form = ExportForm(dtype, shard_size, types, license, repository)
    return export_mean(choices, output=Path(output), form=form, is_averaged=average)

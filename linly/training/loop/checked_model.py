"""The model of a recipe, checked before anything is written or loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from linly.config.recipe import Recipe
from linly.errors import ConfigError
from linly.evaluation.evaluation import check_prompts
from linly.modeling.parameters import ParameterCount
from linly.modeling.parts.parts_check import describe_choices
from linly.modeling.stored.stored_model import StoredModel
from linly.modeling.suitability import examine_model
from linly.storage.hub import MODEL_FORM, HubModel, fetch_model, model_folder, pin
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer
from linly.training.changes.pinned_inputs import model_identity
from linly.training.ranks.processes import Processes


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model that can be trained by a recipe; no weights are loaded.

    Attributes:
        stored: The folder without its weights; its model includes LoRA's matrices.
        parameters: Number of parameters that train in any phase, and of all.
        new_rows: Ids of the tokens that were added to the model; None without a record or any.
        choices: Description of what each phase trains; empty without parts that train apart.
        notes: Warnings that do not prevent a run, one line each.
    """

    path: Path
    stored: StoredModel
    tokenizer: Tokenizer
    parameters: ParameterCount
    new_rows: range | None
    choices: tuple[str, ...]
    notes: tuple[str, ...]


def with_fetched_model(recipe: Recipe, processes: Processes) -> Recipe:
    """The recipe with its hub model at a commit whose files are on every node; a collective.

    One process per node downloads them, and rank 0 decides on the commit.

    Raises:
        ConfigError: If it cannot be downloaded.
    """
    if not isinstance(recipe.model, HubModel):
        return recipe
    patient = processes.for_background_thread()  # a download may take hours
    commit: HubModel | None = None
    with patient.together(f"looking up model {recipe.model}"):
        if patient.is_first:
            commit = pin(recipe.model)
    commit = HubModel.parse(patient.gather_json(str(commit))[0])
    assert commit is not None
    with patient.together(f"downloading model {commit}"):
        if os.environ.get("LOCAL_RANK", "0") == "0":
            fetch_model(commit)
    return recipe.model_copy(update={"model": commit})


def check_model(recipe: Recipe) -> CheckedModel:
    """Check that a recipe's model exists and can be trained by it.

    Raises:
        ConfigError: If it cannot; the error names the cause.
    """
    if recipe.model is None:
        raise ConfigError(f"model: missing, but training needs one: add model=, {MODEL_FORM}")
    path = model_folder(recipe.model)
    tokenizer = load_tokenizer(path)
    found = examine_model(
        path, tokenizer, recipe.training, sequence_length=recipe.data.sequence_length
    )
    check_prompts(found.stored.config, tokenizer, recipe.evaluation)
    return CheckedModel(
        path,
        found.stored,
        tokenizer,
        found.parameters,
        found.new_rows,
        describe_choices(recipe.training, recipe.phase_ends, found.stored.model, found.new_rows),
        found.notes,
    )


def identity_on_all_ranks(recipe: Recipe, processes: Processes) -> dict[str, str]:
    """Hashes of what must not change in the model while the run exists; a collective.

    Raises:
        ConfigError: If a node has other files.
    """
    assert recipe.model is not None
    mine: dict[str, str] = {}
    with processes.together(f"reading model {recipe.model}"):
        mine = model_identity(model_folder(recipe.model), recipe.training.optimized)
    for rank, identity in enumerate(processes.gather_json(mine)):
        if identity != mine:
            raise ConfigError(
                f"model {recipe.model}: differs between rank {rank} and rank {processes.rank}: "
                "every node needs the same files"
            )
    return mine

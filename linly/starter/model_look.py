"""Reads the properties of a model folder that a recipe depends on; no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linly.config.chat_format import read_chat_templates
from linly.config.sections.training_section import TrainingSettings
from linly.curriculum.wording import amount
from linly.modeling.positions import num_positions
from linly.modeling.stored.configuration import check_model_folder
from linly.modeling.stored.dtypes import usual_dtype
from linly.modeling.suitability import examine_model
from linly.storage.hub import HubModel, model_in_cache
from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.tokenizer import Tokenizer

_SHORTEST = 8
"""Sequence length for the check of the model: the shortest allowed, since none is chosen yet."""


@dataclass(frozen=True, slots=True)
class ModelLook:
    """Properties of a model folder.

    Attributes:
        path: The folder.
        tokenizer: Its vocabulary.
        model_type: Architecture, as config.json names it.
        num_parameters: Number of parameters.
        dtype: Dtype of most weights, such as bfloat16.
        positions: Largest number of positions; None if the architecture has no limit.
        has_chat_template: Whether the folder has a chat template.
        can_recompute: Whether activations can be recomputed in backward.
        notes: Warnings that do not prevent a run, one line each.
    """

    path: Path
    tokenizer: Tokenizer
    model_type: str
    num_parameters: int
    dtype: str
    positions: int | None
    has_chat_template: bool
    can_recompute: bool
    notes: tuple[str, ...]

    @property
    def hub(self) -> HubModel | None:
        """The model on the hub that the folder was downloaded from, at its commit."""
        return model_in_cache(self.path)

    @property
    def name(self) -> str:
        """Name of the model: that of its folder, or of its repository."""
        return self.hub.repository.split("/")[-1] if self.hub else self.path.resolve().name

    @property
    def vocabulary(self) -> str:
        """Kind of the vocabulary."""
        return "byte-level" if isinstance(self.tokenizer, ByteLevelTokenizer) else "sentencepiece"

    def describe(self) -> str:
        """Describe the model in a line: `llama, 6.74B parameters in bfloat16, ...`."""
        positions = "no limit of" if self.positions is None else f"{self.positions:,}"
        return (
            f"{self.model_type}, {amount(self.num_parameters, 3)} parameters in {self.dtype}, "
            f"{positions} positions, {self.vocabulary} vocabulary of {self.tokenizer.vocab_size:,}"
        )


def look_at_model(path: Path) -> ModelLook:
    """Examine a model folder with the code that accepts or refuses it when training starts.

    Raises:
        ConfigError: If it cannot be trained, with the reason and the cure.
    """
    check_model_folder(path)
    tokenizer = load_tokenizer(path)
    training = TrainingSettings(activation_checkpointing="none")
    suitable = examine_model(path, tokenizer, training, sequence_length=_SHORTEST)
    stored = suitable.stored
    return ModelLook(
        path=path,
        tokenizer=tokenizer,
        model_type=stored.config.model_type,
        num_parameters=suitable.parameters.total,
        dtype=str(usual_dtype(stored.tensors)).removeprefix("torch."),
        positions=num_positions(stored.config),
        has_chat_template=bool(read_chat_templates(path)),
        can_recompute=bool(getattr(stored.model, "supports_gradient_checkpointing", False)),
        notes=suitable.notes,
    )

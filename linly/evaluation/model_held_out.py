"""Bits per byte of any model on the held-out documents of a recipe's sources."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from linly.config.recipe import Recipe
from linly.data.inspection.held_out import held_out_documents
from linly.data.reading.shards import list_shards
from linly.evaluation.evaluation import Evaluator, encode_held_out
from linly.modeling.attention.separation import way_of_evaluation
from linly.records.evaluation_record import SourceEvaluation
from linly.tokenization.tokenizer import Tokenizer
from linly.training.ranks.processes import Processes


@torch.no_grad()
def evaluate_held_out(
    model: PreTrainedModel, tokenizer: Tokenizer, recipe: Recipe, processes: Processes
) -> dict[str, SourceEvaluation]:
    """Evaluate a model as a run of the recipe would at its start; a collective.

    Args:
        model: The model on its device, in evaluation mode.
        tokenizer: Its tokenizer.
        recipe: Recipe whose sources, sequence length and number of documents count; its model
            does not.
        processes: Processes of the job.

    Returns:
        Results by source, of the sources that have held-out documents.

    Raises:
        DataError: If a source cannot be read.
    """
    held_out = []
    with processes.together("reading held-out documents"):
        for name, source in sorted(recipe.sources.items()):
            documents = held_out_documents(
                source,
                list_shards(source.corpus, source.data_root),
                max_documents=recipe.evaluation.max_documents,
            )
            if documents:
                held_out.append(
                    encode_held_out(
                        name,
                        source.corpus,
                        documents,
                        tokenizer,
                        sequence_length=recipe.data.sequence_length,
                    )
                )
    length = recipe.data.sequence_length
    evaluator = Evaluator(
        held_out,
        processes,
        sequence_length=length,
        batch_rows=recipe.training.micro_batch,
        way=way_of_evaluation(model, length),
    )
    return evaluator.evaluate(model)

"""README of an exported model: its training data as realized, and held-out results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linly.config.languages import language_name, recipe_languages
from linly.modeling.parameters import ParameterCount
from linly.records.before_after import BitsChange, changes_by_language, changes_by_source
from linly.records.evaluation_record import parse_sources


def model_card(
    run: str,
    state: Mapping[str, Any],
    *,
    steps: Sequence[int],
    parameters: ParameterCount,
    exact: bool,
) -> str:
    """Markdown for a model folder.

    Args:
        run: The run's name.
        state: State of the newest exported checkpoint.
        steps: Steps of the exported checkpoints, ascending.
        parameters: Trained and total parameter counts.
        exact: Whether the export has an exact tokenizer.json.
    """
    counts, recipe = state["books"], state["recipe"]
    languages = sorted({corpus["language"] for corpus in recipe["corpora"].values()})
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"language: [{', '.join(languages)}]",
        "---",
        "",
        f"# {run}, {'step' if len(steps) == 1 else 'mean of steps'} {_listed(steps)}",
        "",
        f"Continual pre-training of `{recipe['model']}` with linly: "
        f"{_trained(recipe, parameters)}, BF16 with fp32 master weights, "
        f"{counts['tokens_seen']:,} tokens in {state['step']:,} steps, curriculum "
        f"`{recipe['curriculum']['name']}`.",
        "",
        *_mean_lines(steps),
        "## Mixture as realized",
        "",
        "| source | rows | share | supervised tokens | epoch |",
        "|---|---:|---:|---:|---:|",
        *_mixture_lines(counts),
        "",
        f"Largest distance from the curriculum of any source at any row: "
        f"{counts['largest_drift']:.2f} row.",
        "",
        *_evaluation_lines(state),
        *_use_lines(exact=exact),
    ]
    return "\n".join(lines)


def _use_lines(*, exact: bool) -> list[str]:
    loading = ['tokenizer = AutoTokenizer.from_pretrained("PATH")']
    remark = ["It has no exact `tokenizer.json`: use sentencepiece with `tokenizer.model`.", ""]
    return [
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("PATH", dtype="bfloat16")',
        *(loading if exact else []),
        "```",
        "",
        *([] if exact else remark),
    ]


def _trained(recipe: Mapping[str, Any], parameters: ParameterCount) -> str:
    """Description of the trained parameters."""
    trainable = recipe["training"]["trainable"]
    if trainable == "full":
        return "all parameters"
    if trainable == "embeddings":
        return f"the input embedding only, {parameters}"
    lora = trainable["lora"]
    also = "".join(f", {name} in full" for name in lora["also"])
    layers = ", ".join(lora["targets"])
    return f"LoRA of rank {lora['rank']} on {layers}{also}, {parameters}; merged here"


def _mean_lines(steps: Sequence[int]) -> list[str]:
    if len(steps) == 1:
        return []
    text = f"The weights are the unweighted mean of the checkpoints at steps {_listed(steps)}."
    return [f"{text} The tables below describe the run at step {steps[-1]:,}.", ""]


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(f"{step:,}" if len(steps) == 1 else str(step) for step in steps)


def _mixture_lines(counts: Mapping[str, Any]) -> list[str]:
    total = max(1, sum(counts["rows"].values()))
    return [
        f"| {source} | {rows:,} | {rows / total:.2%} | {counts['supervised'][source]:,} "
        f"| {counts['epochs'][source]} |"
        for source, rows in sorted(counts["rows"].items())
    ]


def _evaluation_lines(state: Mapping[str, Any]) -> list[str]:
    """Tables of the held-out text that was evaluated before the first step and at the end."""
    before, after = parse_sources(state["baseline"]), parse_sources(state["latest"])
    if not after:
        return []
    by_language, by_source = changes_by_language(before, after), changes_by_source(before, after)
    languages = recipe_languages(state["recipe"]).ordered(by_language)
    left_out = sorted((before.keys() | after.keys()) - by_source.keys())
    remark = f"Not evaluated at both ends, and left out: {', '.join(left_out)}."
    return [
        "## Held-out documents, bits per byte",
        "",
        f"Before the first step and after step {state['evaluated_step']:,}; lower is better.",
        "",
        "| language | before | after | change |",
        "|---|---:|---:|---:|",
        *(_change_line(language_name(name), by_language[name]) for name in languages),
        "",
        "| source | before | after | change |",
        "|---|---:|---:|---:|",
        *(_change_line(name, change) for name, change in sorted(by_source.items())),
        "",
        *([remark, ""] if left_out else []),
    ]


def _change_line(name: str, change: BitsChange) -> str:
    return f"| {name} | {change.before:.3f} | {change.after:.3f} | {change.relative:+.1%} |"

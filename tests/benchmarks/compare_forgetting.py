"""What a mixture keeps of the base's abilities: the probe and English answers, beside other runs.

    python tests/benchmarks/compare_forgetting.py BASE_MODEL_DIR RECIPE... --steps 300

Each recipe is trained from the same base with each seed, and takes the in-context probe and MMLU
without examples at both ends. Prints a Markdown table of what was lost since step 0, as means and
ranges over the seeds. Runs that are done already are not made again.

For real-small.yaml against real-small-chinese.yaml, the expectation is that the Chinese text alone
loses at least twice as much of the probe and of the bits per byte of English answers.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from linly.config.recipe import load_recipe
from linly.records.evaluation_record import EvaluationRecord
from linly.runs.runs import RunFolder

BIN = Path(sys.executable).parent
FIRST_SEED = 2023
TASKS = "[{name: icl, limit: 400}, {name: mmlu, files: eval/exams/mmlu, shots: 0, limit: 400}]"
COLUMNS = {
    "probe, accuracy": ("icl", "accuracy"),
    "probe, bits per answer": ("icl", "bits_per_answer"),
    "copies, bits per token": ("icl", "copy_gain"),
    "English answers, bits per byte": ("mmlu", "bits_per_byte"),
}
"""Heading -> (task, figure)."""

Figures = dict[str, tuple[float, float]]
"""Heading -> at step 0, after the last step."""


def main() -> None:
    """Make the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("base", type=Path, help="model folder, with the extended vocabulary")
    parser.add_argument("recipes", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("runs/compare-forgetting"))
    arguments = parser.parse_args()
    results = {
        recipe.stem: [
            run_once(arguments, recipe, FIRST_SEED + number) for number in range(arguments.seeds)
        ]
        for recipe in arguments.recipes
    }
    print(table(results))


def run_once(arguments: argparse.Namespace, recipe: Path, seed: int) -> Figures:
    """Train a recipe with one seed, unless that was done before."""
    run = arguments.work / f"{recipe.stem}-{seed}-{arguments.steps}"
    if not is_done(run, arguments.steps):
        data = load_recipe(recipe, [f"model={arguments.base}", f"run={run}"]).data
        command(
            *(BIN / "linly", "launch", recipe, f"model={arguments.base}", f"run={run}"),
            f"data.seed={seed}",
            f"curriculum.tokens={arguments.steps * data.global_batch * data.sequence_length}",
            f"evaluation.every={arguments.steps}",
            f"evaluation.tasks={TASKS}",
            "evaluation.prompts=[]",
            f"checkpoint.every={arguments.steps}",
            "checkpoint.keep_last=1",
            "checkpoint.keep_every=null",
            *("--nproc", arguments.processes),
        )
    evaluations = list(RunFolder.open(run).read_evaluations())
    found = {
        heading: (figure(evaluations[0], *where), figure(evaluations[-1], *where))
        for heading, where in COLUMNS.items()
    }
    print(f"{run.name}: {found}", file=sys.stderr)
    return found


def is_done(run: Path, steps: int) -> bool:
    """Whether a run was evaluated after its last step."""
    if not (run / "evaluations.jsonl").is_file():
        return False
    evaluations = list(RunFolder.open(run).read_evaluations())
    return bool(evaluations) and evaluations[-1].step == steps


def figure(evaluation: EvaluationRecord, task: str, key: str) -> float:
    """One figure of an evaluation."""
    value: float | None = getattr(evaluation.tasks[task], key)
    if value is None:
        sys.exit(f"step {evaluation.step}: {task} has no {key}: the run diverged")
    return value


def command(*words: object) -> None:
    """Run a command; its output goes to stderr, so that the table can be redirected."""
    done = subprocess.run([str(word) for word in words], check=False, stdout=sys.stderr)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(map(str, words))}")


def table(results: Mapping[str, Sequence[Figures]]) -> str:
    """Values at step 0 and changes since, as Markdown."""
    lines = [
        "| run | " + " | ".join(f"{heading}: step 0, change" for heading in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, runs in results.items():
        cells = []
        for heading in COLUMNS:
            changes = [run[heading][1] - run[heading][0] for run in runs]
            cells.append(
                f"{runs[0][heading][0]:.3f}, {statistics.mean(changes):+.3f} "
                f"({min(changes):+.3f} to {max(changes):+.3f})"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    seeds = max(map(len, results.values()))
    note = f"Change since step 0: mean (smallest to largest) of {seeds} seeds."
    return "\n".join([*lines, "", note])


if __name__ == "__main__":
    main()

"""What the rows of new pieces should start from: Chinese and English bits per byte, three ways.

    python tests/benchmarks/compare_inits.py BASE_MODEL_DIR EXTENDED_TOKENIZER RECIPE --steps 300

For each way and seed the base is extended and trained on the recipe, whose curriculum is made to
end at the last step; the held-out documents are evaluated before the first step and after the
last. Prints a Markdown table of means and ranges over the seeds. Runs that are done already are
not made again, so a comparison that was stopped goes on.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from linly.config.recipe import load_recipe
from linly.monitor.history.headlines import language_changes
from linly.monitor.history.history import read_history

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
INITS = ("mean-of-subtokens", "global-mean", "normal")
LANGUAGES = ("zh", "en")
FIRST_SEED = 2023

BitsPerByte = dict[str, tuple[float, float]]
"""Language -> right after the extension, after the last step."""


def main() -> None:
    """Make the runs and print the table."""
    arguments = parse_arguments()
    results = {
        init: [run_once(arguments, init, FIRST_SEED + number) for number in range(arguments.seeds)]
        for init in INITS
    }
    print(table(results, arguments.steps))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("base", type=Path, help="model folder, with the vocabulary it has")
    parser.add_argument("tokenizer", type=Path, help="extended vocabulary")
    parser.add_argument("recipe", type=Path, help="Chinese-heavy recipe")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=12, help="held-out ones of each source")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/compare-inits"))
    return parser.parse_args()


def run_once(arguments: argparse.Namespace, init: str, seed: int) -> BitsPerByte:
    """Extend and train with one way and seed, unless that was done before."""
    name = f"{init}-{seed}-{arguments.steps}"
    model = arguments.work / "models" / f"{init}-{seed}"
    run = arguments.work / name
    if not model.exists():
        command(
            *(BIN / "linly", "model", "extend", "--model", arguments.base),
            *("--tokenizer", arguments.tokenizer, "--output", model),
            *("--init", init, "--seed", seed),
        )
    if not is_done(run, arguments.steps):
        command(
            *(BIN / "deepspeed", "--num_gpus", arguments.processes),
            *("--master_port", free_port()),
            *(REPOSITORY / "launch" / "train.py", arguments.recipe),
            *overrides(arguments, model, run, seed),
        )
    history = read_history(run)
    changes = language_changes(history)
    found = {name: (changes[name].before, changes[name].after) for name in LANGUAGES}
    print(f"{name}: {found}", file=sys.stderr)
    return found


def overrides(arguments: argparse.Namespace, model: Path, run: Path, seed: int) -> list[str]:
    """The recipe's changes: as many tokens as the steps hold, an evaluation at either end."""
    given = [f"model={model}", f"run={run}"]
    data = load_recipe(arguments.recipe, given).data
    return [
        *given,
        f"data.seed={seed}",
        f"curriculum.tokens={arguments.steps * data.global_batch * data.sequence_length}",
        f"evaluation.every={arguments.steps}",
        f"evaluation.max_documents={arguments.documents}",
        "evaluation.prompts=[]",
        f"checkpoint.every={arguments.steps}",
        "checkpoint.keep_last=1",
        "checkpoint.keep_every=null",
    ]


def is_done(run: Path, steps: int) -> bool:
    """Whether a run was evaluated after its last step."""
    if not (run / "evaluations.jsonl").is_file():
        return False
    evaluations = read_history(run).evaluations
    return bool(evaluations) and evaluations[-1].step == steps


def command(*words: object) -> None:
    """Run a command; its output goes to stderr, so that the table can be redirected."""
    done = subprocess.run([str(word) for word in words], check=False, stdout=sys.stderr)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(map(str, words))}")


def free_port() -> int:
    """A port that nobody listens on, so that other runs on this machine are not met."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def table(results: Mapping[str, Sequence[BitsPerByte]], steps: int) -> str:
    """Means and ranges over the seeds, as Markdown."""
    names = {"zh": "Chinese", "en": "English"}
    columns = [
        f"{names[language]} {when}"
        for language in LANGUAGES
        for when in ("right after", f"after {steps:,} steps")
    ]
    lines = ["| new rows | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for init, runs in results.items():
        cells = [
            mean_and_range([run[language][when] for run in runs])
            for language in LANGUAGES
            for when in (0, 1)
        ]
        lines.append(f"| {init} | " + " | ".join(cells) + " |")
    seeds = max(map(len, results.values()))
    return "\n".join([*lines, "", f"Bits per byte, mean (smallest to largest) of {seeds} seeds."])


def mean_and_range(values: Sequence[float]) -> str:
    """`1.234 (1.230-1.240)`."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()

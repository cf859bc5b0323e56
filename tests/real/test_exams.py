"""All local exam questions: `linly evaluate` answers as `lm_eval --model hf` on the same prompts.

The harness runs as a program of its own: its task files are included from where they are
installed, and their data are JSON lines that are written here, from the files, without linly.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.rank_processes import environment

pytest.importorskip("lm_eval")

NUM_QUESTIONS = 4233
SHOTS = int(os.environ.get("LINLY_EXAM_SHOTS", "0"))
BATCH = "8"
LARGEST_DIFFERENCE = 1e-3


def run(words: list[str], **variables: str) -> float:
    """Run a program; returns its seconds."""
    began = time.monotonic()
    subprocess.run(words, check=True, env=environment() | variables, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def mmlu(path: Path) -> Iterator[dict[str, Any]]:
    for question, *choices, letter in csv.reader(path.open(encoding="utf-8", newline="")):
        yield {"question": question, "choices": choices, "answer": "ABCD".index(letter)}


def cmmlu(path: Path) -> Iterator[dict[str, Any]]:
    for row in csv.DictReader(path.open(encoding="utf-8", newline="")):
        yield {name: row[name] for name in ("Question", "A", "B", "C", "D", "Answer")}


def agieval(path: Path) -> Iterator[dict[str, Any]]:
    is_english = path.stem.startswith("sat")
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        choices, passage = row["options"], row["passage"] or ""
        if is_english:
            query = f"{passage}Q: {row['question']} Answer Choices: {' '.join(choices)}\n"
            query += "A: Among A through D, the answer is"
        else:
            query = f"{passage}问题：{row['question']} 选项：{' '.join(choices)}\n"
            query += "答案：从A到D, 我们应选择"
        letters = row["label"] if isinstance(row["label"], list) else [row["label"]]
        yield {"query": query, "choices": choices, "gold": ["ABCD".index(n) for n in letters]}


def write_tasks(exams: Path, folder: Path) -> list[str]:
    """Write a task per subject that includes the harness's own; returns their names."""
    import lm_eval

    installed = Path(lm_eval.__file__).parent / "tasks"
    names = []
    for exam, suffix, theirs, read in (
        ("mmlu", "_test.csv", "mmlu/default/mmlu_{}.yaml", mmlu),
        ("cmmlu", ".csv", "cmmlu/cmmlu_{}.yaml", cmmlu),
        ("agieval", ".jsonl", "agieval/{}.yaml", agieval),
    ):
        source = exams / exam if exam == "agieval" else exams / exam / "test"
        for path in sorted(source.glob(f"*{suffix}")):
            subject = path.name.removesuffix(suffix)
            data = {"test": path}
            if exam != "agieval":
                data["dev"] = exams / exam / "dev" / path.name.replace("_test.", "_dev.")
            files = {}
            for split, file in data.items():
                files[split] = str(folder / f"{exam}_{subject}_{split}.jsonl")
                lines = [json.dumps(row, ensure_ascii=False) for row in read(file)]
                Path(files[split]).write_text("\n".join(lines), encoding="utf-8")
            name = f"check_{exam}_{subject}"
            task = {
                "include": str(installed / theirs.format(subject)),
                "task": name,
                "tag": "check",
                "dataset_path": "json",
                "dataset_name": None,
                "dataset_kwargs": {"data_files": files},
                "num_fewshot": 0 if exam == "agieval" else SHOTS,
            }
            (folder / f"{name}.yaml").write_text(json.dumps(task), encoding="utf-8")
            names.append(name)
    return names


@pytest.mark.exhaustive
@pytest.mark.real
def test_all_local_questions_are_answered_as_lm_eval_answers(
    real_data: Path, llama_tokenizer_path: Path, tmp_path: Path
) -> None:
    exams = real_data / "eval" / "exams"
    model = os.environ.get("LINLY_EXAM_MODEL", str(tmp_path / "model"))
    if model == str(tmp_path / "model"):
        words = ["model", "init", "--config", "nano", "--tokenizer", str(llama_tokenizer_path)]
        run([sys.executable, "-m", "linly", *words, "--seed", "5", "--output", model])

    words = ["evaluate", model, "--tasks", "mmlu,cmmlu,agieval", "--data", str(exams)]
    words += ["--shots", str(SHOTS), "--batch-size", BATCH, "--dtype", "fp32"]
    ours_s = run([sys.executable, "-m", "linly", *words, "--output", str(tmp_path / "linly")])

    tasks, output = tmp_path / "tasks", tmp_path / "theirs"
    tasks.mkdir()
    names = write_tasks(exams, tasks)
    words = ["run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32"]
    words += ["--tasks", ",".join(names), "--include_path", str(tasks), "--log_samples"]
    words += ["--output_path", str(output), "--device", "cpu", "--batch_size", BATCH]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    theirs_s = run([sys.executable, "-m", "lm_eval", *words], **offline)

    theirs = {}
    for path in output.rglob("samples_check_*.jsonl"):
        exam, subject = path.stem.split("_20")[0].removeprefix("samples_check_").split("_", 1)
        for line in path.open(encoding="utf-8"):
            sample = json.loads(line)
            scores = [float(response[0]) for response in sample["filtered_resps"]]
            theirs[exam, subject, sample["doc_id"]] = scores
    num_same, largest, found = 0, 0.0, 0
    for path in (tmp_path / "linly").glob("*_answers.jsonl"):
        exam = path.name.split("_")[0]
        for line in path.open(encoding="utf-8"):
            answer = json.loads(line)
            other = theirs[exam, answer["subject"], answer["index"]]
            pairs = zip(answer["log_likelihoods"], other, strict=True)
            largest = max(largest, *(abs(mine - their) for mine, their in pairs))
            num_same += "ABCD"[other.index(max(other))] == answer["chosen"]
            found += 1
    print(
        f"\n{found:,} questions, {SHOTS}-shot: {num_same:,} with the same choice, largest "
        f"difference of a log-likelihood {largest:.2g}; linly {ours_s:.0f} s, lm_eval "
        f"{theirs_s:.0f} s"
    )
    assert found == len(theirs) == NUM_QUESTIONS
    assert num_same == found
    assert largest <= LARGEST_DIFFERENCE

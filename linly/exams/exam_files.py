"""Finds the files of an exam: which split and subject each file of a folder holds.

| layout | example |
|---|---|
| hendrycks, C-Eval | `test/anatomy_test.csv`, `val/accountant_val.csv` |
| CMMLU | `dev/agronomy.csv` |
| hub copy | `anatomy/test-00000-of-00001.parquet` |
| AGIEval | `gaokao-physics.jsonl` (no split: all of it is `test`) |
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from linly.errors import DataError
from linly.exams.exam_subjects import SUBJECTS
from linly.exams.question import ExamName, Split

SUFFIXES = (".csv", ".jsonl", ".parquet")

_SPLITS: Mapping[str, Split] = {
    "dev": "dev",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_LEFT_OUT = frozenset({"all", "auxiliary_train", "train"})
"""Folders of MMLU's copies that repeat the subjects' questions, or are not part of the exam."""
_PART = re.compile(r"(?P<name>.+?)-(?P<part>\d{5})-of-(?P<parts>\d{5})")

Files = dict[tuple[Split, str], tuple[Path, ...]]


def find_exam_files(folder: Path, exam: ExamName) -> Files:
    """Find all files of an exam.

    Args:
        folder: Folder of the exam.
        exam: Name of the exam.

    Returns:
        Files of each (split, subject): one, or the parts of one in order.

    Raises:
        DataError: If the folder does not exist or has no such file, a file's subject or split is
            unknown, several files hold one split of a subject, or a part is missing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the files of {exam}")
    found: defaultdict[tuple[Split, str], list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix in SUFFIXES and path.is_file() and not _is_left_out(parts):
            found[_split_and_subject(path, parts, exam)].append(path)
    if not found:
        raise DataError(
            f"{folder}: no file of {exam} in it; expected files named like "
            f"test/SUBJECT_test.csv, test/SUBJECT.csv, SUBJECT/test-00000-of-00001.parquet or "
            f"test/SUBJECT.jsonl"
        )
    return {key: _checked(paths, key) for key, paths in sorted(found.items())}


def _is_left_out(parts: tuple[str, ...]) -> bool:
    return any(part in _LEFT_OUT or part.startswith(".") for part in parts)


def _split_and_subject(path: Path, parts: tuple[str, ...], exam: ExamName) -> tuple[Split, str]:
    stem = path.name.removesuffix(path.suffix)
    if match := _PART.fullmatch(stem):
        stem = match["name"]
    folder = parts[-2] if len(parts) > 1 else ""
    subject, _, last = stem.rpartition("_")
    if stem in _SPLITS and folder:
        split, subject = _SPLITS[stem], folder
    elif last in _SPLITS and subject:
        split = _SPLITS[last]
    elif folder in _SPLITS:
        split, subject = _SPLITS[folder], stem
    elif exam == "agieval":
        split, subject = "test", stem
    else:
        raise DataError(
            f"{path}: neither its name nor its folder's says which split it holds (dev, val, test)"
        )
    known = SUBJECTS[exam]
    if subject not in known:
        near = get_close_matches(subject, known, 1)
        raise DataError(
            f"{path}: {subject!r} is not one of the {len(known)} subjects of {exam}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return split, subject


def _checked(paths: list[Path], key: tuple[Split, str]) -> tuple[Path, ...]:
    """Return the one file of a split, or all parts of it in order."""
    if len(paths) == 1 and not _PART.fullmatch(paths[0].stem):
        return (paths[0],)
    matches = [_PART.fullmatch(path.stem) for path in paths]
    parts = sorted(int(match["part"]) for match in matches if match)
    totals = {int(match["parts"]) for match in matches if match}
    one_folder = len({(path.parent, path.suffix) for path in paths}) == 1
    if not one_folder or len(parts) < len(paths) or len(totals) != 1:
        names = ", ".join(map(str, paths))
        raise DataError(f"{key[1]}: several files hold its {key[0]} questions: {names}; keep one")
    if parts != list(range(totals.pop())):
        raise DataError(
            f"{paths[0]}: parts of the {key[0]} questions of {key[1]} are missing; found "
            f"{', '.join(path.name for path in paths)}"
        )
    return tuple(paths)

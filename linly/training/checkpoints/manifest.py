"""Manifest of a checkpoint, written last, with the size and hash of every file.

    checkpoints/step-00000100/
      rank-00000.safetensors ...     parameters written by that rank: master and moments, fp32
      random-00000.safetensors ...   random states of that rank
      state.json                     everything else a run needs to resume
      manifest.json                  sizes and hashes of the files above

No file is ever unpickled.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from linly.curriculum.timeline import decisions_in_force
from linly.errors import CheckpointError, LinlyError
from linly.files import inside, publish, read_limited, sha256_file
from linly.runs.runs import RunFolder
from linly.training.checkpoints.checkpoint_files import STATE
from linly.training.checkpoints.contents import content_problem

FORMAT = 1
MANIFEST = "manifest.json"
_LIMIT_BYTES = 256 << 20
_FOLDER = re.compile(r"step-(\d{8,})")
_DECIDED_AT_A_CHECKPOINT = frozenset({"resume", "amend", "fork"})
_FILE = re.compile(r"(rank|random)-\d{5,}\.safetensors|state\.json")
_ALWAYS = (STATE, "rank-00000.safetensors", "random-00000.safetensors")


class _EntryForm(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _ManifestForm(BaseModel):
    """A manifest as JSON."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: int
    step: Annotated[int, Field(ge=0)]
    files: dict[str, _EntryForm]
    parameters: dict[str, str]
    sha256: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and hash of a checkpoint's file."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Entry of a file on disk."""
        return cls(path.stat().st_size, sha256_file(path))


@dataclass(frozen=True, slots=True)
class Manifest:
    """Table of contents of a checkpoint.

    Attributes:
        step: Steps taken when the checkpoint was saved.
        files: Entries of all files except the manifest, by name.
        parameters: File name of each parameter.
    """

    step: int
    files: dict[str, FileEntry]
    parameters: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the manifest into the checkpoint's folder, which completes the checkpoint."""
        publish(folder / MANIFEST, self._encode())

    def _encode(self) -> bytes:
        """Canonical JSON bytes, so that any changed byte is detected."""
        content = {
            "format": FORMAT,
            "step": self.step,
            "files": {
                name: {"size_bytes": entry.size_bytes, "sha256": entry.sha256}
                for name, entry in self.files.items()
            },
            "parameters": self.parameters,
        }
        return orjson.dumps({**content, "sha256": _digest(content)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check a checkpoint's manifest, but not the files that it names.

        Raises:
            CheckpointError: If it is missing or damaged, or names a file outside the folder.
        """
        try:
            data = read_limited(folder / MANIFEST, limit_bytes=_LIMIT_BYTES)
        except OSError as error:
            raise corrupt(folder, MANIFEST, f"cannot be read: {error.strerror}") from error
        except LinlyError as error:
            raise corrupt(folder, MANIFEST, str(error)) from error
        try:
            content = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise corrupt(folder, MANIFEST, f"not JSON ({error})") from error
        version = content.get("format") if isinstance(content, dict) else None
        if type(version) is int and version != FORMAT:
            raise CheckpointError(
                f"{folder.name}: {MANIFEST} has format {version}, this version reads {FORMAT}"
            )
        try:
            form = _ManifestForm.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "it"
            text = f"{place}: {first['msg']}, found {first['input']!r:.80}"
            raise corrupt(folder, MANIFEST, text) from error
        files = {n: FileEntry(entry.size_bytes, entry.sha256) for n, entry in form.files.items()}
        manifest = cls(form.step, files, form.parameters)
        if manifest._encode() != data:
            raise corrupt(folder, MANIFEST, "differs from its own hash")
        manifest._check_names(folder)
        return manifest

    def _check_names(self, folder: Path) -> None:
        for name in self.files:
            if not _FILE.fullmatch(name):
                raise corrupt(folder, MANIFEST, f"names the file {name!r}, which is refused")
            try:
                inside(folder, name)
            except LinlyError as error:
                raise corrupt(folder, MANIFEST, str(error)) from error
        for name in _ALWAYS:
            if name not in self.files:
                raise corrupt(folder, MANIFEST, f"names no file {name}")
        for parameter, name in self.parameters.items():
            if name not in self.files or not name.startswith("rank-"):
                raise corrupt(folder, MANIFEST, f"no file {name!r} for parameter {parameter}")
        if self.step != step_of(folder):
            raise corrupt(folder, MANIFEST, f"is that of step {self.step}")

    def absence(self, folder: Path) -> str | None:
        """Compare the sizes of all files, without reading them.

        Returns:
            The first file that is missing or has another size, as an error's text; None if all
            are there.
        """
        for name in self.files:
            try:
                why = self._size_problem(name, (folder / name).stat().st_size)
            except OSError as error:
                why = _unreadable(error)
            if why is not None:
                return str(corrupt(folder, name, why))
        return None

    def damage(self, folder: Path, names: Sequence[str]) -> str | None:
        """Check sizes, hashes and contents of the named files.

        Returns:
            The first problem; None if there is none.
        """
        for name in names:
            why = self._file_problem(folder / name)
            if why is not None:
                return str(corrupt(folder, name, why))
        return None

    def _size_problem(self, name: str, size_bytes: int) -> str | None:
        expected = self.files[name].size_bytes
        if size_bytes == expected:
            return None
        return f"has {size_bytes:,} bytes, but {expected:,} in the manifest"

    def _file_problem(self, path: Path) -> str | None:
        entry = self.files[path.name]
        try:
            found = FileEntry.of(path)
        except OSError as error:
            return _unreadable(error)
        except LinlyError as error:
            return str(error)
        if (why := self._size_problem(path.name, found.size_bytes)) is not None:
            return why
        if found.sha256 != entry.sha256:
            return "differs from its hash in the manifest"
        parameters = [name for name, file in self.parameters.items() if file == path.name]
        return content_problem(path, parameters, step=self.step)


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"


def corrupt(folder: Path, name: str, why: str) -> CheckpointError:
    """The error for an invalid file of a checkpoint."""
    return CheckpointError(
        f"{folder.name}: this checkpoint is incomplete or corrupt: {name}: {why}"
    )


def folder_name(step: int) -> str:
    """Folder name of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Step in the name of a checkpoint's folder."""
    match = _FOLDER.fullmatch(folder.name)
    assert match is not None, folder
    return int(match[1])


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Published checkpoints, complete or damaged, newest first."""
    if not checkpoints.is_dir():
        return []
    folders = [path for path in checkpoints.iterdir() if _FOLDER.fullmatch(path.name)]
    return sorted(folders, key=step_of, reverse=True)


def parse_step(text: str) -> int:
    """Step in a user's notation: `step-200`, `step-00000200` or `200`.

    Raises:
        CheckpointError: If the text is none of these.
    """
    match = re.fullmatch(r"(?:step-)?(\d{1,12})", text)
    if match is None:
        raise CheckpointError(f"checkpoint {text!r}: write step-N, as in step-200")
    return int(match[1])


def verified(checkpoints: Path, step: int | None) -> tuple[Path, Manifest]:
    """The checkpoint of a step, or the newest complete one, verified by this process only.

    Raises:
        CheckpointError: If the step's is missing or damaged, or there is no complete one.
    """
    found = list_checkpoints(checkpoints)
    if step is not None:
        found = [path for path in found if step_of(path) == step]
    problems = []
    for folder in found:
        try:
            manifest = Manifest.read(folder)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        problem = manifest.damage(folder, sorted(manifest.files))
        if problem is None:
            for text in problems:
                print(f"warning: checkpoint skipped: {text}", file=sys.stderr)
            return folder, manifest
        problems.append(problem)
    raise no_whole_checkpoint(checkpoints, step, problems)


def listed_checkpoint(checkpoints: Path, step: int | None) -> Path | None:
    """The checkpoint that a start would resume, by manifests, sizes and the hash of its state.

    Args:
        checkpoints: Folder of a run's checkpoints.
        step: Requested step; None for the newest.

    Returns:
        Its folder; None if there are no checkpoints and none was requested.

    Raises:
        CheckpointError: If the requested one is missing or damaged, or all are damaged.
    """
    found = list_checkpoints(checkpoints)
    if step is not None:
        found = [path for path in found if step_of(path) == step]
    problems = []
    for folder in found:
        try:
            manifest = Manifest.read(folder)
            problem = manifest.absence(folder) or manifest.damage(folder, [STATE])
        except CheckpointError as error:
            problem = str(error)
        if problem is None:
            return folder
        problems.append(problem)
    if step is None and not found:
        return None
    raise no_whole_checkpoint(checkpoints, step, problems)


def no_whole_checkpoint(
    checkpoints: Path, step: int | None, problems: Sequence[str]
) -> CheckpointError:
    """The error for a requested checkpoint that is missing or damaged."""
    asked = "a complete checkpoint" if step is None else folder_name(step)
    if problems:
        return CheckpointError(
            f"{checkpoints}: {asked} was requested; found damage: {'; '.join(problems)}. "
            "Resume another step, restore the files from a backup, or start another run"
        )
    there = [path.name for path in list_checkpoints(checkpoints)]
    return CheckpointError(
        f"{checkpoints}: {asked} was requested; found {', '.join(there) if there else 'none'}"
    )


def noted_checkpoints(run: RunFolder) -> dict[str, str | None]:
    """Checkpoints in a run's events: name -> hash of the manifest, None in old events.

    Truncation to a step removes later events, so these do not include checkpoints that the run has
    abandoned.
    """
    saved = (line for line in run.read("events") if line.get("kind") == "checkpoint")
    return {folder_name(line["step"]): line.get("manifest") for line in saved}


def note_checkpoint(run: RunFolder, folder: Path) -> None:
    """Add a checkpoint to a run's events, unless it is there already."""
    digest = sha256_file(folder / MANIFEST)
    if noted_checkpoints(run).get(folder.name) != digest:
        run.append_event(step_of(folder), "checkpoint", folder.name, manifest=digest)


def check_never_saved(run: RunFolder, mirror: str | None) -> None:
    """Check that a run without a checkpoint never had one, so that it may start again.

    Args:
        run: Run without a checkpoint.
        mirror: The recipe's `checkpoint.mirror`.

    Raises:
        CheckpointError: If its records name one; a fresh start would erase them.
    """
    events = (line["step"] for line in run.read("events") if line.get("kind") == "checkpoint")
    decisions = (
        line["step"]
        for line in decisions_in_force(run.read("decisions"))
        if line.get("kind") in _DECIDED_AT_A_CHECKPOINT
    )
    saved = max((*events, *decisions), default=None)
    if saved is None:
        return
    there = sorted(path.name for path in run.checkpoints.glob("*"))
    copy = "" if mirror is None else f", such as {mirror.rstrip('/')}/{run.path.name}/checkpoints"
    raise CheckpointError(
        f"{run.checkpoints}: the run's records name {folder_name(saved)}, but no checkpoint is "
        f"there; found {', '.join(there) or 'nothing'}. A fresh start would erase the records: "
        f"restore the newest checkpoint's folder from a backup{copy}, or start another run with "
        f"run=PATH; to discard this run, remove {run.path}"
    )


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content)).hexdigest()

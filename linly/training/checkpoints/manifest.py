"""What makes a checkpoint whole: a manifest, written last, with every file's size and hash.

    checkpoints/step-00000100/
      rank-00000.safetensors ...     parameters dealt to that rank: master weight and moments, fp32
      random-00000.safetensors ...   that rank's random states
      state.json                     everything else a run needs to go on
      manifest.json                  sizes and hashes of the files above

No part of it is ever unpickled.
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

from linly.curriculum.decisions import standing
from linly.errors import CheckpointError, LinlyError
from linly.files import inside, publish, read_limited, sha256_file
from linly.runs.runs import RunFolder
from linly.training.checkpoints.contents import content_problem
from linly.training.checkpoints.stored import STATE

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
    """A file of a checkpoint as it was written."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """The entry of a file on disk."""
        return cls(path.stat().st_size, sha256_file(path))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table of contents of a checkpoint.

    Attributes:
        step: Steps taken when it was saved.
        files: By name, all but the manifest.
        parameters: Name of the file that holds each parameter.
    """

    step: int
    files: dict[str, FileEntry]
    parameters: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write it into the checkpoint's folder; the checkpoint is whole from here on."""
        publish(folder / MANIFEST, self._encode())

    def _encode(self) -> bytes:
        """Its bytes; the same value has the same bytes, so a changed byte shows."""
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
        """Read and check a checkpoint's manifest, not the files it names.

        Raises:
            CheckpointError: It is not there, not whole, or names a file outside the folder.
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

    def damage(self, folder: Path, names: Sequence[str]) -> str | None:
        """What is wrong with the files of that name: sizes, hashes, what they hold.

        Returns:
            The first problem; None where there is none.
        """
        for name in names:
            why = self._file_problem(folder / name)
            if why is not None:
                return str(corrupt(folder, name, why))
        return None

    def _file_problem(self, path: Path) -> str | None:
        entry = self.files[path.name]
        try:
            found = FileEntry.of(path)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        except LinlyError as error:
            return str(error)
        if found.size_bytes != entry.size_bytes:
            return f"has {found.size_bytes:,} bytes, its manifest says {entry.size_bytes:,}"
        if found.sha256 != entry.sha256:
            return "differs from its hash in the manifest"
        parameters = [name for name, file in self.parameters.items() if file == path.name]
        return content_problem(path, parameters, step=self.step)


def corrupt(folder: Path, name: str, why: str) -> CheckpointError:
    """The error for a file of a checkpoint that is not what it should be."""
    return CheckpointError(
        f"{folder.name}: this checkpoint is incomplete or corrupt: {name}: {why}"
    )


def folder_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """The step of a checkpoint's folder, by its name."""
    match = _FOLDER.fullmatch(folder.name)
    assert match is not None, folder
    return int(match[1])


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Published checkpoints, whole or torn, newest first."""
    if not checkpoints.is_dir():
        return []
    folders = [path for path in checkpoints.iterdir() if _FOLDER.fullmatch(path.name)]
    return sorted(folders, key=step_of, reverse=True)


def parse_step(text: str) -> int:
    """The step that a user asks for: `step-200`, `step-00000200` or `200`.

    Raises:
        CheckpointError: It is none of these.
    """
    match = re.fullmatch(r"(?:step-)?(\d{1,12})", text)
    if match is None:
        raise CheckpointError(f"checkpoint {text!r}: write step-N, as in step-200")
    return int(match[1])


def verified(checkpoints: Path, step: int | None) -> tuple[Path, Manifest]:
    """The checkpoint of a step, or the newest whole one, checked by this process alone.

    Raises:
        CheckpointError: That step's is missing or torn, or there is no whole one.
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
                print(f"warning: checkpoint passed over: {text}", file=sys.stderr)
            return folder, manifest
        problems.append(problem)
    raise no_whole_checkpoint(checkpoints, step, problems)


def no_whole_checkpoint(
    checkpoints: Path, step: int | None, problems: Sequence[str]
) -> CheckpointError:
    """The error for a checkpoint that was asked for and cannot be had."""
    asked = "a whole checkpoint" if step is None else folder_name(step)
    if problems:
        return CheckpointError(
            f"{checkpoints}: {asked} was asked for; found damage: {'; '.join(problems)}. "
            "Resume another step, bring the files back from a copy, or start another run"
        )
    there = [path.name for path in list_checkpoints(checkpoints)]
    return CheckpointError(
        f"{checkpoints}: {asked} was asked for; found {', '.join(there) if there else 'none'}"
    )


def noted_checkpoints(run: RunFolder) -> dict[str, str | None]:
    """Checkpoints that a run's events name: name -> hash of the manifest, None in old events.

    Going back to a step takes later events away, so that these are the run's own checkpoints and
    not those of a future that it gave up.
    """
    saved = (line for line in run.read("events") if line.get("kind") == "checkpoint")
    return {folder_name(line["step"]): line.get("manifest") for line in saved}


def check_never_saved(run: RunFolder, mirror: str | None) -> None:
    """Make sure that a run without a checkpoint never had one, so that it may begin again.

    Args:
        run: Whose folder holds no checkpoint.
        mirror: The recipe's `checkpoint.mirror`.

    Raises:
        CheckpointError: Its records know of one; a start from the beginning would wipe them.
    """
    events = (line["step"] for line in run.read("events") if line.get("kind") == "checkpoint")
    decisions = (
        line["step"]
        for line in standing(run.read("decisions"))
        if line.get("kind") in _DECIDED_AT_A_CHECKPOINT
    )
    saved = max((*events, *decisions), default=None)
    if saved is None:
        return
    there = sorted(path.name for path in run.checkpoints.glob("*"))
    copy = "" if mirror is None else f", such as {mirror.rstrip('/')}/{run.path.name}/checkpoints"
    raise CheckpointError(
        f"{run.checkpoints}: the run saved {folder_name(saved)}, as its records say, but no "
        f"checkpoint is there; found {', '.join(there) or 'nothing'}. Beginning again would wipe "
        f"the records: bring the newest checkpoint's folder back from a copy{copy}, or start "
        f"another run with run=PATH; to give this one up, remove {run.path}"
    )


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content)).hexdigest()

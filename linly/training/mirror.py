"""A copy of the run elsewhere: records and whole checkpoints, brought there beside training.

    s3://bucket/prefix/NAME/       a run folder like runs/NAME
      recipe.yaml, metrics.jsonl ...   what the run wrote so far
      checkpoints/step-00000100/       its manifest.json is copied last: without it, it is none

To go on with a run elsewhere, copy the folder to where the recipe's `run` says and start as usual.
What does not go well is told, and tried again after the next save. The copy of a checkpoint stays
when its original is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from linly.errors import CheckpointError, ConfigError
from linly.storage.retries import describe
from linly.storage.urls import is_url
from linly.training.manifest import MANIFEST, Manifest, list_checkpoints

_NOT_COPIED = ("checkpoints", "lock")
_REPLACED = "rows"
"""The folder whose files are replaced by others when a run goes back to a step."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one attempt to copy.

    Attributes:
        name: Of the checkpoint, or of what else was copied.
        problem: Why it was not; None when it was.
    """

    name: str
    problem: str | None


class Mirror:
    """Copies a run to another place in a thread of its own; for one process alone."""

    def __init__(self, run: Path, place: str) -> None:
        """Copy the run folder to PLACE/NAME, a folder or an s3:// URL.

        Raises:
            ConfigError: What the URL takes is not installed, or the place is the run's own.
        """
        self._run = run
        self.place = f"{place.rstrip('/')}/{run.name}"
        here = Path(self.place).resolve()
        if not is_url(place) and run.resolve() in (here, *here.parents):
            raise ConfigError(
                f"checkpoint.mirror: found {place}, where the run itself is: choose another "
                "folder, or s3://bucket/prefix"
            )
        self._files, self._root = _open(self.place)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mirror")
        self._passes: list[Future[None]] = []
        self._news: SimpleQueue[Copied] = SimpleQueue()
        self._there: dict[str, Any] = {}
        self._is_closing = False
        self.in_use: str | None = None

    def begin(self) -> None:
        """Copy what is not there yet, after what is being copied now."""
        self._passes = [one for one in self._passes if not one.done()]
        if len(self._passes) < 2:  # the one that waits will see what is new
            self._passes.append(self._thread.submit(self._copy_all))

    def news(self) -> list[Copied]:
        """What was copied, and what was not, since this was last asked."""
        found = []
        while True:
            try:
                found.append(self._news.get_nowait())
            except Empty:
                return found

    def wait(self, timeout_s: float) -> bool:
        """Whether all that was begun has come to its end, in time."""
        return not wait(self._passes, timeout_s).not_done

    def missing(self) -> list[str]:
        """Whole checkpoints of the run that are not known to be there."""
        return [
            folder.name
            for folder in list_checkpoints(self._run / "checkpoints")
            if folder.name not in self._there
        ]

    def close(self) -> None:
        """Begin no other file; what is half copied is no checkpoint."""
        self._is_closing = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _copy_all(self) -> None:
        """The records, then the checkpoints, newest first; the first problem ends it."""
        if not self._try("records", self._copy_records):
            return
        for folder in list_checkpoints(self._run / "checkpoints"):
            self.in_use = folder.name
            try:
                if folder.is_dir() and not self._try(folder.name, lambda: self._copy(folder)):  # noqa: B023
                    return
            finally:
                self.in_use = None

    def _try(self, name: str, copy: Callable[[], bool]) -> bool:
        try:
            is_new = copy()
        except Exception as error:  # of any library that a URL leads to; it must not end training
            self._news.put(Copied(name, describe(error)))
            return False
        if is_new:
            self._news.put(Copied(name, None))
        return True

    def _copy_records(self) -> bool:
        """Files of the run beside its checkpoints that have changed; those are no news."""
        paths = [
            path
            for path in sorted(self._run.rglob("*"))
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(self._run).parts)
            and path.relative_to(self._run).parts[0] not in _NOT_COPIED
        ]
        for path in paths:
            stat = path.stat()
            name = path.relative_to(self._run).as_posix()
            if self._there.get(name) != (stat.st_size, stat.st_mtime_ns):
                self._put(path, name)
                self._there[name] = (stat.st_size, stat.st_mtime_ns)
        kept = {path.name for path in paths if path.parent.name == _REPLACED}
        for there in self._files.find(f"{self._root}/{_REPLACED}"):
            if there.rsplit("/", 1)[-1] not in kept:
                self._files.rm_file(there)
        return False

    def _copy(self, folder: Path) -> bool:
        """One checkpoint; whether it was not there before."""
        manifest = Manifest.read(folder)
        content = (folder / MANIFEST).read_bytes()
        if self._there.get(folder.name) == content:
            return False
        base = f"checkpoints/{folder.name}"
        at = f"{self._root}/{base}/{MANIFEST}"
        is_new = not (self._files.exists(at) and self._files.cat_file(at) == content)
        if is_new:
            if self._files.exists(at):  # of a future that was given up
                self._files.rm_file(at)
            for name, entry in manifest.files.items():
                self._put(folder / name, f"{base}/{name}")
                size_bytes = self._files.info(f"{self._root}/{base}/{name}")["size"]
                if size_bytes != entry.size_bytes:
                    raise CheckpointError(f"{name}: {size_bytes:,} bytes arrived")
            self._put(folder / MANIFEST, f"{base}/{MANIFEST}")
        self._there[folder.name] = content
        return is_new

    def _put(self, path: Path, name: str) -> None:
        if self._is_closing:
            raise CheckpointError("the run ended before")
        self._files.put_file(str(path), f"{self._root}/{name}")


def _open(place: str) -> tuple[Any, str]:
    """The file system of a place, and the place's name in it.

    Credentials and endpoints are those of the environment. S3 keeps its own patience: a part of
    a file that is not taken is sent again.
    """
    try:
        import fsspec

        if is_url(place):
            files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
            return files, place.partition("://")[2]
        return fsspec.filesystem("file", auto_mkdir=True), str(Path(place).absolute())
    except ImportError as error:
        raise ConfigError(
            f"checkpoint.mirror takes packages that are not installed ({error}): "
            "pip install 'linly[remote]'"
        ) from error

"""Trackio curves of a run, on this machine; off unless the recipe has a `trackio` section.

Only the scalars of TensorBoard and the recipe are written. Trackio keeps them in its own folder
(`TRACKIO_DIR`), where `trackio show` finds them; `trackio sync` copies them to a Space.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from linly.config.sections.tracker_sections import TrackioSettings
from linly.errors import ConfigError
from linly.runs.runs import RunFolder
from linly.training.recording.trackers.tracker import StepTracker, check_installed, run_name

_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


def check_trackio() -> None:
    """Check that Trackio is installed and writes to this machine.

    Raises:
        ConfigError: If not.
    """
    check_installed("trackio")
    if found := [name for name in _REMOTE if os.environ.get(name)]:
        raise ConfigError(
            f"trackio: found {found[0]}, which sends curves elsewhere, where a resume cannot see "
            f"which steps are there; unset it, and copy the curves with `trackio sync`"
        )


class TrackioLog(StepTracker):
    """Writes a run's curves to Trackio; a resume continues the newest run of this name."""

    def __init__(
        self,
        run: RunFolder,
        settings: TrackioSettings,
        *,
        resumed_step: int,
        recipe: Mapping[str, Any],
    ) -> None:
        """Open the run at Trackio.

        Args:
            run: Folder of the run.
            settings: The recipe's `trackio` section.
            resumed_step: Step of the checkpoint; 0 at a fresh start, which creates a new run.
            recipe: Recipe in JSON form, stored as the configuration.

        Raises:
            ConfigError: If Trackio is not installed, or set to write to another machine.
        """
        check_trackio()
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._project = settings.project
        with redirect_stdout(io.StringIO()):  # its instructions
            self._run: Any = trackio.init(
                project=settings.project,
                name=run_name(run, settings.name),
                resume="allow" if resumed_step else "never",
                config=dict(recipe),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        last = SQLiteStorage.get_max_step_for_run(self._project, run_id=self._run.id)
        super().__init__(last)

    @property
    def place(self) -> str:
        """Command that shows the curves."""
        return f"trackio show --project {self._project}"

    def write(self, scalars: Mapping[str, float], *, step: int) -> None:
        """See `StepTracker`."""
        self._run.log(dict(scalars), step=step)

    def finish(self) -> None:
        """See `StepTracker`."""
        import trackio

        with redirect_stdout(io.StringIO()):
            trackio.finish()  # type: ignore[no-untyped-call]

"""The checks of a start: one table, run by training and by `linly check`.

Training stops at the first refusal; `linly check` runs every check and reports each refusal. A
check reads and decides, and writes nothing. What it has read stays in the `Launch`: for the checks
after it, and for training.

What training finds out by doing it is not in the table, since asking first would prove nothing: it
takes the lock of the run folder and the port of the ranks, and needs room on the disk. `linly
check` asks for these with the same errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from linly.config.deepspeed import settings_deepspeed_config
from linly.config.recipe import Recipe
from linly.curriculum.learning_rate import LearningRate
from linly.curriculum.run_plan import Available, Batch, Plan, check_plan, make_plan
from linly.curriculum.timeline import Decision
from linly.data.inspection.source_inventory import SourceInventory, source_inventory
from linly.data.loading.ranks import check_world_size
from linly.errors import ConfigError
from linly.evaluation.tasks.prepared_tasks import Task, prepare_tasks, prompts_hash
from linly.export.rehearsal import try_export
from linly.runs.runs import RunFolder
from linly.training.changes.resumption import Resumption, plan_resumption
from linly.training.checkpoints.manifest import check_never_saved
from linly.training.checkpoints.mirror import Mirror
from linly.training.engine.objective import check_loss
from linly.training.loop.checked_model import CheckedModel, check_model, identity_on_all_ranks
from linly.training.ranks.processes import Processes
from linly.training.recording.new_pieces import NewPieces
from linly.training.recording.trackers.open_trackers import check_trackers


class Launch:
    """A launch of a recipe, and what its checks have read; each value is read once.

    All ranks of a run hold one, and read its values together: most of them are collectives.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        processes: Processes,
        *,
        world_size: int,
        has_gpu: bool,
        resume_step: int | None,
        find_checkpoint: Callable[[], Path | None],
    ) -> None:
        """Look at a launch.

        Args:
            recipe: Recipe of the launch.
            run: Folder of the run; it may be missing.
            processes: Processes that look.
            world_size: Number of ranks that train.
            has_gpu: Whether they have GPUs.
            resume_step: Step of the checkpoint to resume; None for the newest complete one.
            find_checkpoint: Function that returns its folder; None if there is none.
        """
        self.recipe = recipe
        self.run = run
        self.processes = processes
        self.world_size = world_size
        self.has_gpu = has_gpu
        self.resume_step = resume_step
        self._find_checkpoint = find_checkpoint
        self.inventories: dict[str, SourceInventory] = {}

    @property
    def batch(self) -> Batch:
        """Rows of a step and of a forward pass."""
        return Batch(self.recipe.data.global_batch, self.recipe.training.micro_batch)

    @cached_property
    def model(self) -> CheckedModel:
        """The recipe's model."""
        found: CheckedModel | None = None
        with self.processes.together(f"looking at model {self.recipe.model}"):
            found = check_model(self.recipe)
        assert found is not None
        return found

    @cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of what must not change in the model while the run exists."""
        return identity_on_all_ranks(self.recipe, self.processes)

    @cached_property
    def mirror(self) -> Mirror | None:
        """The run's mirror, on the first rank; None without one."""
        mirror = None
        place = self.recipe.checkpoint.mirror
        with self.processes.together("opening the mirror"):
            if self.processes.is_first and place is not None:
                mirror = Mirror(self.run.path, place, self.run.check_lock)
        return mirror

    @cached_property
    def is_mirror_reachable(self) -> bool:
        """Whether the mirror, if any, can be reached, and continues this run."""
        is_reachable = True
        with self.processes.together("opening the mirror"):
            if self.mirror is not None:
                is_reachable = self.mirror.refuse_another_run()
        return is_reachable

    @cached_property
    def checkpoint(self) -> Path | None:
        """Folder of the checkpoint to resume; None at a fresh start."""
        return self._find_checkpoint()

    @cached_property
    def resumption(self) -> Resumption | None:
        """How the run resumes at the checkpoint; None at a fresh start."""
        if self.checkpoint is None:
            return None
        decisions, identity = self._decisions(), self.identity
        found: Resumption | None = None
        with self.processes.together(f"resuming {self.checkpoint}"):
            found = plan_resumption(
                self.recipe,
                decisions,
                self.checkpoint,
                identity,
                is_asked_for=self.resume_step is not None,
            )
        return found

    @cached_property
    def tasks(self) -> list[Task]:
        """Tasks of the evaluations, the same on every rank."""
        tasks: list[Task] = []
        model = self.model
        with self.processes.together("reading evaluation.tasks"):
            new_pieces = NewPieces.of_model(model.path, model.tokenizer)
            num_old = new_pieces.first if new_pieces else model.tokenizer.vocab_size
            tasks = prepare_tasks(self.recipe, model.tokenizer, num_old=num_old)
        mine = {task.name: prompts_hash(task) for task in tasks}
        for rank, hashes in enumerate(self.processes.gather_json(mine)):
            if hashes != mine:
                raise ConfigError(
                    f"evaluation.tasks: the questions of rank {rank} differ from those of rank "
                    f"{self.processes.rank}: every node needs the same files"
                )
        return tasks

    @cached_property
    def export_notes(self) -> tuple[str, ...]:
        """Differences between an export and the model's own files; tried on the first rank."""
        notes: tuple[str, ...] = ()
        model = self.model
        with self.processes.together("trying an export"):
            if self.processes.is_first:
                notes = try_export(model.path, model.stored.config, model.tokenizer)
        return notes

    @cached_property
    def plan(self) -> Plan:
        """Plan of the run, from the data of all sources."""
        mine = {name: asdict(found.available) for name, found in self.inventories.items()}
        parts = self.processes.gather_json(mine)
        return make_plan(
            self.recipe.curriculum,
            sequence_length=self.recipe.data.sequence_length,
            batch=self.batch,
            rate=LearningRate.from_recipe(self.recipe),
            available={
                name: Available(**f | {"exclusions": tuple(f["exclusions"])})
                for part in parts
                for name, f in part.items()
            },
        )

    def inspect_sources(self) -> None:
        """Inspect the sources, distributed over the ranks, as some take long to scan."""
        tokenizer = self.model.tokenizer
        sources = list(self.recipe.sources.values())
        with self.processes.together("listing shards and held-out documents"):
            for source in sources[self.processes.rank :: self.processes.world_size]:
                self.inventories[source.name] = source_inventory(
                    source,
                    tokenizer,
                    sequence_length=self.recipe.data.sequence_length,
                    max_held_out=self.recipe.evaluation.max_documents,
                )

    def _decisions(self) -> list[Decision]:
        """The run's decision log, the same on every rank."""
        lines: list[Decision] = []
        with self.processes.together("reading the run's decisions"):
            if self.processes.is_first:
                lines = list(self.run.read("decisions"))
        found: list[Decision] = self.processes.gather_json(lines)[0]
        return found


@dataclass(frozen=True, slots=True)
class StartCheck:
    """A check of a launch.

    Attributes:
        name: Name, as `linly check` prints it.
        look: Function that raises a LinlyError if the launch must be refused.
        needs: Names of the checks whose findings it uses; without them it cannot be made.
        is_at_start: Whether it concerns only a run that starts at step 0.
    """

    name: str
    look: Callable[[Launch], object]
    needs: tuple[str, ...] = ()
    is_at_start: bool = False


def _deepspeed(launch: Launch) -> None:
    settings_deepspeed_config(
        launch.recipe.training,
        launch.recipe.data,
        world_size=launch.world_size,
        has_gpu=launch.has_gpu,
    )


def _packages(launch: Launch) -> None:
    check_loss(launch.recipe.training.loss, has_gpu=launch.has_gpu)
    check_trackers(launch.recipe)


def _average(launch: Launch) -> None:
    average, num_steps = launch.recipe.training.average, launch.recipe.num_steps
    if average is not None and average.span_steps > num_steps:
        raise ConfigError(
            f"training.average: found a {average}, but the run has {num_steps:,} steps, so no "
            "mean would ever be complete; average over fewer steps"
        )


def _never_saved(launch: Launch) -> None:
    with launch.processes.together("looking for earlier checkpoints"):
        if launch.processes.is_first:
            check_never_saved(launch.run, launch.recipe.checkpoint.mirror)


START_CHECKS = (
    StartCheck("world size", lambda launch: check_world_size(launch.batch, launch.world_size)),
    StartCheck("deepspeed", _deepspeed, needs=("world size",)),
    StartCheck("packages", _packages),
    StartCheck("average", _average),
    StartCheck("model", lambda launch: launch.model),
    StartCheck("tasks", lambda launch: launch.tasks, needs=("model",)),
    StartCheck("mirror", lambda launch: launch.is_mirror_reachable),
    StartCheck("checkpoint", lambda launch: launch.checkpoint),
    StartCheck("resume", lambda launch: launch.resumption, needs=("model", "checkpoint")),
    StartCheck("records", _never_saved, needs=("checkpoint",), is_at_start=True),
    StartCheck(
        "export",
        lambda launch: launch.export_notes,
        needs=("model", "checkpoint"),
        is_at_start=True,
    ),
    StartCheck("data", Launch.inspect_sources, needs=("model", "checkpoint"), is_at_start=True),
    StartCheck(
        "plan",
        lambda launch: check_plan(launch.plan, launch.recipe.curriculum),
        needs=("data",),
        is_at_start=True,
    ),
)
"""All checks, in order."""


def applies(check: StartCheck, launch: Launch) -> bool:
    """Whether a check concerns a launch."""
    return not check.is_at_start or launch.checkpoint is None


def check_start(launch: Launch) -> None:
    """Run all checks of a launch; a collective.

    Raises:
        LinlyError: If one refuses the launch; on all ranks.
    """
    for check in START_CHECKS:
        if applies(check, launch):
            check.look(launch)

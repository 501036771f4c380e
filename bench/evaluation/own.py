"""Tasks and groups of lm-eval's own: their data is fetched once, and read by every evaluation."""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks.manager import TaskDict
from pyarrow.parquet import read_table

from bench.evaluation.tasks import local_tasks
from bench.sources.base import BaseSource, SourceError
from bench.typed import Commit


class LmEvalSource(BaseSource):
    """The data of a task of lm-eval's own, or of each task of a group: a folder a task."""

    source: Literal["lm_eval"] = "lm_eval"
    task: str
    revision: Commit | None = None

    def retrieve(self, folder: Path) -> None:
        pinned = {} if self.revision is None else {"revision": self.revision}

        class Fetched(_OwnTask):
            def download(self, dataset_kwargs: Mapping | None = None, **_) -> None:
                if pinned and self.config.custom_dataset is not None:
                    raise ValueError(f"task {self.config.task}: its data have no revision")
                super().download({**(dataset_kwargs or {}), **pinned})
                # Parquet, of which the digest depends on the data alone.
                (folder / self.config.task).mkdir()
                for split, items in self.dataset.items():
                    items.to_parquet(folder / self.config.task / f"{split}.parquet")

        try:
            _build(self.task, Fetched)
        # What `datasets` raises has no base class: of the hub, of HTTP, of files, its own.
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise SourceError(
                f"data of lm-eval's task {self.task} at {self.revision or 'the latest commit'}: "
                f"{reason}"
            ) from error


def load_own(name: str, folder: Path) -> TaskDict:
    """A task or a group of lm-eval's own, over what :class:`LmEvalSource` has put into `folder`.

    Raises:
        ValueError: there is no such task, or it is not defined as data.
    """

    class Loaded(_OwnTask):
        def download(self, dataset_kwargs: Mapping | None = None, **_) -> None:
            # In memory, so that nothing that a task makes of its items is cached on disk.
            self.dataset = {
                path.stem: Dataset(read_table(path))
                for path in (folder / self.config.task).glob("*.parquet")
            }

    return _build(name, Loaded)


class _OwnTask(ConfigurableTask):
    """A task that was told its class by the key ``class``, which is none of its settings."""

    def __init__(self, config: dict):
        super().__init__(config={key: value for key, value in config.items() if key != "class"})


def _build(name: str, task_class: type[_OwnTask]) -> TaskDict:
    """A task, or a group with its tasks, in which every task is of `task_class`."""
    registry = _registry()
    known = registry.task_index.get(name)
    if known is None:
        local = ", ".join(local_tasks())
        raise ValueError(
            f"unknown task {name!r}: none of lm-eval's; those of config/tasks need data: {local}"
        )
    if name in registry.all_tags:
        raise ValueError(
            f"task {name}: is a tag of {len(known.tags)} tasks; name them one by one: "
            f"{', '.join(sorted(known.tags))}"
        )
    _refuse_programs(registry, [name])
    # What the manager does with a name, and a group hands it on to its tasks.
    built = TaskFactory().build(
        known, overrides={"class": task_class}, registry=registry.task_index
    )
    loaded = registry.load([built])
    _refuse_programs(registry, loaded["tasks"])
    return loaded


def _refuse_programs(registry: TaskManager, names: Iterable[str]) -> None:
    """Tasks with a class of their own would not be theirs with another one."""
    for name in names:
        if "class" in registry.task_index[name].cfg:
            raise ValueError(
                f"task {name}: is a program; allowed: tasks that lm-eval defines in YAML"
            )


@cache
def _registry() -> TaskManager:
    """lm-eval's own tasks: thousands of files, read once."""
    return TaskManager()

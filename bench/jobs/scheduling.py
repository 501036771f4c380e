"""What Snakemake 9.27 has no option for, and is told from inside.

**Looks.** While jobs wait, each look at the queue starts a timer for the next one, and so does each
job that ends: after a thousand jobs there are a thousand timers a time span of
``max-jobs-per-timespan`` (its pull request 3744), each a look at all jobs that wait. On a long grid
that takes a whole core.

**Again.** A Snakefile is read before its run holds the lock, when nothing may be removed yet, and
before there are the settings of ``--forcerun``. What is forced Snakemake removes itself, when the
job begins.
"""

from collections.abc import Collection
from threading import Timer

from snakemake.scheduling.job_scheduler import JobScheduler


def schedule_one_look() -> None:
    """Let a scheduler have one timer at a time."""
    JobScheduler._schedule_reevalutation = _look_once


def _look_once(scheduler: JobScheduler, delay: float) -> None:
    """Release the scheduler in ``delay`` seconds, unless a timer does so already."""
    if getattr(scheduler, "next_look", None) is not None:
        return

    def look() -> None:
        scheduler.next_look = None
        scheduler._open_jobs.release()

    scheduler.next_look = Timer(delay, look)
    # The run does not wait for it at its end.
    scheduler.next_look.daemon = True
    scheduler.next_look.start()


def run_again(outputs: Collection[str]) -> None:
    """Let the jobs run that make these outputs, if the targets need them, though they are there."""
    # Its modules import each other: this one cannot be the first.
    from snakemake.dag import DAG

    begin = DAG.init

    async def init(dag: DAG, *arguments, **settings) -> None:
        dag.forcefiles.update(outputs)
        await begin(dag, *arguments, **settings)

    DAG.init = init

"""What keeps Snakemake's scheduler from looking at its queue more and more often.

While jobs wait, each look at the queue starts a timer for the next one, and so does each job that
ends: after a thousand jobs there are a thousand timers a time span of ``max-jobs-per-timespan``
(Snakemake 9.27; its pull request 3744), each a look at all jobs that wait. On a long grid that
takes a whole core.
"""

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

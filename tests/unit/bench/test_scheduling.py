"""Snakemake's scheduler has one timer at a time, however often it asks for one."""

from threading import Semaphore

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from bench.jobs.scheduling import schedule_one_look


@pytest.fixture
def scheduler(monkeypatch):
    # Put back when the test is over.
    monkeypatch.setattr(
        JobScheduler, "_schedule_reevalutation", JobScheduler._schedule_reevalutation
    )
    schedule_one_look()
    made = object.__new__(JobScheduler)
    made._open_jobs = Semaphore(0)
    return made


def test_many_requests_are_one_look(scheduler):
    for _ in range(5):
        scheduler._schedule_reevalutation(0.05)
    timer = scheduler.next_look
    timer.join()
    assert scheduler._open_jobs.acquire(blocking=False)
    assert not scheduler._open_jobs.acquire(blocking=False)


def test_after_a_look_there_is_another(scheduler):
    for _ in range(2):
        scheduler._schedule_reevalutation(0.01)
        scheduler.next_look.join()
    assert scheduler._open_jobs.acquire(blocking=False)
    assert scheduler._open_jobs.acquire(blocking=False)

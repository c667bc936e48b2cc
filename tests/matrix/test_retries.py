"""INFRA is tried again, nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.results.folder import RunWriter
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from tests.matrix.world import NEW, World

INFRA = "from harness.errors import InfrastructureError\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "root")


def test_infra_that_goes_away_leaves_one_row_of_the_second_attempt(world: World) -> None:
    world.suite(
        "test_a.py",
        INFRA + "def test_shaky(target, once):\n"
        "    if once('shaky'): raise InfrastructureError('no memory')\n"
        "def test_firm(target): pass\n",
    )
    plan = world.plan(retries=1)
    (job,) = jobs = world.jobs(plan)
    ran = world.run(plan, jobs)
    assert ran.outcomes == {"test_shaky": "PASS", "test_firm": "PASS"}
    assert (ran.row("test_shaky").attempt, ran.row("test_firm").attempt) == (2, 1)
    # The first attempt stays where it was.
    kept = [(row.attempt, row.outcome) for row in ran.folder.job(job.id).rows if "shaky" in row.test]
    assert kept == [(1, Outcome.INFRA), (2, Outcome.PASS)]
    assert ran.exit_code == 0


def test_a_failure_is_a_failure(world: World) -> None:
    world.suite("test_a.py", "def test_flaky(target, once): assert not once('flaky')\n")
    plan = world.plan(retries=5)
    (job,) = jobs = world.jobs(plan)
    ran = world.run(plan, jobs)
    assert ran.outcomes == {"test_flaky": "FAIL"}
    assert ran.attempts(job) == {"test_flaky": 1}


@pytest.mark.parametrize("retries", [0, 2])
def test_infra_is_tried_as_often_as_the_plan_says(world: World, retries: int) -> None:
    world.suite("test_a.py", INFRA + "def test_a(target): raise InfrastructureError('no')\n")
    plan = world.plan(retries=retries)
    (job,) = jobs = world.jobs(plan)
    ran = world.run(plan, jobs)
    assert ran.outcomes == {"test_a": "INFRA"}
    assert ran.attempts(job) == {"test_a": retries + 1}
    assert ran.row("test_a").attempt == retries + 1
    assert ran.exit_code == 3


def test_a_test_that_takes_its_process_along_is_tried_again_after_the_others(world: World) -> None:
    world.suite(
        "test_a.py",
        "def test_dies_once(target, once):\n    if once('dies'): os._exit(9)\ndef test_other(target): pass\n",
    )
    ran = world.run()
    assert ran.outcomes == {"test_dies_once": "PASS", "test_other": "PASS"}
    assert [test.split("::")[-1] for test, _ in ran.seen.tests] == [
        "test_dies_once",
        "test_other",
        "test_dies_once",
    ]
    assert ran.row("test_dies_once").attempt == 2


def test_a_row_that_no_test_stands_for_is_not_tried_for_ever(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan(retries=2)
    (job,) = jobs = world.jobs(plan)
    run = world.begin(plan, jobs)
    with RunWriter(run.job(job.id).path) as writer:
        writer.add(RunResult("test_a.py::[gate]", NEW, Outcome.INFRA))
    ran = world.go_on(run, plan, jobs)
    assert ran.outcomes == {"test_a": "PASS", "[gate]": "INFRA"}
    assert ran.seen.ends[0].processes <= 3

"""Order of notifications in a stack of filters, and who is left out (B-LAY-01..06)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Filter, Probe, RuleBuilder
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.scene import Scene
from suites.support import ODD_STATUS, THREE, behaviour, callers, versions
from suites.workloads import WORKLOADS, Workload, workloads

pytestmark = versions(since="6.0")

Decision = Callable[[RuleBuilder], RuleBuilder]


def block(rule: RuleBuilder) -> RuleBuilder:
    return rule.block(ODD_STATUS)


def bypass(rule: RuleBuilder) -> RuleBuilder:
    return rule.bypass()


@behaviour("B-LAY-01", "B-LAY-06")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_pre_notifications_go_down_the_stack(scene: Scene, probe: Probe, workload: Workload) -> None:
    scene.prepare_notified(workload)
    high, middle, low = probe.stack(*THREE)

    step = scene.perform(workload)

    assert callers(probe.trace.of(step).by(workload.pre), high, middle, low) == [0, 1, 2]
    for each in (high, middle, low):
        assert probe.trace.of(step).seen_by(each).by(workload.operation) == [workload.pre, workload.post]


@behaviour("B-LAY-02")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_order_of_post_notifications(
    scene: Scene, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    high, middle, low = probe.stack(*THREE)

    step = scene.perform(workload)

    posts = callers(probe.trace.of(step).by(workload.post), high, middle, low)
    assert sorted(posts) == [0, 1, 2]
    record(f"B-LAY-02 {workload}: order of the posts by position from the top", posts)


@behaviour("B-LAY-03", "B-LAY-04", "B-LAY-05")
@pytest.mark.parametrize("workload", workloads(blockable=True), ids=str)
def test_a_block_in_the_middle_is_seen_above_and_hidden_below(
    scene: Scene, probe: Probe, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    high, middle, low = probe.stack(*THREE)
    middle.on(workload.pre, **scene.scope(workload)).block(ODD_STATUS)

    step = scene.perform(workload)

    trace = probe.trace.of(step).by(workload.operation)  # an unload may open the hive's root (B-HIV-08)
    assert step.status == ODD_STATUS
    assert trace.seen_by(high) == [workload.pre, workload.post]
    assert trace.seen_by(middle) == [workload.pre]
    assert trace.seen_by(low) == []


@behaviour("B-LAY-03", "B-LAY-04", "B-LAY-05", "B-NOT-10")
@pytest.mark.parametrize("workload", workloads("set-value", "delete-value", "delete", "flush"), ids=str)
def test_a_bypass_in_the_middle_is_seen_above_and_hidden_below(
    scene: Scene, probe: Probe, workload: Workload
) -> None:
    scene.prepare(workload)
    high, middle, low = probe.stack(*THREE)
    middle.on(workload.pre, **scene.scope(workload)).bypass()

    step = scene.perform(workload)

    assert step.status == NTSTATUS.SUCCESS
    assert probe.trace.of(step).seen_by(high) == [workload.pre, workload.post]
    assert probe.trace.of(step).seen_by(middle) == [workload.pre]
    assert probe.trace.of(step).seen_by(low) == []


@behaviour("B-LAY-03")
@pytest.mark.parametrize("position", [0, 1, 2], ids=["top", "middle", "bottom"])
@pytest.mark.parametrize("decide", [block, bypass])
def test_everybody_above_the_decision_is_asked(
    probe: Probe, registry: Registry, decide: Decision, position: int
) -> None:
    stack = probe.stack(*THREE)
    decide(stack[position].on(Pre.SetValueKey, under=registry.test_root, value="secret"))

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")

    assert callers(probe.trace.of(write).by(Pre.SetValueKey), *stack) == list(range(position + 1))
    assert sorted(callers(probe.trace.of(write).by(Post.SetValueKey), *stack)) == list(range(position))


def _pass(rule: RuleBuilder) -> RuleBuilder:
    return rule.pass_()


def _inform(rule: RuleBuilder) -> RuleBuilder:
    return rule.succeed(NTSTATUS.OBJECT_NAME_EXISTS)


@behaviour("B-LAY-06", "B-LAY-03", "B-LAY-04", "B-LAY-05", "B-NOT-08")
@pytest.mark.parametrize("seed", range(20))
def test_whoever_lets_the_pre_pass_gets_the_post(probe: Probe, registry: Registry, seed: int) -> None:
    """A stack of five filters that decide at random; the documents say exactly who is told what."""
    chance = random.Random(seed)
    altitudes = [f"{380050 - 10 * n}.7301" for n in range(5)]
    stack = probe.stack(*altitudes)
    decisions = [chance.choice([_pass, _pass, _inform, block, bypass]) for _ in stack]
    for each, decide in zip(stack, decisions, strict=True):
        decide(each.on(Pre.SetValueKey, under=registry.test_root, value="secret"))

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")

    stopper = next((n for n, decide in enumerate(decisions) if decide in (block, bypass)), len(stack))
    for position, each in enumerate(stack):
        if position < stopper:
            expected = [Pre.SetValueKey, Post.SetValueKey]
        elif position == stopper:
            expected = [Pre.SetValueKey]
        else:
            expected = []
        assert probe.trace.of(write).seen_by(each) == expected, f"position {position} of {decisions}"


@behaviour("B-LAY-03", "B-REG-07")
def test_a_filter_between_two_others_takes_effect_at_once(probe: Probe, registry: Registry) -> None:
    high, low = probe.stack("380020.7301", "380000.7301")
    between: Filter = probe.add("380010.7301")
    between.on(Pre.SetValueKey, under=registry.test_root, value="secret").block()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        refused = p.set_value(key, "secret", "x")
    between.remove()
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        written = p.set_value(key, "secret", "x")

    assert refused.status == NTSTATUS.ACCESS_DENIED
    assert probe.trace.of(refused).seen_by(low) == []
    assert written.status == NTSTATUS.SUCCESS
    assert probe.trace.of(written).seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(written).seen_by(low) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(written).seen_by(between) == []

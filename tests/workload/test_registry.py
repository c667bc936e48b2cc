"""The test root and its clean-up."""

from __future__ import annotations

import pytest

from harness.errors import InfrastructureError
from harness.registry.paths import upcase
from harness.registry.status import NTSTATUS
from harness.workload import HARNESS_KEY, Opcode, Registry
from tests.workload.fake_runner import FakeRunner


def below(runner: FakeRunner, registry: Registry) -> list[str]:
    return [path for path in runner.keys if path.startswith(upcase(registry.test_root))]


def test_roots_are_unique() -> None:
    runner = FakeRunner()
    names = {Registry(runner).test_root for _ in range(50)}
    assert len(names) == 50
    assert all(HARNESS_KEY.contains(name) for name in names)


def test_the_root_exists_inside_and_is_gone_outside() -> None:
    runner = FakeRunner()
    with Registry(runner) as registry:
        assert below(runner, registry) == [upcase(registry.test_root)]
        with registry.program() as p:
            p.create_key(p.create_key(p.test_root / "app") / "child")
    assert below(runner, registry) == []
    assert upcase(HARNESS_KEY) in runner.keys, "the common parent stays for the others"


def test_cleaning_up_costs_one_program_when_nothing_is_unknown() -> None:
    runner = FakeRunner()
    with Registry(runner) as registry:
        with registry.program() as p:
            app = p.create_key(p.test_root / "app")
            p.create_key(app / "child")
        before = len(runner.programs)
    assert len(runner.programs) == before + 1


def test_keys_nobody_told_about_are_found() -> None:
    runner = FakeRunner()
    registry = Registry(runner)
    registry.set_up()
    with registry.program() as p:
        steps = [p.record(Opcode.CREATE_KEY, out=p.new_slot(), name=str(p.test_root))]
        for name in ("a", "a\\b", "a\\b\\c", "d"):
            steps.append(p.record(Opcode.CREATE_KEY, out=p.new_slot(), name=f"{p.test_root}\\{name}"))
    assert len(below(runner, registry)) == 5
    registry.close()
    assert below(runner, registry) == []


def test_a_key_that_stays_is_named() -> None:
    runner = FakeRunner()
    registry = Registry(runner)
    with registry.program() as p:
        p.create_key(p.test_root / "stuck")
    runner.keys[upcase(registry.test_root / "stuck")].undeletable = True
    with pytest.raises(InfrastructureError, match=r"(?i)stuck can't be removed: STATUS_CANNOT_DELETE"):
        registry.close()
    runner.keys[upcase(registry.test_root / "stuck")].undeletable = False
    registry.close()
    assert below(runner, registry) == []


def test_clean_up_happens_after_a_failure_too() -> None:
    runner = FakeRunner()
    registry = Registry(runner)
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    with pytest.raises(ZeroDivisionError), registry:
        raise ZeroDivisionError
    assert below(runner, registry) == []
    registry.close()


def test_trouble_in_cleaning_up_does_not_hide_the_failure() -> None:
    runner = FakeRunner()
    registry = Registry(runner)
    with registry.program() as p:
        p.create_key(p.test_root / "stuck")
    runner.keys[upcase(registry.test_root / "stuck")].undeletable = True
    with pytest.raises(ZeroDivisionError) as caught, registry:
        raise ZeroDivisionError
    assert "can't be removed" in caught.value.__notes__[0]


def test_a_guest_that_refuses_the_root_is_named() -> None:
    runner = FakeRunner()
    runner.refuse_creates = True
    with pytest.raises(InfrastructureError, match=r"(?s)test root .* could not be created: STATUS_"):
        Registry(runner).program()


def test_files_belong_to_the_test_and_are_removed() -> None:
    runner = FakeRunner()
    registry = Registry(runner, name="unique")
    with registry.program() as p:
        step = p.load_app_key("app.dat", exclusive=True)
        other = p.load_app_key(registry.app_hive())
        kept = p.delete_file("C:\\other\\x.dat")
    assert step.operation.file == "C:\\harness\\unique-app.dat"
    assert step.operation.options == 1
    assert other.operation.file == "C:\\harness\\unique-app1.dat"
    assert kept.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    runner.files |= {"C:\\harness\\unique-app.dat", "C:\\harness\\unique-app.dat.LOG1", "C:\\other\\x.dat"}
    registry.close()
    assert runner.files == {"C:\\other\\x.dat"}, "only what the test owns"


def test_mounted_hives_are_unloaded_by_force() -> None:
    runner = FakeRunner()
    registry = Registry(runner)
    with registry.program() as p:
        p.load_key(p.test_root / "mount", "hive.dat")
        p.load_key(p.test_root / "flagged", "hive.dat", flags=0x10)
        p.load_key(p.test_root / "rooted", "hive.dat", access=1)
    forms = [step.operation.form for step in p.steps]
    assert forms == [1, 2, 3]
    assert p.steps[2].operation.out is not None
    registry.close()
    unloads = [op for op in runner.programs[-1].operations if op.opcode is Opcode.UNLOAD_KEY]
    assert {op.name for op in unloads} == {
        str(registry.test_root / n) for n in ("mount", "flagged", "rooted")
    }
    assert {(op.flags, op.form) for op in unloads} == {(1, 2)}


def test_a_renamed_key_is_found_under_its_new_name() -> None:
    runner = FakeRunner()
    registry = Registry(runner)
    with registry.program() as p:
        p.rename_key(p.create_key(p.test_root / "before"), "after")
    key = runner.keys.pop(upcase(registry.test_root / "before"))
    runner.keys[upcase(registry.test_root / "after")] = key
    before = len(runner.programs)
    registry.close()
    assert below(runner, registry) == []
    assert len(runner.programs) == before + 1

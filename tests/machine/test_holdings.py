"""What drivers hold in a machine, told by a scripted system: what the gate may say of it, and what not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import pytest

from harness.channel.answers import ServiceState
from harness.channel.errors import RunnerError
from harness.channel.frames import RunnerErrorCode
from harness.channel.holdings import MAX_TAGS, OpenKey, OpenKeys, PoolTag, PoolUse, VerifiedDriver
from harness.driver import build_signed, project_drivers
from harness.errors import ToolMissingError
from harness.guest.leaks import Held, Holding, left_over
from harness.machine.inside.holdings import Holdings
from harness.machine.inside.pool_tags import framework_tag, mentioned_tags
from harness.registry.paths import RegistryPath
from harness.workload.registry import HARNESS_KEY

SYSTEM, RUNNER, OTHER = 4, 700, 900
NOTHING = PoolUse(0, 0)
TRACKED, UNTRACKED = 0x8, 0x1


def refusal(code: int, message: str = "no") -> RunnerError:
    return RunnerError(f"serial channel /tmp/x: {message}", code=code, reason=message)


@dataclass
class System:
    """A guest's kernel as its runner shows it."""

    tags: dict[bytes, PoolTag] = field(default_factory=dict)
    verified: list[VerifiedDriver] = field(default_factory=list)
    keys: list[tuple[int, str]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    refuses: dict[str, RunnerError] = field(default_factory=dict)
    asked: list[tuple[bytes, ...]] = field(default_factory=list)

    def hold(self, tag: bytes, count: int, size: int = 0) -> None:
        """`count` allocations of nonpaged pool with a tag."""
        self.tags[tag] = PoolTag(tag, NOTHING, PoolUse(count, size), used=True)

    # -- the calls of a `RunnerClient` ---------------------------------------------------------------------

    def query_service(self, name: str) -> ServiceState:
        return ServiceState.RUNNING if name in self.running else ServiceState.STOPPED

    def pool_tags(self, tags: Collection[bytes]) -> tuple[PoolTag, ...]:
        self._answer("pool_tags")
        self.asked.append(tuple(tags))
        return tuple(self.tags[tag] for tag in tags if tag in self.tags)

    def verified_drivers(self) -> tuple[VerifiedDriver, ...]:
        self._answer("verified_drivers")
        return tuple(self.verified)

    def open_keys(self, key: RegistryPath) -> OpenKeys:
        self._answer("open_keys")
        names = {SYSTEM: "System", RUNNER: "regrun.exe"}
        found = [OpenKey(pid, names.get(pid), name) for pid, name in self.keys if name.startswith(str(key))]
        return OpenKeys(RUNNER, len(found), tuple(found[:256]))

    def _answer(self, call: str) -> None:
        if call in self.refuses:
            raise self.refuses[call]


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def holdings(system: System) -> Holdings:
    return Holdings(system)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def image() -> bytes:
    """A driver whose code mentions the tag 'Wrng'."""
    try:
        return build_signed(project_drivers()["leak_per_callback"], "x64").image.read_bytes()
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def load(holdings: Holdings, system: System, image: bytes) -> Callable[..., None]:
    """``load("wrong")``: the driver is installed and started."""

    def load(name: str) -> None:
        holdings.installed(name, image)
        holdings.starting(name)
        system.running.add(name)

    return load


Load = Callable[[str], None]


def of_kind(holdings: Holdings, kind: Holding) -> list[Held]:
    return [held for held in holdings.outstanding().held if held.kind is kind]


def test_a_guest_without_drivers_is_asked_for_nothing(holdings: Holdings, system: System) -> None:
    found = holdings.outstanding()
    assert found.held == ()
    assert set(found.unknown) == set(Holding)
    assert system.asked == []


# -- pool --------------------------------------------------------------------------------------------------


def test_pool_with_a_drivers_own_tag_is_its_leak(holdings: Holdings, system: System, load: Load) -> None:
    load("wrong")
    before = holdings.outstanding().held
    system.hold(b"Wrng", 3, 192)
    (leak,) = left_over(before, holdings.outstanding().held)
    assert str(leak) == "pool: 3 x wrong.sys, tag 'Wrng', nonpaged (192 bytes)"


def test_a_tag_that_others_use_is_not_judged_and_that_is_said(
    holdings: Holdings, system: System, load: Load
) -> None:
    system.hold(b"Wrng", 7)
    load("wrong")
    system.hold(b"Wrng", 9)
    assert of_kind(holdings, Holding.POOL) == []
    assert "tags that others use as well ('Wrng')" in holdings.outstanding().unknown[Holding.POOL]


def test_drivers_of_the_harness_may_share_a_tag(holdings: Holdings, system: System, load: Load) -> None:
    load("one")
    system.hold(b"Wrng", 1)
    load("two")
    assert [held.what for held in of_kind(holdings, Holding.POOL)] == [
        "one.sys and two.sys, tag 'Wrng', nonpaged"
    ]


def test_a_driver_that_starts_again_keeps_its_tags(holdings: Holdings, system: System, load: Load) -> None:
    load("wrong")
    system.hold(b"Wrng", 1)
    load("wrong")
    assert [held.count for held in of_kind(holdings, Holding.POOL)] == [1]


def test_driver_verifier_counts_what_tags_do_not(holdings: Holdings, system: System, load: Load) -> None:
    load("wrong")
    system.hold(b"Wrng", 2, 128)
    system.verified = [
        VerifiedDriver("WRONG.SYS", TRACKED, PoolUse(1, 50), PoolUse(5, 500)),
        VerifiedDriver("ntfs.sys", TRACKED, PoolUse(9, 9), PoolUse(9, 9)),
    ]
    found = holdings.outstanding()
    assert [str(held) for held in found.held if held.kind is Holding.POOL] == [
        "pool: 2 x wrong.sys, tag 'Wrng', nonpaged (128 bytes)",
        "pool: wrong.sys, other tags, paged (50 bytes)",
        "pool: 3 x wrong.sys, other tags, nonpaged (372 bytes)",
    ]
    assert Holding.POOL not in found.unknown


def test_a_driver_that_is_verified_without_pool_tracking_is_not_counted(
    holdings: Holdings, system: System, load: Load
) -> None:
    load("wrong")
    system.verified = [VerifiedDriver("wrong.sys", UNTRACKED, PoolUse(1, 1), PoolUse(1, 1))]
    assert of_kind(holdings, Holding.POOL) == []
    assert Holding.POOL in holdings.outstanding().unknown


def test_more_tags_than_one_request_takes(holdings: Holdings, system: System) -> None:
    from harness.machine.inside import pool_account

    many = tuple(f"{number:04d}".encode() for number in range(MAX_TAGS + 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_account, "mentioned_tags", lambda image: many)
        holdings.installed("many", b"")
    holdings.starting("many")
    system.hold(many[0], 1)
    system.hold(many[-1], 1)
    assert len(of_kind(holdings, Holding.POOL)) == 2
    assert max(map(len, system.asked)) == MAX_TAGS


def test_a_framework_drivers_tag_is_made_of_its_name(holdings: Holdings, system: System, load: Load) -> None:
    load("regguard")
    system.hold(b"regg", 1)
    assert [held.what for held in of_kind(holdings, Holding.POOL)] == ["regguard.sys, tag 'regg', nonpaged"]


# -- keys --------------------------------------------------------------------------------------------------


def test_keys_that_the_kernel_or_the_runner_has_open(holdings: Holdings, system: System, load: Load) -> None:
    load("wrong")
    app = f"{HARNESS_KEY}\\1-a\\app"
    system.keys = [
        (SYSTEM, app),
        (SYSTEM, app),
        (RUNNER, str(HARNESS_KEY)),
        (OTHER, app),
        (SYSTEM, "\\REGISTRY"),
    ]
    assert [str(held) for held in of_kind(holdings, Holding.HANDLES)] == [
        f"handles on keys: 2 x {app}, opened by System",
        f"handles on keys: {HARNESS_KEY}, opened by regrun.exe",
    ]


def test_a_key_that_is_deleted_while_it_is_open_is_not_forgotten(
    holdings: Holdings, system: System, load: Load
) -> None:
    load("wrong")
    before = holdings.outstanding().held
    system.keys = [(SYSTEM, f"{HARNESS_KEY}\\1-a")]
    holdings.stopped("wrong")
    holdings.note_open_keys()
    system.keys = []  # the test deleted it
    (leak,) = left_over(before, holdings.outstanding().held)
    assert leak.kind is Holding.HANDLES
    assert f"{HARNESS_KEY}\\1-a" in leak.what


def test_what_a_driver_that_runs_has_open_is_not_held_against_it(
    holdings: Holdings, system: System, load: Load
) -> None:
    load("wrong")
    system.keys = [(SYSTEM, f"{HARNESS_KEY}\\1-a")]
    holdings.note_open_keys()
    system.keys = []
    assert of_kind(holdings, Holding.HANDLES) == []


def test_more_open_keys_than_are_listed_count_as_well(holdings: Holdings, system: System, load: Load) -> None:
    load("wrong")
    system.keys = [(SYSTEM, f"{HARNESS_KEY}\\{number}") for number in range(300)]
    assert sum(held.count for held in of_kind(holdings, Holding.HANDLES)) == 300


# -- what can't be told ------------------------------------------------------------------------------------

CALLS = ("pool_tags", "verified_drivers", "open_keys")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (RunnerErrorCode.UNKNOWN_REQUEST, "older than this harness"),
        (RunnerErrorCode.UNSUPPORTED, "has no such call"),
        (RunnerErrorCode.SYSTEM, "has no such call"),
    ],
)
def test_a_system_that_cannot_tell_is_unknown_with_the_reason(
    holdings: Holdings, system: System, load: Load, code: RunnerErrorCode, why: str
) -> None:
    system.refuses = {call: refusal(code, "has no such call") for call in CALLS}
    load("wrong")
    holdings.note_open_keys()
    found = holdings.outstanding()
    assert [str(held) for held in found.held] == ["loaded drivers: wrong.sys"]
    for kind in (Holding.POOL, Holding.HANDLES, Holding.REFERENCES):
        assert why in found.unknown[kind]
        assert "/tmp" not in found.unknown[kind], "rows of two runs are the same"


@pytest.mark.parametrize("call", CALLS)
def test_a_runner_that_fails_otherwise_is_an_error(
    holdings: Holdings, system: System, load: Load, call: str
) -> None:
    load("wrong")
    system.refuses = {call: refusal(RunnerErrorCode.MALFORMED)}
    with pytest.raises(RunnerError):
        holdings.outstanding()


# -- tags in code ------------------------------------------------------------------------------------------


def test_tags_are_found_in_code_of_both_architectures(image: bytes) -> None:
    assert mentioned_tags(image) == (b"Wrng",)
    try:
        other = build_signed(project_drivers()["leak_per_callback"], "x86").image.read_bytes()
    except ToolMissingError as error:
        pytest.skip(str(error))
    assert mentioned_tags(other) == (b"Wrng",)


@pytest.mark.parametrize(
    ("service", "tag"),
    [("regguard", b"regg"), ("WdfGuard", b"Guar"), ("abc", None), ("wdfabc", None), ("ähnlich", None)],
)
def test_the_tag_of_the_framework(service: str, tag: bytes | None) -> None:
    assert framework_tag(service) == tag


def test_what_is_no_image_mentions_none(image: bytes) -> None:
    assert mentioned_tags(b"") == ()
    assert mentioned_tags(b"MZ" + b"\xb8Wrng" * 200) == ()
    assert mentioned_tags(image[: len(image) // 3]) in ((), (b"Wrng",))

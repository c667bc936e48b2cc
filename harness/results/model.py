"""What is kept of a run: one row a test and target, and the attestation of the guest it ran on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from harness.errors import UsageError
from harness.results.outcome import Outcome

__all__ = ["MAX_MESSAGE", "MAX_NAME", "MAX_RECORDED", "Attestation", "RunInfo", "RunResult", "clip"]

_T = TypeVar("_T")
_N = TypeVar("_N", int, float)

#: Longest failure text kept of one row, in characters. A guest can make it as long as it likes.
MAX_MESSAGE: Final = 64 * 1024
#: Longest text kept of one recorded observation.
MAX_RECORDED: Final = 4096
#: Longest name or time kept.
MAX_NAME: Final = 256
#: Most attempts at a test, and longest duration in seconds, that are believed.
_MAX_ATTEMPTS: Final = 1_000_000
_MAX_DURATION: Final = 1e9
#: Most notify classes kept of one row; Windows knows about fifty.
_MAX_CALLBACKS: Final = 256


def clip(text: str, limit: int) -> str:
    r"""`text` in at most `limit` characters; where it is cut, a note says how long it was.

    Names in a guest may hold lone surrogates, which no encoding of ours takes: they become ``\udc00``.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    note = f" ... (cut, it had {len(text)} characters)"
    return text[: max(limit - len(note), 0)] + note[:limit]


@dataclass(frozen=True, slots=True)
class Attestation:
    """What the guest was, as far as it can say; kept with each result.

    `kind` is a `harness.guest.GuestKind` value; `drivers` maps service names to the SHA-256 of the image
    that was loaded; `filters` lists the altitudes that were registered during the test, highest first.
    None and empty texts: the guest can't tell, or it is no machine. `clock_skew` is in seconds, the guest's
    clock ahead of the host's; `template` identifies what the machine was cloned from. `drilled`: its image
    passed a crash drill, so that a crash would have been noticed.
    """

    target: str
    kind: str
    version: str
    arch: str
    test_signing: bool | None = True
    drivers: Mapping[str, str] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    product: str = ""
    ubr: int | None = None
    secure_boot: bool | None = None
    hvci: bool | None = None
    verifier_flags: int | None = None
    verifier_drivers: tuple[str, ...] = ()
    clock_skew: float | None = None
    template: str = ""
    channel: str = ""
    accelerator: str = ""
    drilled: bool | None = None

    @property
    def build(self) -> str:
        """The version with its update revision, "10.0.26100.2314", as far as that is known."""
        return self.version if self.ubr is None else f"{self.version}.{self.ubr}"

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "target": self.target,
            "kind": self.kind,
            "version": self.version,
            "arch": self.arch,
            "test_signing": self.test_signing,
            "drivers": dict(self.drivers),
            "filters": self.filters,
            **{name: getattr(self, name) for name in _MACHINE_FIELDS},
        }


@dataclass(frozen=True, slots=True)
class RunResult:
    """One test on one target.

    `test` is the pytest node id without the target, `duration` seconds, `message` one line,
    `detail` the whole text of a failure, `evidence` file names relative to the run's folder,
    `recorded` what a `Mode: record` behaviour was seen to do. `started` is ISO 8601 in UTC, empty where it
    isn't known. `attempt` counts from 1; only INFRA is tried again. `build` names the build of the user's
    driver, empty without one. `known` is the link of the known issue that a KNOWN outcome matched.
    `bundle` is the reproduction bundle of a failure, `comparison` the JSON file with the expected and the
    seen events, both relative to the run's folder and empty without one. `callbacks` are the numbers of the
    notify classes that filters of the probe were told of during the test, ascending.
    """

    test: str
    target: str
    outcome: Outcome
    behaviours: tuple[str, ...] = ()
    duration: float = 0.0
    message: str = ""
    detail: str = ""
    attestation: Attestation | None = None
    evidence: tuple[str, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    attempt: int = 1
    build: str = ""
    known: str = ""
    bundle: str = ""
    comparison: str = ""
    callbacks: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain types only: what a row of rows.jsonl holds."""
        attestation = self.attestation
        return {
            "test": self.test,
            "target": self.target,
            "outcome": self.outcome.value,
            "behaviours": self.behaviours,
            "duration": self.duration,
            "message": self.message,
            "detail": self.detail,
            "attestation": None if attestation is None else attestation.to_json(),
            "evidence": self.evidence,
            "recorded": dict(self.recorded),
            "started": self.started,
            "attempt": self.attempt,
            "build": self.build,
            "known": self.known,
            "bundle": self.bundle,
            "comparison": self.comparison,
            "callbacks": self.callbacks,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Raises `UsageError` for a row that this version didn't write."""
        try:
            attestation = row["attestation"]
            return cls(
                test=str(row["test"]),
                target=str(row["target"]),
                outcome=Outcome(row["outcome"]),
                behaviours=tuple(map(str, row["behaviours"])),
                duration=_within(float(row["duration"]), 0.0, _MAX_DURATION),
                message=clip(str(row["message"]), MAX_MESSAGE),
                detail=clip(str(row["detail"]), MAX_MESSAGE),
                attestation=None if attestation is None else _attestation(attestation),
                evidence=tuple(map(str, row["evidence"])),
                recorded={str(name): str(value) for name, value in row["recorded"].items()},
                # Rows of earlier versions lack the rest.
                started=clip(str(row.get("started", "")), MAX_NAME),
                attempt=_within(int(row.get("attempt", 1)), 1, _MAX_ATTEMPTS),
                build=clip(str(row.get("build", "")), MAX_NAME),
                known=clip(str(row.get("known", "")), MAX_RECORDED),
                bundle=clip(str(row.get("bundle", "")), MAX_RECORDED),
                comparison=clip(str(row.get("comparison", "")), MAX_RECORDED),
                callbacks=tuple(map(int, row.get("callbacks", ())[:_MAX_CALLBACKS])),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise UsageError(f"not a result row of this version: {error!r}") from error


#: What only machines attest; rows of earlier versions lack them.
_MACHINE_FIELDS: Final = (
    "product",
    "ubr",
    "secure_boot",
    "hvci",
    "verifier_flags",
    "verifier_drivers",
    "clock_skew",
    "template",
    "channel",
    "accelerator",
    "drilled",
)


def _attestation(row: Mapping[str, Any]) -> Attestation:
    return Attestation(
        target=str(row["target"]),
        kind=str(row["kind"]),
        version=str(row["version"]),
        arch=str(row["arch"]),
        test_signing=_maybe(bool, row["test_signing"]),
        drivers={str(name): str(digest) for name, digest in row["drivers"].items()},
        filters=tuple(map(str, row["filters"])),
        product=str(row.get("product", "")),
        ubr=_maybe(int, row.get("ubr")),
        secure_boot=_maybe(bool, row.get("secure_boot")),
        hvci=_maybe(bool, row.get("hvci")),
        verifier_flags=_maybe(int, row.get("verifier_flags")),
        verifier_drivers=tuple(map(str, row.get("verifier_drivers", ()))),
        clock_skew=_maybe(float, row.get("clock_skew")),
        template=str(row.get("template", "")),
        channel=str(row.get("channel", "")),
        accelerator=str(row.get("accelerator", "")),
        drilled=_maybe(bool, row.get("drilled")),
    )


def _within(number: _N, least: _N, most: _N) -> _N:
    if not least <= number <= most:  # not a number isn't either
        raise ValueError(f"{number} is not from {least} to {most}")
    return number


def _maybe(kind: Callable[[Any], _T], value: Any) -> _T | None:
    return None if value is None else kind(value)


#: A process's exit code; negative where a signal ended it.
_EXIT_CODES: Final = (-(2**31), 2**32 - 1)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run as a whole. Times are ISO 8601 in UTC, `finished` is empty until it ended by itself."""

    name: str
    started: str
    arguments: tuple[str, ...] = ()
    harness: str = ""
    finished: str = ""
    exit_code: int | None = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """What run.json holds. Raises `UsageError` for what this version didn't write."""
        try:
            exit_code = raw["exit_code"]
            return cls(
                name=clip(str(raw["name"]), MAX_NAME),
                started=clip(str(raw["started"]), MAX_NAME),
                arguments=tuple(clip(str(word), MAX_RECORDED) for word in raw["arguments"]),
                harness=clip(str(raw["harness"]), MAX_NAME),
                finished=clip(str(raw["finished"]), MAX_NAME),
                exit_code=None if exit_code is None else _within(int(exit_code), *_EXIT_CODES),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"not the run.json of this version: {error!r}") from error

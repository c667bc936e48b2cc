"""Every option and marker of the plugin. They are declared in each pytest run where the package is installed,
so this imports nothing of the harness; `harness.plugin.options` says what the options amount to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import pytest

__all__ = [
    "EvidencePolicy",
    "Isolation",
    "add_options",
    "is_given",
    "names_statements",
    "register_markers",
]


class Isolation(StrEnum):
    """How long a guest lives. After a crash or any failure the next test gets a fresh one in every case.

    A fresh guest of a machine is the next clone of its template.
    """

    SESSION = "session"  # one guest a target
    MODULE = "module"  # a fresh guest for every test file; the probe is reset between tests
    TEST = "test"  # a fresh guest for every test


class EvidencePolicy(StrEnum):
    """When screen, logs and memory of a machine are kept. Traces of failures always are."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"  # after each test, which costs it its guest


#: By name, what argparse is told.
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    # -- where
    "--target": {
        "action": "append",
        "default": [],
        "metavar": "NAME",
        "help": "run on this target; repeatable, patterns allowed ('reference:*'); default: the newest "
        "Windows that is modelled",
    },
    "--recipes": {
        "action": "append",
        "default": [],
        "metavar": "DIR",
        "help": "a further folder of recipes for targets vm:NAME; repeatable, HARNESS_RECIPES adds more",
    },
    "--isolation": {
        "choices": [mode.value for mode in Isolation],
        "default": Isolation.MODULE.value,
        "help": "a fresh guest for every session, module (default) or test",
    },
    "--channel": {
        "choices": ["serial", "ssh", "winrm"],
        "default": "",
        "help": "how machines are talked to; default: what their recipe names first",
    },
    "--clones": {
        "type": int,
        "default": 1,
        "metavar": "N",
        "help": "clones of each machine that wait, so that a fresh one is there at once; default 1",
    },
    # -- what
    "--driver": {
        "metavar": "FILE.sys",
        "help": "your own driver, for tests with the own_driver fixture: loaded between two probe filters",
    },
    "--driver-parameter": {
        "action": "append",
        "default": [],
        "metavar": "NAME=VALUE",
        "help": "a value of your driver's Parameters key, REG_DWORD for a number without quotes; repeatable",
    },
    "--build": {"metavar": "NAME", "default": "", "help": "what the rows call this build of your driver"},
    "--known": {
        "metavar": "FILE.toml",
        "help": "known issues: failures that this file expects count as KNOWN instead",
    },
    "--no-leak-gate": {
        "action": "store_true",
        "default": False,
        "help": "don't check after each module that drivers gave back pool, contexts and handles",
    },
    "--listed-before": {
        "action": "store_true",
        "default": False,
        "help": "boot no guest to list native cases: where none listed them before, one item stands for all",
    },
    "--seed": {
        "metavar": "TEXT",
        "default": "",
        "help": "seed of Python's random numbers in each test; default: a new one for each run, kept in "
        "bundles",
    },
    # -- what is kept
    "--results": {
        "metavar": "DIR",
        "help": "folder that holds the runs; default results/ below the root of the tests",
    },
    "--run-folder": {"metavar": "DIR", "help": "folder of this very run, instead of a new one in --results"},
    "--evidence": {
        "choices": [policy.value for policy in EvidencePolicy],
        "default": EvidencePolicy.ON_FAILURE.value,
        "help": "keep a machine's screen, logs and memory: never, on-failure (default) or always",
    },
    "--memory-dump": {
        "type": int,
        "default": 2048,
        "metavar": "MIB",
        "help": "dump a machine's memory when it crashes or hangs, if it has at most so much; default 2048",
    },
    "--bundle-machine": {
        "action": "store_true",
        "default": False,
        "help": "put a machine into the bundle of a failure: what it wrote to its disks, memory, UEFI "
        "variables and TPM state; 16 GiB at most",
    },
    # -- for the process that started this one
    "--finished": {
        "metavar": "FILE",
        "help": "rows.jsonl of an interrupted run: tests that have a row there are left out",
    },
    "--again": {
        "type": int,
        "default": 0,
        "metavar": "N",
        "help": "with --finished: run instead the tests that ended INFRA there, each up to N times more",
    },
    "--journal": {
        "type": int,
        "metavar": "N",
        "help": "write what is planned, begun and over to file descriptor N, as JSON lines",
    },
}

_MARKERS: Final = (
    'behaviour(id, ...): the statements of the catalogue that the test proves, e.g. behaviour("B-LAY-03")',
    'requires(capability, ...): skip on guests without these capabilities, e.g. requires("app-hives")',
    'versions(since=..., until=...): only on these Windows versions, both included: versions(since="6.0")',
    'arch(name, ...): only on these architectures, e.g. arch("x64")',
    "own_guest: a guest of its own, whatever the isolation is",
)
_STATEMENT: Final = re.compile(r"B-[A-Z]+-\d+")


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "registry filter harness")
    for name, said in _OPTIONS.items():
        group.addoption(name, **said)


def is_given(config: pytest.Config) -> bool:
    """Whether any option has another value than its default."""
    return any(config.getoption(name) != said.get("default") for name, said in _OPTIONS.items())


def register_markers(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def names_statements(node: pytest.Item) -> bool:
    """Whether a `behaviour` marker names statements of the catalogue; a project may have one of its own."""
    return any(
        isinstance(argument, str) and _STATEMENT.fullmatch(argument) is not None
        for marker in node.iter_markers("behaviour")
        for argument in marker.args
    )

"""What a machine attests comes through: into rows, out of rows, onto the page and into JUnit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.report.page import Source, render_page
from harness.results.junit import render_junit
from harness.results.matrix import Matrix, machine_facts
from harness.results.model import Attestation, RunInfo, RunResult
from harness.results.outcome import Outcome

RUN = RunInfo(name="20250101-000000-000000-1", started="2025-01-01T00:00:00+00:00")
MACHINE = Attestation(
    "vm:win11",
    "windows",
    "10.0.26100",
    "x64",
    product="Windows 11 <Pro>",
    ubr=2314,
    secure_boot=False,
    hvci=True,
    verifier_flags=0x209BB,
    verifier_drivers=("wrong.sys",),
    clock_skew=0.0125,
    template="ab" * 32,
    channel="serial",
    accelerator="kvm",
)
RESULT = RunResult("t.py::a", "vm:win11", Outcome.PASS, attestation=MACHINE)
OLD_ROW = {
    "target": "reference:6.1",
    "kind": "reference",
    "version": "6.1.7601",
    "arch": "x64",
    "test_signing": True,
    "drivers": {},
    "filters": ["380000"],
}


@pytest.mark.parametrize("seen", [MACHINE, replace(MACHINE, test_signing=None, ubr=None, hvci=None)])
def test_a_row_keeps_every_field(seen: Attestation) -> None:
    row = json.loads(json.dumps(replace(RESULT, attestation=seen).to_json()))
    assert RunResult.from_json(row).attestation == seen


def test_rows_of_earlier_versions_are_read() -> None:
    row = {**RESULT.to_json(), "attestation": OLD_ROW}
    seen = RunResult.from_json(row).attestation
    assert seen == Attestation("reference:6.1", "reference", "6.1.7601", "x64", filters=("380000",))
    assert machine_facts(seen) == ()


def test_what_a_stand_in_calls_itself_is_no_product() -> None:
    stand_in = replace(MACHINE, kind="stand-in", product="Microsoft Windows 10")
    assert dict(machine_facts(stand_in))["calls itself"] == "Microsoft Windows 10"
    assert "product" not in dict(machine_facts(stand_in))
    assert dict(machine_facts(MACHINE))["product"] == "Windows 11 <Pro>"


def test_the_page_says_what_the_machine_was() -> None:
    page = render_page(Source(RUN, (RESULT,), Path("run")))
    for text in (
        "10.0.26100.2314",
        "Windows 11 &lt;Pro&gt;",
        "secure boot: off",
        "HVCI: on",
        "0x209bb",
        "wrong.sys",
        "+0.013 s",
        "accelerator: kvm",
    ):
        assert text in page, text


def test_a_guest_that_cannot_tell_is_not_said_to_be_off() -> None:
    untold = replace(RESULT, attestation=replace(MACHINE, test_signing=None))
    page = render_page(Source(RUN, (untold,), Path("run")))
    assert "<td>not known</td>" in page


def test_junit_has_it_as_properties() -> None:
    root = ElementTree.fromstring(render_junit(Matrix([RESULT]), RUN))
    properties = {item.get("name"): item.get("value") for item in root.iter("property")}
    assert properties["guest.build"] == "10.0.26100.2314"
    assert properties["guest.secure_boot"] == "off"
    assert properties["guest.channel"] == "serial"

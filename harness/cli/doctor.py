"""`harness doctor`: what is installed, what is missing, what works, and the command that mends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Final

import typer

from harness.cli.doctor_machines import examine_machines
from harness.cli.findings import Finding, State, extra, guarded, package
from harness.cli.output import AsJson, print_json, print_table, short_path

__all__ = ["Finding", "State", "doctor", "examine"]


_STYLES: Final = {State.OK: "green", State.MISSING: "bold yellow", State.UNUSABLE: "bold red"}
_PACKAGES: Final = (
    "numpy",
    "pefile",
    "dissect.cstruct",
    "cbor2",
    "cryptography",
    "jinja2",
    "junitparser",
    "pytest",
)
_BUILD: Final = "harness driver build && harness driver sign"
_EXTRAS: Final = {"unicorn": "reference", "pyelftools": "reference", "pytest-xdist": "dev"}


def doctor(
    as_json: AsJson = False,
    quick: Annotated[bool, typer.Option("--quick", help="Don't boot a guest.")] = False,
) -> None:
    """Tell what is installed and usable, and how to mend the rest.

    Exit code 1 when something needed is missing or doesn't work.

    Example: harness doctor --json
    """
    findings = tuple(examine(boot=not quick))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [{**asdict(finding), "state": finding.state.value} for finding in findings]
        styles = {state.value: style for state, style in _STYLES.items()}
        print_table(("what", "state", "detail"), rows, styles=styles)
        for line in _mends(findings):
            typer.echo(line)
    if any(finding.needed and finding.state is not State.OK for finding in findings):
        raise typer.Exit(1)


def _mends(findings: tuple[Finding, ...]) -> Iterator[str]:
    """Each command once, on a line of its own that can be copied at any width, with what it mends."""
    whats: dict[str, list[str]] = {}
    for finding in findings:
        if finding.state is not State.OK and finding.mend:
            whats.setdefault(finding.mend, []).append(finding.what)
    for mend, mended in whats.items():
        yield f"\n{', '.join(mended)}:\n    {mend}"


def examine(*, boot: bool = True) -> Iterator[Finding]:
    """Every finding, in the order in which one thing needs the other."""
    yield Finding("Python", State.OK, sys.version.split()[0])
    for name in _PACKAGES:
        yield package(name, "pip install regfilter-harness")
    for name, group in _EXTRAS.items():
        yield package(name, extra(group), needed=group == "reference")
    for arch in ("x64", "x86"):
        yield _compiler(arch)
    yield guarded("signing", _signing, "apt-get install osslsigncode", needed=True)
    for arch in ("x64", "x86"):
        yield guarded(f"probe driver, {arch}", partial(_probe_driver, arch), _BUILD, needed=True)
    if boot:
        yield guarded("reference guest", _reference_guest, extra("reference"), needed=True)
    yield from examine_machines(boot=boot)


def _compiler(arch: str) -> Finding:
    from harness.driver.toolchain import available_toolchains
    from harness.errors import HarnessError

    what = f"compiler, {arch}"
    package = {"x64": "gcc-mingw-w64-x86-64-win32", "x86": "gcc-mingw-w64-i686-win32"}[arch]
    try:
        found = available_toolchains(arch)
    except HarnessError as error:
        return Finding(what, State.UNUSABLE, str(error), f"apt-get install --reinstall {package}")
    if not found:
        return Finding(what, State.MISSING, "mingw-w64 or ziglang", f"apt-get install {package}")
    return Finding(what, State.OK, ", ".join(chain.identity for chain in found))


def _signing() -> Finding:
    from shutil import which

    from harness.driver import signing_certificate
    from harness.driver.build import build_directory

    tool = which("osslsigncode") or "the harness itself (no osslsigncode)"
    keys = build_directory() / "keys"
    if not keys.is_dir():
        return Finding("signing", State.OK, f"{tool}; the test certificate is made for the first driver")
    return Finding(
        "signing", State.OK, f"{tool}, test certificate {signing_certificate(keys).fingerprint[:16]}"
    )


def _probe_driver(arch: str) -> Finding:
    from harness.driver import verify_image
    from harness.driver.build import build_directory

    what = f"probe driver, {arch}"
    image = build_directory() / arch / "regprobe.sys"
    if not image.is_file():
        return Finding(what, State.MISSING, "not built yet", _BUILD, needed=False)
    report = verify_image(image)
    if not report.ok:
        return Finding(what, State.UNUSABLE, "; ".join(f"{c.name}: {c.why}" for c in report.failed), _BUILD)
    return Finding(what, State.OK, f"built and signed, {short_path(image)}")


def _reference_guest() -> Finding:
    from harness.guests import boot
    from harness.targets import DEFAULT_TARGET, parse_target

    with boot(parse_target(DEFAULT_TARGET)) as guest:
        info = guest.info
    return Finding(
        "reference guest", State.OK, f"boots Windows {info.version}, {info.arch} (a model, not Windows)"
    )

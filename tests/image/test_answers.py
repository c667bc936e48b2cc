"""Answer files: right for every version, checked against the documentation, and the checks can fail."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.guest.base import Arch
from harness.image.answer import AnswerFacts, AnswerFile, WinRmSetup
from harness.image.answer_schema import check_autounattend
from harness.image.answer_settings import COMPONENTS, PASSES
from harness.image.scripts import check_cmd
from harness.image.templates import render, shared_folder
from harness.machine.describe.spec import Firmware
from harness.registry.version import (
    VISTA_SP2,
    WIN7,
    WIN10_22H2,
    WIN11_24H2,
    WIN81,
    WS03,
    XP,
    WindowsVersion,
)

NS = "{urn:schemas-microsoft-com:unattend}"
PASSWORD = "Kp3-vT9_xQ"


def facts(version: WindowsVersion, **more: object) -> AnswerFacts:
    old = version < VISTA_SP2
    given: dict[str, object] = {
        "title": f"Windows {version}",
        "answer": AnswerFile.WINNT if old else AnswerFile.AUTOUNATTEND,
        "version": version,
        "arch": Arch.X86 if old else Arch.X64,
        "is_server": False,
        "firmware": Firmware.UEFI if version >= WIN10_22H2 else Firmware.BIOS,
        "password": PASSWORD,
        "image_index": 4,
        "product_key": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE" if old else "",
    }
    return AnswerFacts(**{**given, **more})  # type: ignore[arg-type]


#: Names of groups, accounts and power schemes that Windows translates.
ENGLISH = {
    "Administrators",
    "Administrators:F",
    "Administrator",
    "SYSTEM:F",
    "Everyone",
    "Users",
    "Home/Office",
}
NT6 = (VISTA_SP2, WIN7, WIN81, WIN10_22H2, WIN11_24H2)
ALL = (XP, WS03, *NT6)


@pytest.mark.parametrize("is_server", [False, True])
@pytest.mark.parametrize("version", NT6, ids=str)
def test_every_answer_file_is_as_documented(version: WindowsVersion, is_server: bool) -> None:
    text = render("autounattend.xml", facts(version, is_server=is_server))
    assert check_autounattend(text, "amd64", version) == ()


@pytest.mark.parametrize("version", ALL, ids=str)
def test_the_first_boot_script_holds_together(version: WindowsVersion) -> None:
    winrm = WinRmSetup("secret", "AB" * 20) if version >= WIN7 else None
    text = render("first-boot.cmd", facts(version, winrm=winrm, openssh=version >= WIN10_22H2))
    assert check_cmd(text) == ()
    assert "{{" not in text
    assert "HARNESS-STAGE" in text


def test_nt5_is_asked_for_nothing_it_has_not() -> None:
    text = render("first-boot.cmd", facts(XP))
    for newer in ("bcdedit", "certutil", "powershell", "winrm", "DedicatedDumpFile"):
        assert newer not in text, newer


@pytest.mark.parametrize("version", [WIN10_22H2, WIN11_24H2], ids=str)
def test_test_signing_is_left_alone_while_secure_boot_is_on(version: WindowsVersion) -> None:
    """bcdedit refuses it then, and the first boot would fail."""
    assert "testsigning on" in render("first-boot.cmd", facts(version))
    assert "testsigning on" not in render("first-boot.cmd", facts(version, firmware=Firmware.UEFI_SECURE))


def test_hosts_of_today_can_talk_to_winrm_of_every_version() -> None:
    """Windows 7 has TLS 1.2 and does not offer it until told; all later ones do."""
    winrm = WinRmSetup("secret", "AB" * 20)
    for version in (WIN7, WIN81, WIN10_22H2, WIN11_24H2):
        text = render("first-boot.cmd", facts(version, winrm=winrm))
        told = [line for line in text.splitlines() if r"SCHANNEL\Protocols\TLS 1.2\Server" in line]
        assert len(told) == (2 if version == WIN7 else 0), version


@pytest.mark.parametrize("version", ALL, ids=str)
def test_no_command_names_anything_in_the_systems_language(version: WindowsVersion) -> None:
    """Groups are "Administratoren" in German, power schemes "Heim/Büro": SIDs and numbers are the same."""
    winrm = WinRmSetup("secret", "AB" * 20) if version >= WIN7 else None
    script = render("first-boot.cmd", facts(version, winrm=winrm, openssh=version >= WIN10_22H2))
    for text in (script, *(file.read_text() for file in sorted(shared_folder().glob("*.ps1")))):
        for line in text.splitlines():
            if not line.startswith(("rem ", "#")):
                assert not ENGLISH & set(line.replace("'", " ").replace('"', " ").split()), line


def test_no_page_about_privacy_waits_for_the_user_who_logs_on_first() -> None:
    assert "DisablePrivacyExperience" in render("autounattend.xml", facts(WIN10_22H2))
    assert "DisablePrivacyExperience" not in render("autounattend.xml", facts(WIN81))


def test_the_disk_may_not_encrypt_itself_where_windows_would() -> None:
    assert "PreventDeviceEncryption" in render("autounattend.xml", facts(WIN11_24H2))
    assert "PreventDeviceEncryption" not in render("autounattend.xml", facts(WIN10_22H2))


def test_a_guests_local_time_is_utc_all_year() -> None:
    """The clock of its machine is in UTC; a zone that Vista does not know would stop its setup."""
    assert "<TimeZone>Greenwich Standard Time</TimeZone>" in render("autounattend.xml", facts(VISTA_SP2))
    assert "<TimeZone>UTC</TimeZone>" in render("autounattend.xml", facts(WIN7))
    assert "TimeZone=90\r\n" in render("winnt.sif", facts(XP))


def test_windows_without_powershell_is_asked_for_none() -> None:
    """It comes with Windows 7; Vista has it as a part that is not installed."""
    assert "powershell" not in render("first-boot.cmd", facts(VISTA_SP2))


def test_winrm_opens_after_everything_else_is_settled() -> None:
    text = render("first-boot.cmd", facts(WIN11_24H2, winrm=WinRmSetup("secret", "AB" * 20)))
    assert text.index("call :settled") < text.index("winrm create") < text.index("call :stage ready")


def test_without_a_key_there_is_no_key_element() -> None:
    """An empty one makes Setup of Windows 11 stop and ask."""
    tree = ElementTree.fromstring(render("autounattend.xml", facts(WIN11_24H2)))
    assert [node.tag for node in tree.iter() if node.tag == f"{NS}ProductKey"]
    assert not [node for node in tree.iter(f"{NS}Key") if node.text != "/IMAGE/INDEX"]
    given = render("autounattend.xml", facts(WIN11_24H2, product_key="AAAAA-BBBBB"))
    assert "<Key>AAAAA-BBBBB</Key>" in given


@pytest.mark.parametrize(
    ("version", "firmware", "types", "target"),
    [
        (VISTA_SP2, Firmware.BIOS, ["Primary"], 1),
        (WIN7, Firmware.BIOS, ["Primary", "Primary"], 2),
        (WIN11_24H2, Firmware.UEFI_SECURE, ["EFI", "MSR", "Primary"], 3),
    ],
)
def test_partitions_are_what_the_firmware_starts_from(
    version: WindowsVersion, firmware: Firmware, types: list[str], target: int
) -> None:
    tree = ElementTree.fromstring(render("autounattend.xml", facts(version, firmware=firmware)))
    assert [node.text for node in tree.iter(f"{NS}Type")] == types
    install = tree.find(f".//{NS}InstallTo/{NS}PartitionID")
    assert install is not None
    assert install.text == str(target)
    assert len(list(tree.iter(f"{NS}Active"))) == (1 if firmware is Firmware.BIOS else 0)


def test_the_image_is_chosen_by_index_and_never_by_name() -> None:
    text = render("autounattend.xml", facts(WIN10_22H2))
    assert "/IMAGE/INDEX" in text
    assert "<Value>4</Value>" in text
    assert "/IMAGE/NAME" not in text


def test_the_password_is_there_as_setup_reads_it_and_not_in_plain() -> None:
    text = render("autounattend.xml", facts(WIN10_22H2))
    assert PASSWORD not in text
    tree = ElementTree.fromstring(text)
    value = tree.find(f".//{NS}AutoLogon/{NS}Password/{NS}Value")
    assert value is not None
    assert base64.b64decode(value.text or "").decode("utf-16-le") == PASSWORD + "Password"


@pytest.mark.parametrize("bad", ['a"b', "a%b", "a'b", "grün", "a&b"])
def test_a_password_that_answer_files_cannot_quote_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        replace(facts(XP), password=bad)


def test_winnt_sif_ends_its_lines_as_setup_wants_them() -> None:
    text = render("winnt.sif", facts(XP))
    assert text.startswith(";")
    assert text.count("\n") == text.count("\r\n")
    assert 'MsDosInitiated="0"' in text
    assert "[LicenseFilePrintData]" not in text
    assert "[LicenseFilePrintData]" in render("winnt.sif", facts(WS03, is_server=True))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<TimeZone>UTC</TimeZone>", "<Timezone>UTC</Timezone>", "no element 'Timezone' is documented"),
        ("<TimeZone>UTC</TimeZone>", "<TimeZone></TimeZone>", "TimeZone is empty"),
        ('processorArchitecture="amd64"', 'processorArchitecture="x86"', "setup skips it without a word"),
        ('pass="specialize"', 'pass="specialise"', "there is no pass 'specialise'"),
        ('pass="windowsPE"', 'pass="generalize"', "no windowsPE pass"),
        ('"Microsoft-Windows-Deployment"', '"Microsoft-Windows-Deploy"', "not a documented one"),
        ('<Disk wcm:action="add">', "<Disk>", "Disk needs wcm:action"),
        ("</unattend>", "", "not well-formed XML"),
        ('publicKeyToken="31bf3856ad364e35"', 'publicKeyToken=""', "publicKeyToken=''"),
        ('pass="offlineServicing"', 'pass="generalize"', "EnableLUA is valid in offlineServicing, not in"),
        ("<ProtectYourPC>3</ProtectYourPC>", "", "OOBE: ProtectYourPC is missing"),
        ("<SystemLocale>en-US</SystemLocale>", "", "Core-WinPE: SystemLocale is missing"),
        (
            "<Extend>true</Extend>",
            "<Extend>true</Extend><Size>9</Size>",
            "Size and Extend exclude each other",
        ),
        ("<Order>2</Order>", "<Order>1</Order>", "an Order twice"),
        (">REGFILTER<", ">REGFILTER-HARNESS<", "ComputerName has 17 characters; 15 are possible"),
        ("<AcceptEula>true", "<AcceptEula>true</AcceptEula><AcceptEula>true", "AcceptEula twice"),
        ("<FullName>", "<WillReboot>Never</WillReboot><FullName>", "no element 'WillReboot' is documented"),
    ],
)
def test_each_mistake_in_an_answer_file_is_named(old: str, new: str, says: str) -> None:
    text = render("autounattend.xml", facts(WIN11_24H2))
    assert old in text
    assert any(says in found for found in check_autounattend(text.replace(old, new, 1), "amd64", WIN11_24H2))


@pytest.mark.parametrize(
    ("made_for", "checked_for", "says"),
    [
        (WIN11_24H2, WIN7, "HideOnlineAccountScreens: Windows 6.1 does not know it"),
        (WIN7, VISTA_SP2, "SPP-UX/SkipAutoActivation: Windows 6.0.6002 does not know it"),
        (VISTA_SP2, WIN81, "SLC-UX/SkipAutoActivation: Windows 6.3 does not know it"),
    ],
)
def test_what_another_version_has_is_a_mistake(
    made_for: WindowsVersion, checked_for: WindowsVersion, says: str
) -> None:
    text = render("autounattend.xml", facts(made_for))
    assert check_autounattend(text, "amd64", made_for) == ()
    assert any(says in found for found in check_autounattend(text, "amd64", checked_for))


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_every_setting_names_passes_that_there_are(name: str) -> None:
    for setting in COMPONENTS[name].values():
        assert setting.passes
        assert setting.passes <= PASSES


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("call :gone\r\n", "line 1 goes to :gone"),
        ("if x (\r\necho a\r\n", "a parenthesis is not closed"),
        (")\r\n", "line 1 closes a parenthesis"),
        ('echo "a\r\n', "odd number of quotes"),
        ("echo a\necho b\r\n", "without a carriage return"),
        ("echo grün\r\n", "beyond ASCII"),
        ("if errorlevel 1 goto :eof\r\n", "end with a negative code pass for sound"),
        ("echo " + "x" * 9000 + "\r\n", "cmd.exe takes 8191"),
    ],
)
def test_each_mistake_in_a_script_is_named(script: str, says: str) -> None:
    assert any(says in found for found in check_cmd(script))


@pytest.mark.parametrize("version", [XP, WS03])
def test_commands_of_ini_answer_files_hold_no_per_cent_sign(version: WindowsVersion) -> None:
    """Between two of them INI files name a string."""
    text = render("winnt.sif", facts(version))
    assert "%" not in text
    commands = [line for line in text.splitlines() if line.startswith("Command")]
    assert len(commands) == 7
    assert commands[0] == r'Command0="cmd /c if exist D:\harness\first-boot.cmd D:\harness\first-boot.cmd D:"'

"""Which Windows: a version that compares, and the documented differences as named questions.

Nothing else in the harness compares build numbers: a difference that matters has a name here and says
where it is documented.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from harness.errors import UsageError

__all__ = [
    "MODELLED",
    "VISTA",
    "VISTA_SP2",
    "WIN7",
    "WIN8",
    "WIN10",
    "WIN10_22H2",
    "WIN10_1607",
    "WIN10_1809",
    "WIN11",
    "WIN11_22H2",
    "WIN11_24H2",
    "WIN81",
    "WS03",
    "WS2022",
    "XP",
    "WindowsVersion",
    "architectures",
]

_TEXT = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class WindowsVersion:
    """A Windows version; ordered by major, minor, build, service pack."""

    major: int
    minor: int
    build: int
    service_pack: int = 0

    @staticmethod
    def parse(text: str) -> WindowsVersion:
        """Read "10.0.26100", "6.0.6002" or a short "6.1" (the build the harness models for it).

        Raises UsageError for anything else.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r} is not a Windows version; write it like 10.0.26100 or 6.1")
        major, minor = int(found[1]), int(found[2])
        if found[3] is None:
            short = _SHORT.get((major, minor))
            if short is None:
                raise UsageError(
                    f"Windows {text} needs a build number; say for example 10.0.26100 "
                    f"(modelled: {', '.join(map(str, MODELLED))})"
                )
            return short
        build = int(found[3])
        return WindowsVersion(major, minor, build, _SERVICE_PACKS.get((major, minor, build), 0))

    @property
    def triple(self) -> str:
        """The full number, "6.1.7601"."""
        return f"{self.major}.{self.minor}.{self.build}"

    @property
    def number(self) -> tuple[int, int, int]:
        """(major, minor, build), the form `since=` and `until=` of exports take."""
        return (self.major, self.minor, self.build)

    def __str__(self) -> str:
        """The shortest text that parses to this version again."""
        if _SHORT.get((self.major, self.minor)) == self:
            return f"{self.major}.{self.minor}"
        return self.triple

    # -- the callback contract ---------------------------------------------------------------------

    @property
    def callback_version(self) -> tuple[int, int]:
        """What CmGetCallbackVersion reports; (0, 0) where the routine does not exist (B-INF-18, B-VER-05)."""
        if self.major < 6:
            return (0, 0)
        return (1, 0) if (self.major, self.minor) == (6, 0) else (1, 1)

    @property
    def has_layering(self) -> bool:
        """CmRegisterCallbackEx and altitudes (B-REG-02, B-REG-28)."""
        return self.major >= 6

    @property
    def has_bypass(self) -> bool:
        """STATUS_CALLBACK_BYPASS from pre and post has its meaning (B-NOT-09, B-NOT-11)."""
        return self.major >= 6

    @property
    def has_context(self) -> bool:
        """CallContext, ObjectContext and CmSetCallbackObjectContext exist (B-REG-28, B-VER-11)."""
        return self.major >= 6

    @property
    def has_extended_create(self) -> bool:
        """Create and open arrive as the Ex classes 26..29 instead of 10..13 (B-VER-02, B-VER-03)."""
        return (self.major, self.minor) >= (5, 2)

    @property
    def has_create_v1(self) -> bool:
        """REG_CREATE_KEY_INFORMATION_V1 is delivered (B-VER-06)."""
        return (self.major, self.minor) >= (6, 1)

    @property
    def captures_input(self) -> bool:
        """All input buffers of user-mode requesters are captured (B-CAP-03, B-VER-08)."""
        return (self.major, self.minor) >= (6, 2)

    @property
    def has_load_key_v2(self) -> bool:
        """REG_LOAD_KEY_INFORMATION_V2 is delivered (B-HIV-06).

        Sources conflict: ns-wdm-reg_load_key_information_v2 gives Windows Server 2022 (build 20348) as the
        first version, tables derived from public PDBs have the type from Windows 10 2004 (build 19041).
        The page is followed, so 10.0.19041..19045 get the first layout.
        """
        return self.number >= (10, 0, 20348)

    @property
    def swallows_callback_exceptions(self) -> bool:
        """An exception in a callback is swallowed; from 1.1 it is bugcheck 0x135 (B-NOT-39, B-NOT-40).

        The pages speak of callback versions 1.0 and 1.1 only; before Vista nothing is said, and the
        exception is taken as unhandled there.
        """
        return self.callback_version == (1, 0)

    @property
    def status_override_after_lower_block_counts(self) -> bool:
        """A higher callback's post override counts after a lower one blocked or bypassed (B-LAY-09)."""
        return self.callback_version >= (1, 1)

    @property
    def nulls_failed_post_object(self) -> bool:
        """Object of a create/open post is NULL whenever Status is an error (B-LAY-10, B-OBJ-03)."""
        return self.callback_version >= (1, 1)

    @property
    def can_open_post_object(self) -> bool:
        """ObOpenObjectByPointer works on the object of a create/open post (B-OBJ-11, B-VER-10)."""
        return (self.major, self.minor) < (6, 3)

    # -- the configuration manager -----------------------------------------------------------------

    @property
    def has_app_hives(self) -> bool:
        """RegLoadAppKey exists (sdk regloadappkeya: minimum client Vista)."""
        return self.major >= 6

    @property
    def several_app_hives(self) -> bool:
        """One process may hold several application hives (B-APP-14)."""
        return (self.major, self.minor) >= (6, 2)

    @property
    def has_transactions(self) -> bool:
        """NtCreateKeyTransacted and NtOpenKeyTransacted exist (sdk regcreatekeytransacteda: Vista)."""
        return self.major >= 6

    @property
    def has_predefined_keys(self) -> bool:
        """Opening Perflib\\009 gives STATUS_PREDEFINED_HANDLE (B-OBJ-02, B-CRE-24).

        Reported to have gone in mid 2023 and serviced builds can't be told by number: taken as gone from
        22631 on, which came out after that.
        """
        return self.number < (10, 0, 22631)

    @property
    def shares_wow64_keys(self) -> bool:
        """Some redirected keys became shared: HKLM\\Software\\Classes (WinProg64/shared-registry-keys)."""
        return (self.major, self.minor) >= (6, 1)

    @property
    def refuses_both_views(self) -> bool:
        """KEY_WOW64_32KEY with KEY_WOW64_64KEY is an invalid parameter, undefined before (B-CRE-11)."""
        return (self.major, self.minor) >= (6, 1)

    @property
    def short_name_query_succeeds(self) -> bool:
        """A name query with a short buffer gives success instead of a mismatch from 17133 on (B-HIV-20)."""
        return self.number >= (10, 0, 17133)

    def enforces_signatures(self, architecture: str) -> bool:
        """Whether the kernel refuses drivers without a signature: x64 from Vista on, never x86."""
        return architecture == "x64" and self.major >= 6

    @property
    def checks_sha2(self) -> bool:
        """The kernel can check drivers' signatures of SHA-256 as it was installed: from Windows 8 on.

        Windows 7 and Server 2008 R2 learn it with KB3033929 (security advisory 3033929), or KB4474419 with
        KB4490628; Vista has no such update of its own. All of them check SHA-1.
        """
        return (self.major, self.minor) >= (6, 2)


XP: Final = WindowsVersion(5, 1, 2600, 3)
WS03: Final = WindowsVersion(5, 2, 3790, 2)
VISTA: Final = WindowsVersion(6, 0, 6000)
VISTA_SP2: Final = WindowsVersion(6, 0, 6002, 2)
WIN7: Final = WindowsVersion(6, 1, 7601, 1)
WIN8: Final = WindowsVersion(6, 2, 9200)
WIN81: Final = WindowsVersion(6, 3, 9600)
WIN10: Final = WindowsVersion(10, 0, 10240)
WIN10_1607: Final = WindowsVersion(10, 0, 14393)
WIN10_1809: Final = WindowsVersion(10, 0, 17763)
WIN10_22H2: Final = WindowsVersion(10, 0, 19045)
WS2022: Final = WindowsVersion(10, 0, 20348)
WIN11: Final = WindowsVersion(10, 0, 22000)
# Build 22631 is 23H2 by marketing name: 22H2 (22621) with an enablement package, one and the same kernel.
WIN11_22H2: Final = WindowsVersion(10, 0, 22631)
WIN11_24H2: Final = WindowsVersion(10, 0, 26100)

MODELLED: Final[tuple[WindowsVersion, ...]] = (
    XP,
    WS03,
    VISTA,
    VISTA_SP2,
    WIN7,
    WIN8,
    WIN81,
    WIN10,
    WIN10_1607,
    WIN10_1809,
    WIN10_22H2,
    WS2022,
    WIN11,
    WIN11_22H2,
    WIN11_24H2,
)

_SHORT: Final = {(version.major, version.minor): version for version in (XP, WS03, VISTA, WIN7, WIN8, WIN81)}
_SERVICE_PACKS: Final = {
    **{version.number: version.service_pack for version in MODELLED},
    (6, 0, 6001): 1,
}


def architectures(version: WindowsVersion) -> tuple[str, ...]:
    """For which of "x64" and "x86" such a Windows was released.

    5.1 is x86 only (Windows XP Professional x64 is 5.2); Server 2022 and Windows 11 are 64-bit only.
    """
    if (version.major, version.minor) <= (5, 1):
        return ("x86",)
    if version.number >= (10, 0, 20348):
        return ("x64",)
    return ("x64", "x86")

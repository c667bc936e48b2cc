"""Keys that setup takes for volume editions, as Microsoft publishes them: they install and do not activate.

Media for consumers and servers ask for a key where none is given, and an unattended setup then waits for
somebody. Which edition is licensed is its owner's affair; `--product-key-file` comes first.
Source: "KMS client activation and product keys" (windows-server/get-started/kms-client-activation-keys).
Nothing for Windows 7 and earlier, whose setup goes on without a key, and nothing for evaluations, which have
their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.image.wim import WimImage

__all__ = ["setup_key"]

#: EDITIONID -> builds from which on a key holds, the newest first.
_KEYS: Final[Mapping[str, tuple[tuple[int, str], ...]]] = {
    "Professional": ((10240, "W269N-WFGWX-YVC9B-4J6C9-T83GX"), (9600, "GCRJD-8NW9H-F2CDX-CCM8D-9D6T9")),
    "Education": ((10240, "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2"),),
    "Enterprise": ((10240, "NPPR9-FWDCX-D2C8J-H872K-2YT43"), (9600, "MHF9N-XY6XB-WVXMC-BTDCT-MKKG7")),
    "EnterpriseS": (
        (17763, "M7XTQ-FN8P6-TTKYV-9D4CC-J462D"),
        (14393, "DCPHK-NFMTC-H88MJ-PFHPY-QJ4BJ"),
        (10240, "WNMTR-4C88C-JK8YV-HQ7T2-76DF9"),
    ),
    "IoTEnterpriseS": ((26100, "KBN8V-HFGQ4-MGXVD-347P6-PDQGT"),),
    "ServerStandard": (
        (26100, "TVRH6-WHNXV-R9WG3-9XRFY-MY832"),
        (20348, "VDYBN-27WPP-V4HQT-9VMD4-VMK7H"),
        (17763, "N69G4-B89J2-4G8F4-WWYCC-J464C"),
        (14393, "WC2BQ-8NRM3-FDDYY-2BFGV-KHKQY"),
        (9600, "D2N9P-3P6X9-2R39C-7RTCD-MDVJX"),
    ),
    "ServerDatacenter": (
        (26100, "D764K-2NDRG-47T6Q-P8T8W-YP6DF"),
        (20348, "WX4NM-KYWYW-QJJR4-XV3QB-6VM33"),
        (17763, "WMDGN-G9PQG-XVVXX-R3X43-63DFG"),
        (14393, "CB7KF-BWN84-R7R2Y-793K2-8XDDG"),
        (9600, "W3GGN-FT8W3-Y4M27-J84CP-Q3VJ9"),
    ),
}


def setup_key(image: WimImage | None) -> str:
    """The key for an image of a medium; empty where none is published, or none is needed."""
    if image is None or image.is_evaluation:
        return ""
    keys = _KEYS.get(image.edition, ())
    return next((key for build, key in keys if image.build >= build), "")

"""The structures Authenticode puts into PKCS #7, and the constants around them.

Source: "Windows Authenticode Portable Executable Signature Format"; the page hash object after osslsigncode.
"""

from __future__ import annotations

from typing import Final

from asn1crypto import algos, core

__all__ = [
    "PAGE_HASHES",
    "PAGE_HASH_CLASS_ID",
    "SPC_INDIRECT_DATA",
    "SPC_PE_IMAGE_DATA",
    "WIN_CERT_REVISION_2",
    "WIN_CERT_TYPE_PKCS_SIGNED_DATA",
    "OctetStrings",
    "SpcAttribute",
    "SpcAttributes",
    "SpcIndirectData",
    "SpcLink",
    "SpcPeImageData",
    "SpcSerializedObject",
]

WIN_CERT_REVISION_2: Final = 0x0200
WIN_CERT_TYPE_PKCS_SIGNED_DATA: Final = 0x0002
SPC_INDIRECT_DATA: Final = "1.3.6.1.4.1.311.2.1.4"
SPC_PE_IMAGE_DATA: Final = "1.3.6.1.4.1.311.2.1.15"
#: Object identifiers of page hash tables and their algorithms.
PAGE_HASHES: Final = {"1.3.6.1.4.1.311.2.3.1": "sha1", "1.3.6.1.4.1.311.2.3.2": "sha256"}
PAGE_HASH_CLASS_ID: Final = bytes.fromhex("a6b586d5b4a12466ae05a217da8e60d6")


class SpcLink(core.Choice):  # type: ignore[misc]  # asn1crypto is untyped
    pass


class SpcSerializedObject(core.Sequence):  # type: ignore[misc]
    _fields = [("class_id", core.OctetString), ("serialized_data", core.OctetString)]  # noqa: RUF012


SpcLink._alternatives = [
    ("url", core.IA5String, {"implicit": 0}),
    ("moniker", SpcSerializedObject, {"implicit": 1}),
    ("file", core.Any, {"explicit": 2}),
]


class SpcPeImageData(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("flags", core.BitString, {"optional": True}),
        ("file", SpcLink, {"explicit": 0, "optional": True}),
    ]


class SpcAttribute(core.Sequence):  # type: ignore[misc]
    _fields = [("type", core.ObjectIdentifier), ("value", core.Any, {"optional": True})]  # noqa: RUF012


class SpcAttributes(core.SetOf):  # type: ignore[misc]
    _child_spec = SpcAttribute


class OctetStrings(core.SetOf):  # type: ignore[misc]
    _child_spec = core.OctetString


class SpcIndirectData(core.Sequence):  # type: ignore[misc]
    _fields = [("data", SpcAttribute), ("message_digest", algos.DigestInfo)]  # noqa: RUF012

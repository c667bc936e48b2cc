"""Install media are known by what is inside; the wrong one is refused with what was found and wanted."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.image.media import MediaError, MediaFamily, inspect_media
from harness.image.mediacheck import MediaWanted, choose_image
from harness.image.wim import WimFormatError, read_wim_images
from harness.image.wimlib import read_catalogue
from tests.image.discs import disc, edition, wim

WIN11 = MediaWanted(MediaFamily.NT6, "x64", (26100,), ("Enterprise", "EnterpriseEval"), "Client")


def nt6(tmp_path: Path, *images: dict[str, str], label: str = "CCCOMA_X64FRE_EN-US_DV9") -> Path:
    files = {"sources/install.wim": wim(*images), "efi/boot.dat": b"", "setup.exe": b""}
    return disc(tmp_path / "windows.iso", files, label=label)


def test_a_windows_medium_names_builds_and_editions(tmp_path: Path) -> None:
    facts = inspect_media(nt6(tmp_path, edition("Windows 11 Pro", 26100, edition_id="Professional")))
    assert (facts.family, facts.architectures) == (MediaFamily.NT6, ("x64",))
    assert facts.boots_uefi
    assert [(i.index, i.build, i.edition, i.language) for i in facts.images] == [
        (1, 26100, "Professional", "en-US")
    ]
    assert str(facts) == ("Windows build 26100 x64 (label 'CCCOMA_X64FRE_EN-US_DV9'; editions: Professional)")


def test_the_first_edition_wanted_that_is_there_is_chosen(tmp_path: Path) -> None:
    facts = inspect_media(
        nt6(
            tmp_path,
            edition("Pro", 26100, edition_id="Professional"),
            edition("Evaluation", 26100, edition_id="EnterpriseEval"),
            edition("Enterprise", 26100),
        )
    )
    image = choose_image(facts, WIN11)
    assert image is not None
    assert (image.index, image.name, image.is_evaluation) == (3, "Enterprise", False)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (edition("11 23H2", 22631), "found Windows build 22631 x64"),
        (edition("11 24H2", 26100, arch="12"), "found Windows build 26100 arm64"),
        (edition("Home", 26100, edition_id="Core"), "it has the editions Core"),
        (edition("Server", 26100, edition_id="Enterprise", kind="Server"), "found Windows build 26100 x64"),
    ],
)
def test_another_build_architecture_or_edition_is_refused(
    tmp_path: Path, image: dict[str, str], found: str
) -> None:
    with pytest.raises(MediaError) as refused:
        choose_image(inspect_media(nt6(tmp_path, image)), WIN11)
    assert found in str(refused.value)
    assert "wanted Windows build 26100 x64, Client" in str(refused.value)


@pytest.mark.parametrize(
    ("files", "family", "arch", "pack"),
    [
        ({"WIN51": b"", "WIN51IP": b"", "WIN51IP.SP3": b"", "I386/TXTSETUP.SIF": b""}, "xp", "x86", 3),
        ({"WIN51": b"", "WIN51IS": b"", "I386/TXTSETUP.SIF": b""}, "server-2003", "x86", 0),
        ({"WIN51AP": b"", "AMD64/TXTSETUP.SIF": b"", "I386/A": b""}, "xp-x64", "x64", 0),
        ({"REACTOS/TXTSETUP.SIF": b""}, "reactos", "x86", 0),
    ],
)
def test_older_media_are_known_by_their_tag_files(
    tmp_path: Path, files: dict[str, bytes], family: str, arch: str, pack: int
) -> None:
    facts = inspect_media(disc(tmp_path / "old.iso", files, udf=False))
    assert (facts.family, facts.architectures, facts.service_pack) == (family, (arch,), pack)


def test_a_missing_service_pack_is_named(tmp_path: Path) -> None:
    facts = inspect_media(disc(tmp_path / "xp.iso", {"WIN51IP.SP2": b"", "I386/A": b""}, udf=False))
    with pytest.raises(MediaError, match=r"it has service pack 2; wanted xp SP3 x86"):
        choose_image(facts, MediaWanted(MediaFamily.XP, "x86", service_pack=3))


@pytest.mark.parametrize(("tag", "fits"), [("WIN51IS.SP1", False), ("WIN51IS.SP2", True), ("WIN51IS", True)])
def test_server_2003_with_the_first_service_pack_is_refused_where_it_is_told(
    tmp_path: Path, tag: str, fits: bool
) -> None:
    """An hour later its runner would say so; whether every disc with the second one tells it is not known."""
    files = {"WIN51": b"", "WIN51IS": b"", tag: b"", "I386/TXTSETUP.SIF": b""}
    facts = inspect_media(disc(tmp_path / "2003.iso", files, udf=False))
    wanted = MediaWanted(MediaFamily.SERVER_2003, "x86", service_pack=2)
    if fits:
        assert choose_image(facts, wanted) is None
    else:
        with pytest.raises(MediaError, match=r"it has service pack 1; wanted server-2003 SP2 x86"):
            choose_image(facts, wanted)


def test_tag_files_alone_are_no_windows(tmp_path: Path) -> None:
    facts = inspect_media(disc(tmp_path / "tags.iso", {"WIN51IP": b""}, udf=False))
    assert facts.family is MediaFamily.UNKNOWN


def test_any_other_disc_says_what_is_on_it(tmp_path: Path) -> None:
    facts = inspect_media(disc(tmp_path / "music.iso", {"track01.cda": b""}, label="MUSIC"))
    with pytest.raises(MediaError, match=r"no Windows or ReactOS medium \(label 'MUSIC'.*track01"):
        choose_image(facts, WIN11)


def test_what_is_no_disc_is_refused(tmp_path: Path) -> None:
    half = tmp_path / "half.iso"
    half.write_bytes(b"\0" * 70_000)
    with pytest.raises(MediaError, match="not a readable disc image"):
        inspect_media(half)
    with pytest.raises(MediaError, match="there is no such file"):
        inspect_media(tmp_path / "missing.iso")


@pytest.mark.parametrize(
    ("udf", "says"),
    [(True, "a complete download of an .iso is wanted"), (False, "not complete: found {:,} bytes, wanted")],
    ids=["UDF, which has more at its end", "ISO 9660"],
)
def test_a_download_that_was_cut_is_refused(tmp_path: Path, udf: bool, says: str) -> None:
    path = disc(tmp_path / "w.iso", {"a": b"x" * (2 << 20)}, udf=udf, label="CUT")
    inspect_media(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size - (1 << 20))
    with pytest.raises(MediaError, match=re.escape(says.format(size - (1 << 20)))):
        inspect_media(path)


def wimlib() -> None:
    if shutil.which("wimlib-imagex") is None:
        pytest.skip("wimlib-imagex is not installed (package wimtools)")


def test_wimlib_and_the_harness_must_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = wim(edition("Windows", 26100))
    monkeypatch.setattr("harness.image.wim.read_catalogue", lambda file, size: b"\xff\xfe<\0")
    with pytest.raises(WimFormatError, match="wimlib reads another catalogue"):
        read_wim_images(io.BytesIO(raw), len(raw))
    monkeypatch.setattr("harness.image.wim.read_catalogue", lambda file, size: None)  # not installed
    assert read_wim_images(io.BytesIO(raw), len(raw))[0].build == 26100


def test_wimlib_reads_in_place_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """The medium has more than the WIM; of that no more than header, table and catalogue are copied."""
    wimlib()
    raw = wim(edition("Windows", 26100))
    catalogue = read_catalogue(io.BytesIO(raw), len(raw))
    assert catalogue is not None
    assert "Windows" in catalogue.decode("utf-16")
    version = raw[:12] + b"\xff\xff\xff\xff" + raw[16:]
    with pytest.raises(WimFormatError, match=r"wimlib can't read it: .*(version|format)"):
        read_wim_images(io.BytesIO(version), len(version))
    table = raw[:48] + (1 << 40).to_bytes(7, "little") + raw[55:]
    with pytest.raises(WimFormatError, match="lie outside the file"):
        read_wim_images(io.BytesIO(table), len(table))


def test_a_wim_as_wimlib_makes_it_is_read(tmp_path: Path) -> None:
    """The format as another implementation writes it, solid .esd included."""
    wimlib()
    tool = "wimlib-imagex"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"content" * 1000)
    for name, options in (("install.wim", []), ("install.esd", ["--solid"])):
        properties = ["WINDOWS/ARCH=0", "WINDOWS/EDITIONID=Ultimate", "WINDOWS/VERSION/BUILD=7601"]
        subprocess.run(
            [tool, "capture", "tree", name, "Windows 7 ULTIMATE", *options]
            + [f"--image-property={each}" for each in properties],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        raw = (tmp_path / name).read_bytes()
        (image,) = read_wim_images(io.BytesIO(raw), len(raw))
        assert (image.name, image.arch, image.edition, image.build) == (
            "Windows 7 ULTIMATE",
            "x86",
            "Ultimate",
            7601,
        )


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no WIM header"),
        (wim(edition("x", 1), declared=1 << 40), "lies outside the file"),
        (wim(edition("x", 1), declared=0), "lies outside the file"),
        (wim(), "names 0 images"),
        (wim(edition("x", 1), head='<!DOCTYPE a [<!ENTITY b "c">]>'), "document type declaration"),
        (wim(edition("x", 1), head="<"), "its catalogue can.t be read"),
    ],
)
def test_a_damaged_catalogue_is_named(raw: bytes, why: str) -> None:
    with pytest.raises(WimFormatError, match=why):
        read_wim_images(io.BytesIO(raw), len(raw))


@given(st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_no_damage_brings_the_reader_down(at: int, junk: bytes) -> None:
    whole = bytearray(wim(edition("Windows", 26100)))
    whole[at : at + len(junk)] = junk
    try:
        images = read_wim_images(io.BytesIO(bytes(whole)), len(whole))
    except WimFormatError:
        return
    assert images  # damage outside what was read


def test_the_service_pack_of_a_later_system_is_its_images(tmp_path: Path) -> None:
    wanted = MediaWanted(MediaFamily.NT6, "x64", (7601,), ("Ultimate",), "Client", service_pack=1)
    image = edition("Ultimate", 7601, edition_id="Ultimate")
    old = disc(tmp_path / "old.iso", {"sources/install.wim": wim(image)})
    with pytest.raises(MediaError, match="its images have service pack 0"):
        choose_image(inspect_media(old), wanted)
    new = disc(tmp_path / "new.iso", {"sources/install.wim": wim({**image, "WINDOWS/VERSION/SPLEVEL": "1"})})
    chosen = choose_image(inspect_media(new), wanted)
    assert chosen is not None
    assert chosen.service_pack == 1

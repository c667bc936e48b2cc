"""Build a driver or a program: sources to a reproducible image, once per content.

Everything that can change the output (sources, headers, flags, compiler) is hashed; the product of a
hash is kept under ``build/cache`` and copied to ``build/<arch>/`` only when something else is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.driver.image import finish_image
from harness.driver.linking import definition_for
from harness.driver.spec import DriverSpec, ImageSpec, check_arch, driver_spec, find_project_root
from harness.driver.symbols import record_symbols, remember_symbols
from harness.driver.toolchain import Toolchain, find_toolchain
from harness.errors import HarnessError, UsageError

__all__ = [
    "BuildFailedError",
    "BuildResult",
    "build_directory",
    "build_driver",
    "build_image",
    "build_lock",
    "write_atomically",
]

#: Raise when this module changes what it makes of the same sources.
_RECIPE: Final = 2


class BuildFailedError(HarnessError):
    """The compiler or linker refused; the message carries its output."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """One built image.

    `image` is the product (``build/x64/regprobe.sys``), as linked until `sign_driver` signs a driver in
    place. `unsigned` is the linked image in the cache, `debug` the same image with its DWARF. `rebuilt` is
    false when nothing had changed.
    """

    name: str
    arch: str
    image: Path
    unsigned: Path
    debug: Path
    key: str
    toolchain: str
    rebuilt: bool


def build_directory(root: Path | None = None) -> Path:
    """Where build products go: ``build/`` of the checkout, or of the working directory outside of one."""
    if root is not None:
        return root / "build"
    try:
        return find_project_root() / "build"
    except UsageError:
        return Path.cwd() / "build"


@contextmanager
def build_lock(directory: Path) -> Iterator[None]:
    """Held while something below `directory` is made, so that parallel test processes make it once."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # closing the file releases the lock


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` in one step: a reader sees the old bytes or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def build_driver(
    source: DriverSpec | Path | str,
    arch: str,
    *,
    toolchain: Toolchain | None = None,
    output: Path | None = None,
) -> BuildResult:
    """Build the driver in `source` (a spec, a folder or one C file) for ``"x64"`` or ``"x86"``.

    Products go to ``<output>/<arch>/``; `output` is the checkout's ``build/`` by default. Raises
    `UsageError` for a source that is no driver, `ToolMissingError` without a compiler and
    `BuildFailedError` with the compiler's words.
    """
    spec = source if isinstance(source, DriverSpec) else driver_spec(Path(source))
    return build_image(spec, arch, toolchain=toolchain, output=output)


def build_image(
    spec: ImageSpec, arch: str, *, toolchain: Toolchain | None = None, output: Path | None = None
) -> BuildResult:
    """Build what `spec` describes; see `build_driver` for products and errors."""
    arch = check_arch(arch)
    if arch not in spec.architectures:
        raise UsageError(f"{spec.name} is built for {', '.join(spec.architectures)} only")
    chain = toolchain if toolchain is not None else find_toolchain(arch)
    directory = output if output is not None else build_directory()
    key = _cache_key(spec, arch, chain)
    cache = directory / "cache" / key[:32]
    unsigned, debug = cache / f"{spec.name}{spec.product}", cache / f"{spec.name}.debug"
    with build_lock(directory):
        rebuilt = not (unsigned.is_file() and debug.is_file())
        if rebuilt:
            _compile(spec, arch, chain, unsigned, debug)
            content = unsigned.read_bytes()
            record_symbols(content, debug, directory)
            remember_symbols(content, debug)
        image = directory / arch / f"{spec.name}{spec.product}"
        _install(image, unsigned, debug, key)
    return BuildResult(
        name=spec.name,
        arch=arch,
        image=image,
        unsigned=unsigned,
        debug=image.with_suffix(".debug"),
        key=key,
        toolchain=str(chain),
        rebuilt=rebuilt,
    )


def _cache_key(spec: ImageSpec, arch: str, chain: Toolchain) -> str:
    digest = hashlib.sha256()
    template = chain.compile_command(Path("s"), Path("o/o"), product=spec.product, include=(), root=Path("r"))
    link = chain.link_commands(
        [Path("o")],
        Path("i/i"),
        Path("i/d"),
        product=spec.product,
        since=spec.since,
        definitions=[Path(path.name) for path in spec.definitions],
    )
    parts: list[object] = [
        _RECIPE,
        spec.name,
        arch,
        chain.identity,
        template[1:],
        [line[1:] for line in link],
    ]
    digest.update(json.dumps(parts).encode())
    for path in (*spec.inputs(arch), *spec.headers(), *spec.definitions):
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _compile(spec: ImageSpec, arch: str, chain: Toolchain, unsigned: Path, debug: Path) -> None:
    root = os.path.commonpath([path.resolve() for path in (*spec.include, *spec.inputs(arch))])
    with tempfile.TemporaryDirectory(prefix="harness-build-") as work:
        folder = Path(work)
        objects = [folder / f"{index}_{source.stem}.o" for index, source in enumerate(spec.inputs(arch))]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            compiled = [
                pool.submit(
                    _run,
                    chain.compile_command(
                        source, target, product=spec.product, include=spec.include, root=Path(root)
                    ),
                    folder,
                    spec.name,
                )
                for source, target in zip(spec.inputs(arch), objects, strict=True)
            ]
        for job in compiled:
            job.result()
        linkable = [Path(target.name) for target in objects]
        definitions = [Path(path.name) for path in spec.definitions]
        for source, target in zip(spec.definitions, definitions, strict=True):
            (folder / target).write_text(definition_for(arch, source.read_text(encoding="utf-8")))
        linked, symbols = Path(f"image{spec.product}"), Path("image.debug")
        commands = chain.link_commands(
            linkable, linked, symbols, product=spec.product, since=spec.since, definitions=definitions
        )
        for command in commands:
            _run(command, folder, spec.name)
        write_atomically(debug, (folder / symbols).read_bytes())
        write_atomically(unsigned, finish_image((folder / linked).read_bytes()))


def _run(command: list[str], folder: Path, name: str) -> None:
    # A fixed locale and no dates from outside: the output must depend on the inputs alone.
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    environment["TMPDIR"] = str(folder)  # gcc leaves empty files behind
    for variable in ("HOME", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR"):
        if variable in os.environ:
            environment[variable] = os.environ[variable]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailedError(f"building {name} failed: {' '.join(command)}\n{done.stdout}{done.stderr}")


def _install(image: Path, unsigned: Path, debug: Path, key: str) -> None:
    """Put the product in place unless it is there, signed or not."""
    manifest = image.with_suffix(".json")
    if image.is_file() and image.with_suffix(".debug").is_file() and _manifest_key(manifest) == key:
        return
    manifest.unlink(missing_ok=True)
    write_atomically(image, unsigned.read_bytes())
    shutil.copyfile(debug, image.with_suffix(".debug"))
    write_atomically(manifest, json.dumps({"key": key}).encode())


def _manifest_key(manifest: Path) -> str:
    try:
        loaded = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(loaded.get("key", "")) if isinstance(loaded, dict) else ""

"""The runner's requests as typed calls; the same over every channel.

`RunnerClient` speaks driver-src/abi/regrun.h over whatever carries a request: a `Link` or a `Channel`.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from harness.channel.abi import constant
from harness.channel.answers import (
    ClockChange,
    CrashKind,
    FileDigest,
    Hello,
    OpenedDevice,
    ProgramState,
    ServiceCaller,
    ServiceOutcome,
    ServiceState,
    read_hello,
)
from harness.channel.base import Progress
from harness.channel.deadline import Deadline
from harness.channel.environment import Environment
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError, RunnerError
from harness.channel.frames import RequestType
from harness.channel.holdings import (
    OpenKeys,
    PoolTag,
    VerifiedDriver,
    read_open_keys,
    read_pool_tags,
    read_verified,
)
from harness.channel.replies import U64, Reply, pack
from harness.channel.sources import open_source
from harness.errors import UsageError
from harness.guest.base import ExecResult, IoctlResult
from harness.registry.paths import RegistryPath
from harness.workload.codec import decode_result, encode_program
from harness.workload.fields import MAX_OPERATIONS
from harness.workload.program import Program
from harness.workload.result import ProgramResult

__all__ = ["MAX_OUTPUT", "NO_HOLD", "Requester", "RunnerClient"]

#: Bytes kept of each output stream of a command, everywhere.
MAX_OUTPUT: Final = constant("REGRUN_MAX_OUTPUT")
#: What `RunnerClient.hold` lets a program go on to its end with.
NO_HOLD: Final = constant("REGRUN_NO_HOLD")
_MAX_CHUNK: Final = constant("REGRUN_MAX_CHUNK")
_MAX_IO: Final = constant("REGRUN_MAX_IO")
_MAX_TEXT: Final = constant("REGRUN_MAX_TEXT")
#: Time for the answer to arrive after the runner ended a command at its own time-out.
_GRACE: Final = 60.0


class Requester(Protocol):
    """Whatever carries a request to a runner and brings back the reply's payload."""

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes: ...


class RunnerClient:
    """Typed calls to the runner behind `requester`. Time-outs are in seconds.

    Every call may raise what the requester raises (`RunnerError`, `ChannelTimeoutError`,
    `ChannelClosedError`), and `ChannelError` for a reply that is malformed or out of bounds.
    """

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    # -- who and where --------------------------------------------------------------------------------------

    def hello(self, *, timeout: float = 60.0) -> Hello:
        """Who answers. Raises `ChannelError` naming both versions when they can't work together."""
        return read_hello(self._requester.request(RequestType.HELLO, pack({}), timeout=timeout))

    def environment(self, *, timeout: float = 60.0) -> Environment:
        """What the guest says about its system; unknown is None."""
        return Environment.read(self._ask(RequestType.ENVIRONMENT, timeout))

    def run(self, program: Program, *, timeout: float = 300.0) -> ProgramResult:
        """Execute a workload in one round trip."""
        payload = self._requester.request(RequestType.RUN, encode_program(program), timeout=timeout)
        return decode_result(payload, program)

    def hold(
        self, before: int | None = None, *, statuses: bool = False, timeout: float = 60.0
    ) -> ProgramState:
        """Let the program that runs, or the next one, go as far as before an operation; how far it is.

        `before` None only asks, `NO_HOLD` lets it go on to its end. May be called while another thread is in
        `run`. Raises `RunnerError` where the runner is older than this, or reached by files (WinRM).
        """
        reply = self._ask(RequestType.HOLD, timeout, before=before, statuses=statuses or None)
        operation = reply.integer("operation", most=MAX_OPERATIONS)
        codes = reply.bytes("statuses", most=4 * MAX_OPERATIONS)
        if len(codes) not in (0, 4 * operation):
            raise ChannelError(f"the runner tells {len(codes)} bytes of statuses of {operation} operations")
        return ProgramState(
            reply.boolean("running"),
            reply.boolean("held"),
            operation,
            struct.unpack(f"<{len(codes) // 4}I", codes),
        )

    # -- files ----------------------------------------------------------------------------------------------

    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        """Store a file, replacing one that is there; missing folders are made, size and digest checked."""
        deadline = Deadline.after(timeout)
        digest = hashlib.sha256()
        sent = 0
        with open_source(source) as (stream, size):
            while True:
                chunk = stream.read(_MAX_CHUNK)
                if not chunk and sent:
                    break
                digest.update(chunk)
                # Cutting the file at the end of the first piece is what replaces an older, longer one.
                reply = self._ask(
                    RequestType.FILE_PUT, deadline.left, path=path, offset=sent, data=chunk, truncate=not sent
                )
                sent += len(chunk)
                stored = reply.integer("size", most=U64)
                if stored != sent:
                    raise ChannelError(f"{path} in the guest has {stored} bytes after {sent} were written")
                if progress is not None:
                    progress(sent, size)
                if not chunk:
                    break
        self._compare(path, FileDigest(sent, digest.digest()), deadline.left)

    def check(self, path: str, source: bytes | Path, *, timeout: float = 300.0) -> None:
        """Compare a file of the guest with what was sent. Raises `ChannelError` when it is another."""
        with open_source(source) as (stream, size):
            sent = FileDigest(size, hashlib.file_digest(stream, "sha256").digest())
        self._compare(path, sent, timeout)

    def _compare(self, path: str, sent: FileDigest, timeout: float) -> None:
        found = self.digest(path, timeout=timeout)
        if found != sent:
            raise ChannelError(
                f"{path} in the guest is not what was sent ({found.size} bytes with SHA-256 "
                f"{found.sha256.hex()}, sent were {sent.size} with {sent.sha256.hex()}); does something "
                "write it?"
            )

    def get(
        self, path: str, *, limit: int = 1 << 30, timeout: float = 600.0, progress: Progress | None = None
    ) -> bytes:
        """Read a file of at most `limit` bytes; its digest is checked."""
        deadline = Deadline.after(timeout)
        content = bytearray()
        while True:
            length = min(_MAX_CHUNK, limit + 1 - len(content))
            reply = self._ask(
                RequestType.FILE_GET, deadline.left, path=path, offset=len(content), length=length
            )
            size = reply.integer("size", most=U64)
            data = reply.bytes("data", most=length)
            if size > limit:
                raise ChannelError(f"{path} in the guest has {size} bytes; the limit is {limit}")
            content += data
            if progress is not None:
                progress(len(content), size)
            if len(content) == size:
                break
            if len(data) < length or len(content) > size:
                raise ChannelError(
                    f"{path} in the guest ends after {len(content)} of {size} bytes; something is writing it"
                )
        found = self.digest(path, timeout=deadline.left)
        if found != FileDigest(len(content), hashlib.sha256(content).digest()):
            raise ChannelError(f"{path} in the guest changed while it was read; try when nothing writes it")
        return bytes(content)

    def delete(self, path: str, *, timeout: float = 60.0) -> None:
        """Delete a file. Raises `RunnerError` when there is none."""
        self._ask(RequestType.FILE_DELETE, timeout, path=path)

    def digest(self, path: str, *, timeout: float = 300.0) -> FileDigest:
        """Size and SHA-256 of a file."""
        reply = self._ask(RequestType.FILE_DIGEST, timeout, path=path)
        digest = reply.bytes("sha256", most=32)
        if len(digest) != 32:
            raise ChannelError(f"the runner's SHA-256 of {path} has {len(digest)} bytes, not 32")
        return FileDigest(reply.integer("size", most=U64), digest)

    # -- commands -------------------------------------------------------------------------------------------

    def execute(
        self,
        command: Sequence[str] | str,
        *,
        timeout: float = 60.0,
        input: bytes = b"",
        folder: str | None = None,
        max_output: int = MAX_OUTPUT,
    ) -> ExecResult:
        """Run a command to its end: arguments, quoted by the rules of the C runtime, or a command line.

        Raises `ChannelTimeoutError` when it has not ended in time; the whole tree of its processes is ended
        then. Raises `ChannelError` when it wrote more than `max_output` bytes to one stream.
        """
        line = command if isinstance(command, str) else subprocess.list2cmdline(command)
        reply = self._ask(
            RequestType.EXECUTE,
            timeout + _GRACE,
            command_line=line,
            timeout_ms=max(1, round(timeout * 1000)),
            input=input or None,
            folder=folder,
            max_output=max_output,
        )
        if reply.boolean("timed_out"):
            raise ChannelTimeoutError(f"the guest's command {line[:200]!r} did not end within {timeout:g} s")
        if reply.boolean("cancelled"):
            raise ChannelError(f"the guest's command {line[:200]!r} was cancelled")
        for name in ("stdout", "stderr"):
            if lost := reply.integer(f"{name}_lost", most=U64):
                raise ChannelError(
                    f"the guest's command {line[:200]!r} wrote {lost} bytes more to {name} than the "
                    f"{max_output} that are kept; let it write to a file and get that"
                )
        return ExecResult(
            reply.integer("exit_code"),
            reply.bytes("stdout", most=max_output),
            reply.bytes("stderr", most=max_output),
        )

    # -- drivers --------------------------------------------------------------------------------------------

    def create_service(
        self,
        name: str,
        path: str,
        parameters: Mapping[str, int | str | bytes] | None = None,
        *,
        file_system: bool = False,
        group: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Create a kernel driver's service, demand start, for the image at `path` (a DOS path).

        `group` is its load order group. Older runners refuse `file_system` and `group`.
        """
        self._ask(
            RequestType.SERVICE_CREATE,
            timeout,
            name=name,
            path=path,
            parameters=dict(parameters or {}) or None,
            file_system=True if file_system else None,
            group=group,
        )

    def set_service_values(
        self, name: str, key: str, values: Mapping[str, int | str | bytes], *, timeout: float = 60.0
    ) -> None:
        """Write values of a key below the service's key (``Instances``); it is made where it is missing."""
        self._ask(RequestType.SERVICE_VALUES, timeout, name=name, key=key, values=dict(values))

    def start_service(self, name: str, *, timeout: float = 120.0) -> ServiceOutcome:
        return self._service(RequestType.SERVICE_START, name, timeout)

    def stop_service(self, name: str, *, timeout: float = 120.0) -> ServiceOutcome:
        return self._service(RequestType.SERVICE_STOP, name, timeout)

    def delete_service(self, name: str, *, timeout: float = 60.0) -> None:
        self._ask(RequestType.SERVICE_DELETE, timeout, name=name)

    def query_service(self, name: str, *, timeout: float = 60.0) -> ServiceState | None:
        """The state of a service; None when there is none."""
        reply = self._ask(RequestType.SERVICE_QUERY, timeout, name=name)
        if not reply.boolean("exists"):
            return None
        return ServiceState(reply.integer("state", least=min(ServiceState), most=max(ServiceState)))

    def _service(self, type: RequestType, name: str, timeout: float) -> ServiceOutcome:
        reply = self._ask(type, timeout, name=name)
        outcome = ServiceOutcome(
            reply.integer_or_none("status"), reply.integer_or_none("win32"), reply.choice("by", ServiceCaller)
        )
        if outcome.status is None and outcome.win32 is None:
            raise ChannelError(f"the reply to {type.name} of {name} has neither a status nor a Win32 error")
        return outcome

    # -- devices --------------------------------------------------------------------------------------------

    def open_device(self, device: str, *, timeout: float = 60.0) -> OpenedDevice:
        """Open ``\\\\.\\Name`` for several requests."""
        reply = self._ask(RequestType.DEVICE_OPEN, timeout, device=device)
        opened = OpenedDevice(reply.integer("status"), reply.integer("handle"))
        if (opened.handle == 0) is not _is_failure(opened.status):
            raise ChannelError(
                f"the runner opened {device} as handle {opened.handle} with status {opened.status:#010x}"
            )
        return opened

    def control_device(
        self, device: str | int, code: int, data: bytes = b"", *, output: int = 0, timeout: float = 60.0
    ) -> IoctlResult:
        """One DeviceIoControl on an open handle, or on a device opened for it alone.

        `output` is the size of the buffer for what comes back.
        """
        if output > _MAX_IO or len(data) > _MAX_IO:
            raise UsageError(f"a device request moves {_MAX_IO} bytes at most each way")
        reply = self._ask(
            RequestType.DEVICE_CONTROL, timeout, **_device(device), code=code, data=data, output=output
        )
        return _io(reply, output)

    def read_device(self, device: str | int, length: int, *, timeout: float = 60.0) -> IoctlResult:
        if length > _MAX_IO:
            raise UsageError(f"a device request moves {_MAX_IO} bytes at most")
        return _io(self._ask(RequestType.DEVICE_READ, timeout, **_device(device), length=length), length)

    def write_device(self, device: str | int, data: bytes, *, timeout: float = 60.0) -> IoctlResult:
        if len(data) > _MAX_IO:
            raise UsageError(f"a device request moves {_MAX_IO} bytes at most")
        return _io(self._ask(RequestType.DEVICE_WRITE, timeout, **_device(device), data=data), 0)

    def close_device(self, handle: int, *, timeout: float = 60.0) -> None:
        self._ask(RequestType.DEVICE_CLOSE, timeout, handle=handle)

    # -- what drivers hold ----------------------------------------------------------------------------------

    def pool_tags(self, tags: Collection[bytes], *, timeout: float = 60.0) -> tuple[PoolTag, ...]:
        """What is held with each of `tags`, at most `MAX_TAGS`; without those never used since the boot.

        These three raise `RunnerError` where the system or its runner can't tell; the message says why.
        """
        reply = self._ask(RequestType.POOL_TAGS, timeout, tags=b"".join(tags))
        return read_pool_tags(reply, tags)

    def verified_drivers(self, *, timeout: float = 60.0) -> tuple[VerifiedDriver, ...]:
        """What drivers under Driver Verifier hold."""
        return read_verified(self._ask(RequestType.POOL_VERIFIED, timeout))

    def open_keys(self, key: RegistryPath, *, timeout: float = 60.0) -> OpenKeys:
        """Who has `key` or keys below it open. Deleted keys are not told, even when they are open."""
        return read_open_keys(self._ask(RequestType.OPEN_KEYS, timeout, key=str(key)))

    # -- the machine ----------------------------------------------------------------------------------------

    def set_clock(self, unix_us: int, *, timeout: float = 60.0) -> ClockChange:
        """Set the guest's clock, in microseconds since 1970 UTC."""
        reply = self._ask(RequestType.CLOCK_SET, timeout, unix_us=unix_us)
        return ClockChange(reply.integer("previous_unix_us", most=U64), reply.integer("unix_us", most=U64))

    def crash(self, how: CrashKind, *, code: int | None = None, timeout: float = 10.0) -> None:
        """Bring the guest down on purpose. Raises `RunnerError` when it can't.

        Success has no answer: this returns when the channel ends or `timeout` passes, or raises what a
        watcher saw.
        """
        try:
            self._ask(RequestType.CRASH, timeout, how=how.value, code=code)
        except (ChannelTimeoutError, ChannelClosedError):
            return
        raise ChannelError(f"the guest answered to {how.value} and goes on; it can't be crashed that way")

    def shutdown(self, *, reboot: bool = False, force: bool = True, timeout: float = 60.0) -> None:
        """Ask the system to shut down; returns when it has begun."""
        self._ask(RequestType.SHUTDOWN, timeout, reboot=reboot, force=force)

    def quiesce(self, *, timeout: float = 120.0) -> None:
        """Flush files and the registry; afterwards the guest sends nothing until asked."""
        self._ask(RequestType.QUIESCE, timeout)

    def _ask(self, type: RequestType, timeout: float, **values: object) -> Reply:
        for key in ("path", "name", "device", "command_line", "folder", "key"):
            text = values.get(key)
            if isinstance(text, str) and (len(text) > _MAX_TEXT or "\0" in text):
                raise UsageError(f"a {key} for the guest has at most {_MAX_TEXT} characters and no NUL")
        try:
            payload = self._requester.request(type, pack(values), timeout=timeout)
        except RunnerError as error:
            # The runner says what went wrong, not with what: it was told.
            about = next((values[key] for key in ("path", "name", "device") if values.get(key)), None)
            if about is None:
                raise
            raise RunnerError(
                f"{about}: {error}",
                code=error.code,
                status=error.status,
                win32=error.win32,
                reason=error.reason,
            ) from None
        return Reply.read(type.name, payload)


def _device(device: str | int) -> dict[str, object]:
    return {"device": device} if isinstance(device, str) else {"handle": device}


def _io(reply: Reply, most: int) -> IoctlResult:
    return IoctlResult(
        reply.integer("status"), reply.bytes("data", most=most), reply.integer("information", most=U64)
    )


def _is_failure(status: int) -> bool:
    """NT_ERROR and NT_WARNING: the open gave no handle. Source: ntdef.h's severity bits."""
    return status >= 0x8000_0000

"""A WinRM service on 127.0.0.1: HTTP with NTLM and encrypted messages, or HTTPS, in front of `ShellService`.

It runs what it is told through a callable, so the commands may end up anywhere: in a test, in Wine, or in a
machine behind another channel. `pass_on` makes one of an argv.

    with WinRmEndpoint(run, "user", "password") as endpoint:
        protocol = winrm.Protocol(endpoint.url, transport="ntlm", username="user", password="password")
"""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from tests.channel.winrm_service import Command, Run, ShellService

__all__ = ["Command", "Run", "WinRmEndpoint", "pass_on"]

BOUNDARY = b"--Encrypted Boundary"
SPNEGO = b"application/HTTP-SPNEGO-session-encrypted"
#: Windows' own limit of a message (MaxEnvelopeSizekb 500), doubled for base64 and encryption.
LARGEST = 1 << 20


class WinRmEndpoint:
    """Serves from `__enter__` to `__exit__`. One user; `https` with a fresh self-signed certificate.

    NTLM's acceptor in pyspnego looks its users up in the file that NTLM_USER_FILE names, so there can be one
    endpoint at a time in a process.
    """

    def __init__(self, run: Run, user: str, password: str, *, https: bool = False) -> None:
        self.user = user
        self.password = password
        self.https = https
        self.service = ShellService(run)
        self.certificate_sha256: str | None = None
        self.port = 0
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return f"{'https' if self.https else 'http'}://127.0.0.1:{self.port}/wsman"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="winrm-endpoint-")))
            users = folder / "users"
            users.touch(0o600)
            users.write_text(f":{self.user}:{self.password}\n", encoding="utf-8")
            stack.enter_context(_environment("NTLM_USER_FILE", str(users)))
            server = _Server(self.service)
            stack.callback(server.server_close)
            if self.https:
                certificate = _serve_tls(server, folder)
                self.certificate_sha256 = hashlib.sha256(certificate).hexdigest()
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="winrm endpoint")
            thread.start()
            stack.callback(thread.join)
            stack.callback(self.service.close)
            stack.callback(server.end_connections)
            stack.callback(server.shutdown)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, service: ShellService) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        self.bindings: GssChannelBindings | None = None
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no trouble; anything else is a bug and gets its traceback."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection; it is logged in as a whole, as NTLM over HTTP is."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.context: spnego.ContextProxy | None = None

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if length > LARGEST or self.path != "/wsman":
            self.close_connection = True
            self._answer(413 if length > LARGEST else 404, b"")
            return
        body = self.rfile.read(length)
        offered = self.headers.get("Authorization")
        if offered is not None:
            token = self._log_in(offered)
            if token is not None:
                self._answer(401, b"", {"WWW-Authenticate": token})
                return
        if self.context is None or not self.context.complete:
            self._answer(401, b"", {"WWW-Authenticate": "NTLM"})
        elif not body:
            self._answer(200, b"")
        elif isinstance(self.connection, ssl.SSLSocket):
            status, envelope = self.server.service.handle(body)
            self._answer(status, envelope, {"Content-Type": "application/soap+xml;charset=UTF-8"})
        else:
            self._handle_encrypted(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests say what they want to know."""

    def _log_in(self, offered: str) -> str | None:
        """Take a step; the WWW-Authenticate header to go on with, None when logged in."""
        scheme, _, encoded = offered.partition(" ")
        if self.context is None or self.context.complete:
            self.context = spnego.server(protocol="ntlm", channel_bindings=self.server.bindings)
        try:
            token = self.context.step(base64.b64decode(encoded, validate=True))
        except (SpnegoError, ValueError):
            self.context = None
            self.close_connection = True
            return "NTLM"
        if self.context.complete:
            return None
        return f"{scheme} {base64.b64encode(token or b'').decode('ascii')}"

    def _handle_encrypted(self, body: bytes) -> None:
        """Unseal, answer, seal: [MS-WSMV] 2.2.9.1."""
        assert self.context is not None
        kind = self.headers.get("Content-Type", "")
        parts = body.split(b"application/octet-stream\r\n", 1)
        if not kind.startswith("multipart/encrypted") or len(parts) != 2:
            self._answer(400, b"")
            return
        sealed = parts[1].removesuffix(BOUNDARY + b"--\r\n")
        (size,) = struct.unpack_from("<I", sealed)
        if size != 16:
            self._answer(400, b"")
            return
        status, envelope = self.server.service.handle(self.context.unwrap(sealed[4:]).data)
        wrapped = self.context.wrap(envelope, encrypt=True).data
        answer = b"".join(
            [
                BOUNDARY + b"\r\n\tContent-Type: " + SPNEGO + b"\r\n",
                b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % len(envelope),
                BOUNDARY + b"\r\n\tContent-Type: application/octet-stream\r\n",
                struct.pack("<I", 16) + wrapped,
                BOUNDARY + b"--\r\n",
            ]
        )
        sealed_kind = f'multipart/encrypted;protocol="{SPNEGO.decode()}";boundary="Encrypted Boundary"'
        self._answer(status, answer, {"Content-Type": sealed_kind})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def pass_on(argv: Callable[[Command], Sequence[str]], *, env: dict[str, str] | None = None) -> Run:
    """A `run` that starts a process of this host for each command, with its streams passed through."""

    def run(command: Command) -> int:
        process = subprocess.Popen(
            argv(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            bufsize=0,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        def feed(stdin: Any) -> None:
            with suppress(OSError), stdin:  # a program need not read its input
                while data := command.read():
                    view = memoryview(data)
                    while view:
                        view = view[stdin.write(view) :]

        def drain(stream: Any, write: Callable[[bytes], None]) -> None:
            with suppress(BrokenPipeError), stream:
                while data := stream.read(1 << 16):
                    write(data)

        threads = [
            threading.Thread(target=feed, args=(process.stdin,)),
            threading.Thread(target=drain, args=(process.stdout, command.write_stdout)),
            threading.Thread(target=drain, args=(process.stderr, command.write_stderr)),
        ]
        for thread in threads:
            thread.start()
        command.on_terminate(kill)
        threads[1].join()
        threads[2].join()
        code = process.wait()
        command.feed(b"", end=True)
        threads[0].join()
        return code & 0xFFFF_FFFF

    return run


def _serve_tls(server: _Server, folder: Path) -> bytes:
    """Put TLS in front of a server, with a new self-signed certificate, which is returned (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "winrm endpoint")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "tls.pem"
    file.touch(0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    # The handshake belongs into the connection's own thread: a client that never ends it must block nobody.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    der = certificate.public_bytes(serialization.Encoding.DER)
    server.bindings = GssChannelBindings(
        application_data=b"tls-server-end-point:" + hashlib.sha256(der).digest()
    )
    return der


class _environment:  # noqa: N801 - reads as a function
    """Sets a variable of the environment for a while."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value
        self._before: str | None = None

    def __enter__(self) -> None:
        self._before = os.environ.get(self._name)
        os.environ[self._name] = self._value

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            del os.environ[self._name]
        else:
            os.environ[self._name] = self._before

"""The HTTP below pywinrm: NTLM, every message encrypted or the certificate pinned, answers bounded.

pywinrm's own transport reads whatever comes, takes plain answers to encrypted questions, follows redirections
and asks the environment for proxies; a guest must be able to do none of that to its host.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import requests
import requests.adapters
from requests_ntlm import HttpNtlmAuth
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from winrm.transport import Transport

from harness.channel.access import WinRmAccess, normal_sha256
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError, ChannelTimeoutError

__all__ = ["MAX_ANSWER", "BoundedTransport"]

#: Bytes of one answer: eight times the largest envelope that WinRM is configured for (MaxEnvelopeSizekb 500).
MAX_ANSWER: Final = 4 << 20
_ENCRYPTED: Final = 'multipart/encrypted;protocol="application/http-spnego-session-encrypted"'


class _Answer(requests.Response):
    """A response that ends at `MAX_ANSWER` bytes and at the call's deadline."""

    deadline: Deadline

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[Any]:
        received = 0
        for chunk in super().iter_content(chunk_size):
            received += len(chunk)
            if received > MAX_ANSWER:
                raise ChannelError(
                    f"the WinRM service at {self.url} sends an answer of more than {MAX_ANSWER} bytes; it is "
                    "no Windows service"
                )
            if self.deadline.passed:
                raise ChannelTimeoutError(f"the WinRM service at {self.url} did not end its answer in time")
            yield chunk


class _Lines:
    """The sockets of an adapter's connections: what can be broken from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken = False
        self._last: socket.socket | None = None

    def pool(self, kind: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        """The pool class whose connections are known here."""
        plain = kind.ConnectionCls

        def connect(connection: Any) -> None:
            plain.connect(connection)
            self.opened(connection.sock)

        known = type(plain.__name__, (plain,), {"connect": connect})
        return type(kind.__name__, (kind,), {"ConnectionCls": known})

    def opened(self, connected: socket.socket) -> None:
        with self._lock:
            if self._broken:
                raise ConnectionAbortedError("the connection was ended by the harness")
            self._last = connected

    def break_off(self) -> None:
        with self._lock:
            self._broken = True
            if self._last is not None:
                with suppress(OSError):  # it may have ended by itself
                    self._last.shutdown(socket.SHUT_RDWR)


class _Adapter(requests.adapters.HTTPAdapter):
    """Makes `_Answer`s, over connections whose certificate is the pinned one."""

    def __init__(self, pin: str | None) -> None:
        self._pin = pin
        self._lines = _Lines()
        self.deadline = Deadline.after(0)
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        super().init_poolmanager(*args, **named, assert_fingerprint=self._pin, assert_hostname=False)
        self.poolmanager.pool_classes_by_scheme = {
            "http": self._lines.pool(HTTPConnectionPool),
            "https": self._lines.pool(HTTPSConnectionPool),
        }

    def interrupt(self) -> None:
        self._lines.break_off()

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        response = super().build_response(req, resp)
        answer = _Answer()
        answer.__dict__.update(response.__dict__)
        answer.deadline = self.deadline
        return answer


class BoundedTransport(Transport):  # type: ignore[misc]  # pywinrm is not checked here
    """One authenticated connection. `deadline` is that of the call under way."""

    def __init__(self, access: WinRmAccess, password: str) -> None:
        super().__init__(
            access.endpoint, username=access.user, password=password, auth_method="ntlm", proxy=None
        )
        self._adapter = _Adapter(None if access.certificate is None else normal_sha256(access.certificate))
        self._encrypts = access.certificate is None

    def start_call(self, deadline: Deadline, read_timeout: float) -> None:
        """What bounds the next message: the whole by `deadline`, each wait by `read_timeout` seconds."""
        self._adapter.deadline = deadline
        self.read_timeout_sec = read_timeout

    def interrupt(self) -> None:
        """Break the connection for good, from any thread."""
        self._adapter.interrupt()

    def build_session(self) -> requests.Session:
        known: requests.Session | None = self.session
        if known is not None:
            return known
        session = requests.Session()
        session.trust_env = False  # no proxy, no .netrc, no certificates of the environment
        session.max_redirects = 0
        session.verify = False  # the fingerprint is what counts, in the adapter
        session.auth = HttpNtlmAuth(self.username, self.password)
        session.headers.update(self.default_headers)
        session.mount("http://" if self._encrypts else "https://", self._adapter)
        self.session: requests.Session | None = session
        if self._encrypts:
            try:
                self.setup_encryption(session)
            except BaseException:
                self.close_session()
                raise
        return session

    def close_session(self) -> None:
        super().close_session()
        self.encryption = None

    def _get_message_response_text(self, response: requests.Response) -> bytes:
        kind = response.headers.get("Content-Type", "").replace(" ", "").lower()
        if self.encryption is not None and not kind.startswith(_ENCRYPTED):
            raise ChannelError(
                f"the service at {self.endpoint} answers an encrypted message with a plain one "
                f"(HTTP {response.status_code}); it is no WinRM service, or something stands between"
            )
        text: bytes = super()._get_message_response_text(response)
        return text

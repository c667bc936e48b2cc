"""WS-Management's Windows shell as a service: envelopes in, envelopes out, commands through a callable.

What a Windows machine's WinRM does for shell/cmd, by [MS-WSMV]: Create, Command, Send, Receive, Signal,
Delete, with several shells and commands at once. No HTTP here: `tests.channel.winrm_endpoint` has that.
"""

from __future__ import annotations

import base64
import re
import threading
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from xml.sax.saxutils import escape

__all__ = ["Command", "Fault", "Run", "ShellService"]

#: Bytes that a command may write before somebody receives them; then it waits, as on a pipe.
PIPE = 1 << 20
#: Bytes of output in one answer, so that it fits the MaxEnvelopeSize that clients ask for (150 KB).
ANSWER = 96 * 1024

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
NAMES = {"s": SOAP, "a": ADDRESSING, "w": WSMAN, "rsp": SHELL}

#: Codes of wsmerror.h that clients look at.
ERROR_WSMAN_OPERATION_TIMEDOUT = 2150858793
ERROR_WSMAN_UNEXPECTED_SELECTORS = 2150858843
ERROR_WSMAN_ACTION_NOT_SUPPORTED = 2150858752
ERROR_OPERATION_ABORTED = 995


@dataclass
class Fault(Exception):  # noqa: N818 - SOAP's word
    """An answer that says no: a code of wsmerror.h and why."""

    code: int
    reason: str


class Command:
    """A command under way, as what runs it sees it.

    `line` is the command line as the client sent it; unless `skip_cmd_shell`, cmd.exe is to read it.
    `terminated` is set, and what `on_terminate` was given is called, when the client ends the command.
    """

    def __init__(self, line: str, *, skip_cmd_shell: bool, environment: dict[str, str], folder: str) -> None:
        self.line = line
        self.skip_cmd_shell = skip_cmd_shell
        self.environment = environment
        self.folder = folder
        self.terminated = threading.Event()
        self._input: SimpleQueue[bytes] = SimpleQueue()
        self._input_ended = False
        self._changed = threading.Condition()
        self._output: list[tuple[str, bytes]] = []
        self._waiting = 0  # bytes in `_output`
        self._exit_code: int | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._seen_dead = False

    # -- for what runs the command --------------------------------------------------------------------------

    def read(self) -> bytes:
        """Some bytes of stdin, waited for; empty at its end."""
        if self._input_ended:
            return b""
        data = self._input.get()
        self._input_ended = not data
        return data

    def write_stdout(self, data: bytes) -> None:
        """Waits while the client is slow. Raises `BrokenPipeError` when it ended the command."""
        self._write("stdout", data)

    def write_stderr(self, data: bytes) -> None:
        self._write("stderr", data)

    def on_terminate(self, call: Callable[[], None]) -> None:
        """`call` is called when the client ends the command, at once when it has."""
        with self._changed:
            self._callbacks.append(call)
        if self.terminated.is_set():
            call()

    # -- for the service ------------------------------------------------------------------------------------

    def run(self, run: Run) -> None:
        code = 1
        try:
            with suppress(BrokenPipeError):  # nobody is interested any more
                code = run(self)
        finally:
            with self._changed:
                self._exit_code = code
                self._changed.notify_all()

    def feed(self, data: bytes, *, end: bool) -> None:
        if data:
            self._input.put(data)
        if end:
            self._input.put(b"")

    def take(self, seconds: float) -> tuple[list[tuple[str, bytes]], int | None]:
        """Output since the last time, waited for, and the exit code after the last of it."""
        with self._changed:
            there = self._changed.wait_for(
                lambda: self._output or self._exit_code is not None or self.terminated.is_set(), seconds
            )
            if not there:
                raise Fault(
                    ERROR_WSMAN_OPERATION_TIMEDOUT,
                    "The WS-Management service cannot complete the operation within the time specified in "
                    "OperationTimeout.",
                )
            taken, size = [], 0
            while self._output and size < ANSWER:
                name, data = self._output.pop(0)
                piece, rest = data[: ANSWER - size], data[ANSWER - size :]
                if rest:
                    self._output.insert(0, (name, rest))
                taken.append((name, piece))
                size += len(piece)
            self._waiting -= size
            self._changed.notify_all()
            if self.terminated.is_set() and self._exit_code is None and not taken:
                raise Fault(ERROR_OPERATION_ABORTED, "The I/O operation has been aborted.")
            return taken, None if self._output else self._exit_code

    def terminate(self) -> None:
        with self._changed:
            self.terminated.set()
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        self._input.put(b"")
        for call in callbacks:
            call()

    def _write(self, name: str, data: bytes) -> None:
        if not data:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < PIPE or self.terminated.is_set())
            if self.terminated.is_set():
                raise BrokenPipeError
            self._output.append((name, data))
            self._waiting += len(data)
            self._changed.notify_all()


#: Runs a command to its end and returns its exit code.
Run = Callable[[Command], int]


@dataclass
class _Shell:
    environment: dict[str, str]
    folder: str
    commands: dict[str, Command] = field(default_factory=dict)


class ShellService:
    """All shells of one endpoint. `run` runs the commands, each in a thread of its own."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._shells: dict[str, _Shell] = {}
        self._threads: list[threading.Thread] = []
        #: Actions that clients asked for, in order: "Create", "Command", ...
        self.actions: list[str] = []

    @property
    def shells(self) -> int:
        """How many shells are open."""
        with self._lock:
            return len(self._shells)

    def handle(self, envelope: bytes) -> tuple[int, bytes]:
        """The answer to one message: HTTP status and envelope."""
        root = ET.fromstring(envelope)
        message = root.findtext("s:Header/a:MessageID", "", NAMES)
        action = root.findtext("s:Header/a:Action", "", NAMES)
        name = action.rpartition("/")[2]
        self.actions.append(name)
        handlers = {
            f"{TRANSFER}/Create": self._create,
            f"{TRANSFER}/Delete": self._delete,
            f"{SHELL}/Command": self._command,
            f"{SHELL}/Send": self._send,
            f"{SHELL}/Receive": self._receive,
            f"{SHELL}/Signal": self._signal,
        }
        try:
            handler = handlers.get(action)
            if handler is None:
                raise Fault(ERROR_WSMAN_ACTION_NOT_SUPPORTED, f"The action {action} is not supported.")
            return 200, _envelope(f"{action}Response", message, handler(root))
        except Fault as fault:
            return 500, _fault(message, fault)

    def close(self) -> None:
        """End every command and wait for what ran it."""
        with self._lock:
            shells = list(self._shells.values())
            self._shells.clear()
        for shell in shells:
            for command in list(shell.commands.values()):
                command.terminate()
        for thread in self._threads:
            thread.join()

    # -- actions --------------------------------------------------------------------------------------------

    def _create(self, root: ET.Element) -> str:
        body = root.find("s:Body/rsp:Shell", NAMES)
        if body is None:
            raise Fault(ERROR_WSMAN_UNEXPECTED_SELECTORS, "There is no shell in the request.")
        variables = {
            variable.get("Name", ""): variable.text or ""
            for variable in body.findall("rsp:Environment/rsp:Variable", NAMES)
        }
        id = str(uuid.uuid4()).upper()
        with self._lock:
            self._shells[id] = _Shell(variables, body.findtext("rsp:WorkingDirectory", "", NAMES))
        return (
            f'<x:ResourceCreated xmlns:x="{TRANSFER}"><a:Address>http://127.0.0.1/wsman</a:Address>'
            f"<a:ReferenceParameters><w:ResourceURI>{SHELL}/cmd</w:ResourceURI><w:SelectorSet>"
            f'<w:Selector Name="ShellId">{id}</w:Selector></w:SelectorSet></a:ReferenceParameters>'
            f"</x:ResourceCreated><rsp:Shell><rsp:ShellId>{id}</rsp:ShellId></rsp:Shell>"
        )

    def _delete(self, root: ET.Element) -> str:
        shell_id, shell = self._shell_of(root)
        with self._lock:
            self._shells.pop(shell_id, None)
            commands = list(shell.commands.values())
        for command in commands:
            command.terminate()
        return ""

    def _command(self, root: ET.Element) -> str:
        _, shell = self._shell_of(root)
        body = root.find("s:Body/rsp:CommandLine", NAMES)
        if body is None:
            raise Fault(ERROR_WSMAN_UNEXPECTED_SELECTORS, "There is no command line in the request.")
        words = [body.findtext("rsp:Command", "", NAMES)]
        words += [argument.text or "" for argument in body.findall("rsp:Arguments", NAMES)]
        options = {
            option.get("Name", ""): (option.text or "").upper()
            for option in root.findall("s:Header/w:OptionSet/w:Option", NAMES)
        }
        command = Command(
            " ".join(words),
            skip_cmd_shell=options.get("WINRS_SKIP_CMD_SHELL") == "TRUE",
            environment=shell.environment,
            folder=shell.folder,
        )
        id = str(uuid.uuid4()).upper()
        thread = threading.Thread(target=command.run, args=(self._run,), name=f"command {id}")
        with self._lock:
            shell.commands[id] = command
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()
        return f"<rsp:CommandResponse><rsp:CommandId>{id}</rsp:CommandId></rsp:CommandResponse>"

    def _send(self, root: ET.Element) -> str:
        _, shell = self._shell_of(root)
        for stream in root.findall("s:Body/rsp:Send/rsp:Stream", NAMES):
            command = self._command_of(shell, stream.get("CommandId"))
            data = base64.b64decode(stream.text or "", validate=True)
            command.feed(data, end=stream.get("End", "").lower() == "true")
        return "<rsp:SendResponse/>"

    def _receive(self, root: ET.Element) -> str:
        _, shell = self._shell_of(root)
        desired = root.find("s:Body/rsp:Receive/rsp:DesiredStream", NAMES)
        id = None if desired is None else desired.get("CommandId")
        command = self._command_of(shell, id)
        output, exit_code = command.take(_seconds(root.findtext("s:Header/w:OperationTimeout", "", NAMES)))
        streams = "".join(
            f'<rsp:Stream Name="{name}" CommandId="{id}">{base64.b64encode(data).decode()}</rsp:Stream>'
            for name, data in output
        )
        if exit_code is None:
            state = f'<rsp:CommandState CommandId="{id}" State="{SHELL}/CommandState/Running"/>'
        else:
            # Windows writes exit codes as signed 32-bit numbers.
            signed = exit_code - (1 << 32) if exit_code >= 1 << 31 else exit_code
            streams += "".join(
                f'<rsp:Stream Name="{name}" CommandId="{id}" End="true"/>' for name in ("stdout", "stderr")
            )
            state = (
                f'<rsp:CommandState CommandId="{id}" State="{SHELL}/CommandState/Done">'
                f"<rsp:ExitCode>{signed}</rsp:ExitCode></rsp:CommandState>"
            )
        return f"<rsp:ReceiveResponse>{streams}{state}</rsp:ReceiveResponse>"

    def _signal(self, root: ET.Element) -> str:
        _, shell = self._shell_of(root)
        signal = root.find("s:Body/rsp:Signal", NAMES)
        id = None if signal is None else signal.get("CommandId")
        command = self._command_of(shell, id)
        code = root.findtext("s:Body/rsp:Signal/rsp:Code", "", NAMES).rpartition("/")[2]
        if code not in ("terminate", "ctrl_c", "ctrl_break"):
            raise Fault(ERROR_WSMAN_ACTION_NOT_SUPPORTED, f"The signal {code} is not supported.")
        command.terminate()
        if code == "terminate":
            with self._lock:
                shell.commands.pop(id or "", None)
        return "<rsp:SignalResponse/>"

    def _shell_of(self, root: ET.Element) -> tuple[str, _Shell]:
        selectors = root.findall("s:Header/w:SelectorSet/w:Selector", NAMES)
        id = next((each.text or "" for each in selectors if each.get("Name") == "ShellId"), "")
        with self._lock:
            shell = self._shells.get(id)
        if shell is None:
            raise Fault(
                ERROR_WSMAN_UNEXPECTED_SELECTORS,
                f"The request for the Windows Remote Shell with ShellId {id} failed because the shell was "
                "not found on the server.",
            )
        return id, shell

    def _command_of(self, shell: _Shell, id: str | None) -> Command:
        with self._lock:
            command = shell.commands.get(id or "")
        if command is None:
            raise Fault(ERROR_WSMAN_UNEXPECTED_SELECTORS, f"The shell has no command {id}.")
        return command


def _seconds(duration: str) -> float:
    """An ISO 8601 duration of seconds and minutes; a minute when there is none, as WinRM has it."""
    found = re.fullmatch(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", duration)
    if found is None:
        return 60.0
    return 60 * int(found[1] or 0) + float(found[2] or 0)


def _envelope(action: str, relates_to: str, body: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" '
        f'xmlns:w="{WSMAN}" xmlns:rsp="{SHELL}"><s:Header><a:Action>{escape(action)}</a:Action>'
        f"<a:MessageID>uuid:{uuid.uuid4()}</a:MessageID><a:RelatesTo>{escape(relates_to)}</a:RelatesTo>"
        f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def _fault(relates_to: str, fault: Fault) -> bytes:
    body = (
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>w:InternalError</s:Value>"
        f'</s:Subcode></s:Code><s:Reason><s:Text xml:lang="en-US">{escape(fault.reason)}</s:Text></s:Reason>'
        '<s:Detail><f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" '
        f'Code="{fault.code}" Machine="127.0.0.1"><f:Message>{escape(fault.reason)}</f:Message>'
        "</f:WSManFault></s:Detail></s:Fault>"
    )
    return _envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", relates_to, body)

"""A configuration manager and callers to use it with."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from harness.reference.cm.key import Key
from harness.reference.cm.manager import (
    KERNEL,
    Caller,
    ConfigurationManager,
    LoadResult,
    ParseRequest,
    ParseResult,
)
from harness.reference.cm.tokens import ADMINISTRATOR, STANDARD_USER
from harness.reference.cm.transaction import Transaction
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.options import LoadFlags
from harness.registry.status import NTSTATUS, status_name
from harness.registry.version import WIN11_24H2, WindowsVersion

ADMIN = Caller(ADMINISTRATOR, process=100)
USER = Caller(STANDARD_USER, process=200)


@dataclass
class Machine:
    """Short ways to do things and say what came of it."""

    cm: ConfigurationManager
    test: Key = field(init=False)

    def __post_init__(self) -> None:
        self.test = self.create("MACHINE\\Software\\Test")

    def parse(
        self,
        name: str,
        *,
        start: Key | None = None,
        caller: Caller = ADMIN,
        access: int = KEY_ALL_ACCESS,
        create: bool = False,
        options: int = 0,
        attributes: int = 0,
        class_name: str = "",
        descriptor: bytes | None = None,
        transaction: Transaction | None = None,
        follow: bool = True,
    ) -> ParseResult:
        """Create or open; links are followed unless told otherwise."""
        request = ParseRequest(
            name, caller, access, create, options, attributes, class_name, descriptor, transaction
        )
        result = self.cm.parse(start or self.cm.root, request)
        rounds = 0
        while follow and result.reparse is not None and rounds < 40:
            rounds += 1
            rest = result.reparse.removeprefix("\\REGISTRY\\")
            request = ParseRequest(
                rest, caller, access, create, options, attributes, class_name, descriptor, transaction
            )
            result = self.cm.parse(self.cm.root, request)
        return result

    def create(self, name: str, *, start: Key | None = None, **options: object) -> Key:
        result = self.parse(name, start=start, create=True, **options)  # type: ignore[arg-type]
        assert result.key is not None, status_name(result.status)
        return result.key

    def status(self, name: str, **options: object) -> int:
        return self.parse(name, **options).status  # type: ignore[arg-type]

    def load_app(
        self,
        file: str = "C:\\test\\app.dat",
        *,
        caller: Caller = ADMIN,
        access: int = KEY_ALL_ACCESS,
        exclusive: bool = False,
        name: str = "{1}",
        count: bool = True,
    ) -> LoadResult:
        """Load an application hive and count its root handle."""
        flags = LoadFlags.APP_HIVE | (LoadFlags.PROCESS_PRIVATE if exclusive else 0)
        result = self.cm.load_key(
            self.cm.root, f"A\\{name}", file, flags, caller=caller, desired_access=access
        )
        if result.root is not None and count:
            self.cm.opened(result.root, caller.process)
        return result

    def load(self, file: str, name: str = "MACHINE\\Loaded", caller: Caller = ADMIN) -> Key:
        result = self.cm.load_key(self.cm.root, name, file, 0, caller=caller)
        assert result.status == NTSTATUS.SUCCESS, status_name(result.status)
        assert result.root is not None
        return result.root

    def names(self, key: Key, transaction: Transaction | None = None) -> list[str]:
        """Names of the subkeys as they are enumerated."""
        names: list[str] = []
        while True:
            result = self.cm.enumerate_key(key, len(names), 0, 4096, transaction=transaction)
            if result.status == NTSTATUS.NO_MORE_ENTRIES:
                return names
            names.append(result.data[16:].decode("utf-16-le"))

    def data(self, key: Key, name: str, transaction: Transaction | None = None) -> bytes | None:
        """Data of a value, None when there is none."""
        result = self.cm.query_value(key, name, 2, 1 << 24, transaction=transaction)
        if result.status == NTSTATUS.OBJECT_NAME_NOT_FOUND:
            return None
        assert result.status == NTSTATUS.SUCCESS, status_name(result.status)
        return result.data[12:]


@pytest.fixture
def make() -> Callable[..., Machine]:
    """Machines of other versions."""

    def one(version: WindowsVersion = WIN11_24H2, pointer_size: int = 8) -> Machine:
        return Machine(ConfigurationManager(version, pointer_size=pointer_size))

    return one


@pytest.fixture
def machine(make: Callable[..., Machine]) -> Machine:
    return make()


@pytest.fixture
def admin() -> Caller:
    return ADMIN


@pytest.fixture
def user() -> Caller:
    return USER


@pytest.fixture
def kernel() -> Caller:
    return KERNEL

"""Services in a guest are made as their driver needs them."""

from __future__ import annotations

from typing import Any

import cbor2

from harness.channel.frames import RequestType
from harness.channel.runner import RunnerClient
from harness.driver.minifilter import instance_keys
from harness.machine.inside.services import create_service
from tests.field.world import image

PATH = "C:\\harness\\drivers\\1\\x.sys"


class Asked:
    """Keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, dict[str, Any]]] = []

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        self.requests.append((type, cbor2.loads(payload)))
        return cbor2.dumps({})


def test_a_minifilter_has_a_type_a_group_and_an_instance() -> None:
    asked = Asked()
    create_service(RunnerClient(asked), "x", PATH, image("minifilter", "x64"), {"A": 1})
    (create, created), *values = asked.requests
    assert create == RequestType.SERVICE_CREATE
    assert created["file_system"]
    assert created["group"] == "FSFilter Activity Monitor"
    assert created["parameters"] == {"A": 1}
    assert {type for type, _ in values} == {RequestType.SERVICE_VALUES}
    assert {each["key"]: each["values"] for _, each in values} == instance_keys("x")


def test_any_other_driver_is_asked_for_as_an_older_runner_knows_it() -> None:
    asked = Asked()
    create_service(RunnerClient(asked), "x", PATH, image("queue", "x64"), None)
    ((type, values),) = asked.requests
    assert type == RequestType.SERVICE_CREATE
    assert {"file_system", "group"}.isdisjoint(key for key, value in values.items() if value is not None)

"""Registry calls the probe makes in the kernel, over a device in memory."""

from __future__ import annotations

import pytest

from harness.errors import (
    InfrastructureError,
    UsageError,
)
from harness.probe import (
    InnerCall,
    Probe,
)
from harness.probe.enums import CallFlag
from harness.registry.notify import Pre
from tests.probe.fake_device import FakeDevice


def test_a_kernel_call_has_a_place_in_the_trace(probe: Probe, device: FakeDevice) -> None:
    device.kernel_reply = {
        "status": 0,
        "time_begin": 10,
        "time_end": 20,
        "thread_id": 99,
        "result_length": 3,
        "data": b"abcdef",
    }
    call = probe.kernel_call.set_value("\\x", "v", b"data", type=1, work_item=True, force_access_check=True)
    (sent,) = device.sent("KERNEL_CALL")
    assert (sent["call"], sent["value_type"], sent["data_length"]) == (InnerCall.SET_VALUE, 1, 4)
    assert CallFlag(sent["flags"]) == CallFlag.WORK_ITEM | CallFlag.FORCE_ACCESS_CHECK
    assert call.data == b"abc"
    assert call.succeeded
    device.notify(Pre.SetValueKey, time=15, thread=99)
    device.notify(Pre.SetValueKey, time=15, thread=44)
    assert len(probe.trace.of(call)) == 1
    assert len(probe.trace.between(call)) == 2
    device.kernel_reply["time_end"] = 9
    with pytest.raises(InfrastructureError, match="before its begin"):
        probe.kernel_call.open_key("\\x")
    with pytest.raises(UsageError, match="holds 512"):
        probe.kernel_call.set_value("\\x", "v", bytes(513))


@pytest.mark.parametrize("call", InnerCall)
def test_every_kernel_call_has_a_method(probe: Probe, device: FakeDevice, call: InnerCall) -> None:
    arguments = {InnerCall.SET_VALUE: ("v", b"x")}.get(
        call, ("v",) if call in (InnerCall.QUERY_VALUE, InnerCall.DELETE_VALUE) else ()
    )
    getattr(probe.kernel_call, call.name.lower())("\\x", *arguments)
    assert device.sent("KERNEL_CALL")[-1]["call"] == call

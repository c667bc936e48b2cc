"""Events a second through the host side: decoding a drain, cutting a trace, building events.

python benchmarks/trace.py [EVENTS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.probe import Trace, abi
from harness.probe.decode import Batch, decode_drain, join_batches
from harness.probe.event import System
from harness.probe.trace import TraceSource
from harness.registry.notify import Post, Pre
from harness.registry.version import WIN11_24H2

PAYLOAD = 256


@dataclass(frozen=True)
class Operation:
    begin: int
    end: int
    thread_id: int


def drain(count: int) -> bytes:
    """A drain of `count` events in pre and post pairs of four filters, 64 structure bytes and a name each."""
    records = np.zeros(count, dtype=abi.dtype("REGPROBE_EVENT"))
    number = np.arange(count)
    records["kind"] = 1
    records["sequence"] = number + 1
    records["time"] = number
    records["filter_id"] = 1 + number % 4
    records["notify_class"] = np.where(number % 2, Post.SetValueKey, Pre.SetValueKey)
    records["is_post"] = number % 2
    records["thread_id"] = 44
    records["payload_offset"] = number * PAYLOAD
    records["payload_length"] = PAYLOAD
    for name, offset, length in (("structure", 0, 64), ("key_name", 64, 100), ("name", 168, 12)):
        records[name]["offset"] = offset
        records[name]["length"] = records[name]["full_length"] = length
    reply = abi.record("REGPROBE_DRAIN_REPLY")
    start = reply.size + records.nbytes
    head = reply.pack(count=count, payload_offset=start, payload_length=count * PAYLOAD)
    return head + records.tobytes() + bytes(count * PAYLOAD)


def rate(what: str, events: int, work: Callable[[], object]) -> None:
    """Print the best of five runs."""
    best = min(_once(work) for _ in range(5))
    print(f"{what:<34}{events / best:>14,.0f} events/s {1000 * best:>9.2f} ms")


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(count: int) -> None:
    data = drain(count)
    batch: Batch = decode_drain(data)
    records, payload = join_batches([batch])
    trace = Trace(TraceSource(records, payload, System(WIN11_24H2, 8)))
    print(f"{count} events, {len(data) / 1e6:.1f} MB")
    rate("decode a drain", count, lambda: decode_drain(data))
    rate("join eight drains", 8 * count, lambda: join_batches([batch] * 8))
    rate("of(operation).seen_by(filter)", count, lambda: trace.of(Operation(10, 20, 44)).seen_by(1).classes)
    rate("column of a structure", count // 2, lambda: trace.by(Pre.SetValueKey).column("DataSize"))
    rate("build every event", count, lambda: list(trace))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)

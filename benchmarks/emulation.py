"""How fast guest code is entered and left: run as ``python benchmarks/emulation.py``.

Prints calls per second, exports served per second, and the instructions of one call of a pass-through
routine, which are counted in a run of their own.
"""

from __future__ import annotations

import time

from harness.guest import Arch
from harness.reference.exports import export
from harness.reference.machine import Machine
from harness.registry.version import WIN11_24H2

ROUNDS = 10
CALLS = 4000
TRAPS = 100


@export("BenchmarkNothing", args="")
def nothing(m: Machine) -> None:
    """What an export costs at least."""


@export("BenchmarkArguments", args="ptr, ulong, ptr, uchar")
def arguments(m: Machine, a: int, b: int, c: int, d: int) -> int:
    """An export with arguments and a result."""
    return 0


def place(m: Machine, text: str) -> int:
    """Put machine code into a page of its own; returns its address."""
    page = m.memory.map.static.end
    while m.memory.is_mapped(page):
        page += 0x1000
    m.memory.map_pages(page, 1, 5)
    m.memory.write(page, bytes.fromhex(text), force=True)
    return page


def repeat(m: Machine, name: str) -> int:
    """Code that calls an export TRAPS times."""
    address = m.exports.address_of(name)
    if m.arch is Arch.X64:
        there = address.to_bytes(8, "little").hex()
        body = f"53 4883ec20 bb{TRAPS:02x}000000 48b8{there} ffd0 ffcb 75f0 4883c420 5b c3"
    else:
        pushes = "6a00" * (m.exports[name].stack_bytes() // 4)
        back = (-(9 + len(pushes) // 2 + 1)) & 0xFF
        there = address.to_bytes(4, "little").hex()
        body = f"53 bb{TRAPS:02x}000000 {pushes} b8{there} ffd0 4b 75{back:02x} 5b c3"
    return place(m, body)


def per_second(m: Machine, function: int, count: int) -> float:
    """Calls of `function` a second: the best of ROUNDS, what it can do when nobody else uses the machine."""
    call, best = m.cpu.call, float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            call(function)
        best = min(best, (time.perf_counter() - start) / count)
    return 1 / best


def instructions(m: Machine, function: int) -> int:
    """Guest instructions of one call of `function`, the kernel's call thunk included."""
    counted = [0]

    def count(_address: int) -> None:
        counted[0] += 1

    m.cpu.engine.on_code(0, m.memory.map.address_mask, count)
    m.cpu.flush_code()
    m.cpu.call(function)
    return counted[0]


def main() -> None:
    """Print the figures for both architectures."""
    for arch in Arch:
        start = time.perf_counter()
        with Machine(WIN11_24H2, arch) as m:
            boot = (time.perf_counter() - start) * 1e3
            empty = place(m, "c3")
            print(f"{arch}: first boot {boot:.1f} ms")
            print(f"  calls             {per_second(m, empty, CALLS):>12,.0f} /s")
            for name in ("BenchmarkNothing", "BenchmarkArguments"):
                rate = TRAPS * per_second(m, repeat(m, name), CALLS // TRAPS)
                print(f"  {name[9:].lower():<17} {rate:>12,.0f} exports/s")
            print(f"  instructions of an empty call: {instructions(m, empty)}")


if __name__ == "__main__":
    main()

"""The runner's program decoder against the harness's own: the same verdict on the same bytes.

It is compiled for the host with sanitizers, so that it ends where it reads beyond its bytes or does what C
leaves undefined. Programs are valid, mutated, odd in one field, or bytes of any kind.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest

from harness.driver.spec import find_project_root
from harness.errors import UsageError
from harness.workload import FIELDS, SPECS, Operation, Program, decode_program, encode_program
from harness.workload.fields import MAX_HANDLES, MAX_OPERATIONS, MAX_TEXT, FieldKind, FieldSpec
from harness.workload.opcodes import Opcode

_SOURCES = ("program_decode.c", "program_table.c", "cbor.c", "utf16.c")

#: Reads length-prefixed programs, writes a line for each: 1, or 0 and why not.
_MAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include "program_decode.h"

/* Everything the executor will look at. */
static void touch(const PROGRAM *program)
{
    const unsigned char *at = program->operations;
    size_t left = program->size;
    unsigned index, field;
    OPERATION operation;
    DECODE_ERROR error;

    for (index = 0; index < program->count; index++) {
        if (!operation_decode(&operation, at, left, program->handle_count, &error)) {
            abort();
        }
        for (field = 0; field < FIELD_COUNT; field++) {
            const FIELD_VALUE *value = &operation.fields[field];
            CBOR_READER reader;
            FIELD_VALUE text;
            uint32_t offset;
            uint64_t item;
            unsigned slot;

            if (value->given && field_rules[field].type == TYPE_TEXT) {
                utf16_t *copy = malloc((text_units(value) + 1) * sizeof(utf16_t));
                text_copy(copy, value);
                free(copy);
            }
            array_begin(&reader, value);
            for (item = 0; field_rules[field].type == TYPE_TEXTS && item < value->number; item++) {
                array_next_text(&reader, &text);
            }
            for (item = 0; field_rules[field].type == TYPE_PATCHES && item < value->number; item++) {
                array_next_patch(&reader, &offset, &slot);
            }
        }
        at += operation.encoded_size;
        left -= operation.encoded_size;
    }
}

int main(void)
{
    uint32_t size;

    while (fread(&size, sizeof(size), 1, stdin) == 1) {
        unsigned char *data = malloc(size);
        DECODE_ERROR error = {0};
        PROGRAM program;
        int taken;

        if (size != 0 && fread(data, 1, size, stdin) != size) {
            return 2;
        }
        taken = program_decode(&program, data, size, &error);
        if (taken) {
            touch(&program);
        }
        printf("%d %s\n", taken, taken ? "" : error.text);
        free(data);
    }
    return 0;
}
"""

Decoder = Callable[[list[bytes]], list[str]]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """Verdicts of the runner's decoder on many programs at once: "" or why not."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no gcc or clang for the host (apt-get install gcc)")
    folder = tmp_path_factory.mktemp("decoder")
    source = find_project_root() / "driver-src" / "runner"
    (folder / "main.c").write_text(_MAIN, encoding="utf-8")
    program = folder / "decode"
    base = [
        compiler,
        "-std=gnu11",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{source}",
        "-o",
        str(program),
    ]
    files = [str(folder / "main.c"), *(str(source / name) for name in _SOURCES)]
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    built = subprocess.run([*base, *checks, *files], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    def verdicts(programs: list[bytes]) -> list[str]:
        fed = b"".join(struct.pack("<I", len(data)) + data for data in programs)
        done = subprocess.run([program], input=fed, capture_output=True, check=False, timeout=300)
        lines = done.stdout.decode("ascii").splitlines()
        at = programs[len(lines)].hex() if len(lines) < len(programs) else ""
        assert done.returncode == 0, f"{done.stderr.decode(errors='replace')[-3000:]}\nprogram: {at[:2000]}"
        assert len(lines) == len(programs)
        return ["" if line.startswith("1") else line[2:] for line in lines]

    return verdicts


def agreed(decoder: Decoder, programs: list[bytes]) -> int:
    """Compare the verdicts; how many programs both sides took."""
    taken = 0
    for data, theirs in zip(programs, decoder(programs), strict=True):
        try:
            decode_program(data)
            ours = ""
        except UsageError as error:
            ours = str(error)
        assert bool(ours) == bool(theirs), (
            f"the harness says {ours or 'valid'!r}, the runner {theirs or 'valid'!r}: {data.hex()[:4000]}"
        )
        taken += not ours
    return taken


# -- valid programs ---------------------------------------------------------------------------------------


def _text(dice: random.Random) -> str:
    choices = ("", "app", "\\Registry\\Machine", "ä€😀", "\ud800", "a\0b", "\udc00\ud800x", "ü" * 300)
    return dice.choice(choices)


def _value(dice: random.Random, field: FieldSpec) -> Any:
    match field.kind:
        case FieldKind.HANDLE:
            return dice.randrange(8)
        case FieldKind.UNSIGNED:
            edges = (0, 1, 23, 24, 255, 256, 65_535, 65_536, field.maximum)
            return min(dice.choice(edges), field.maximum)
        case FieldKind.FLAG:
            return dice.random() < 0.5
        case FieldKind.TEXT:
            return _text(dice)
        case FieldKind.TEXTS:
            return tuple(_text(dice) for _ in range(dice.randrange(4)))
        case FieldKind.BYTES:
            return dice.randbytes(dice.choice((0, 1, 16, 300)))
        case FieldKind.PATCHES:
            return tuple((dice.randrange(8), dice.randrange(8)) for _ in range(dice.randrange(3)))


def _operation(dice: random.Random) -> Operation:
    spec = SPECS[dice.choice(tuple(Opcode))]
    given: dict[str, Any] = {}
    for field in spec.field_specs():
        if field.name in spec.required or dice.random() < 0.4:
            given[field.name] = _value(dice, field)
    if given.get("patches"):
        given["data"] = bytes(16)
    if spec.opcode is Opcode.TERMINATE_PROCESS:
        given["process"] = dice.randrange(1, 4)
    if spec.opcode is Opcode.TERMINATE_PROCESS or not (given.get("process") or given.get("thread")):
        given.pop("background", None)
    if spec.opcode in (Opcode.IMPERSONATE, Opcode.REVERT):
        given.update(process=0, thread=dice.randrange(1, 4))
    return Operation(opcode=spec.opcode, **given)


def _program(dice: random.Random) -> bytes:
    return encode_program(Program(tuple(_operation(dice) for _ in range(dice.randrange(5))), 8))


def test_valid_programs_are_taken(decoder: Decoder) -> None:
    dice = random.Random(1)
    programs = [_program(dice) for _ in range(1_500)]
    assert agreed(decoder, programs) == len(programs)


def test_every_operation_is_taken_with_all_its_fields(decoder: Decoder) -> None:
    dice = random.Random(2)
    programs = []
    for spec in SPECS.values():
        given = {field.name: _value(dice, field) for field in spec.field_specs()}
        given.update({"data": bytes(16)} if "data" in given else {})
        given["process"] = 1
        given["background"] = spec.opcode is not Opcode.TERMINATE_PROCESS
        if spec.opcode in (Opcode.IMPERSONATE, Opcode.REVERT):
            given.update(process=0, thread=1)
        programs.append(encode_program(Program((Operation(opcode=spec.opcode, **given),), 8)))
    assert agreed(decoder, programs) == len(SPECS)


# -- what both refuse -------------------------------------------------------------------------------------


def _mutations(dice: random.Random, data: bytes) -> Iterator[bytes]:
    for _ in range(6):
        changed = bytearray(data)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(changed) + 1)
            match dice.randrange(5):
                case 0 if at < len(changed):
                    changed[at] ^= 1 << dice.randrange(8)
                case 1 if at < len(changed):
                    changed[at] = dice.choice((0, 0x20, 0x40, 0x5B, 0x7F, 0x80, 0xA0, 0xF6, 0xFF))
                case 2:
                    changed[at:at] = dice.randbytes(dice.randrange(1, 4))
                case 3:
                    del changed[at : at + dice.randrange(1, 5)]
                case _:
                    del changed[at:]
        yield bytes(changed)


def test_mutated_programs_get_the_same_verdict(decoder: Decoder) -> None:
    dice = random.Random(3)
    programs = [changed for _ in range(2_000) for changed in _mutations(dice, _program(dice))]
    taken = agreed(decoder, programs)
    assert 100 < taken < len(programs) - 100, "the mutations are too mild or too wild to tell anything"


_ODD: tuple[Any, ...] = (
    *(
        0,
        1,
        4,
        5,
        15,
        16,
        64,
        4_095,
        4_096,
        65_535,
        65_536,
        1 << 24,
        (1 << 24) + 1,
        1 << 32,
        (1 << 64) - 1,
        -1,
    ),
    *(
        True,
        False,
        None,
        1.5,
        "",
        "x",
        b"",
        b"x",
        b"xy",
        [],
        [1],
        [[0, 1]],
        [[0, 1, 2]],
        [["a", 1]],
        {},
        {"a": 1},
    ),
    *([[0, True]], [[8, 0]], [b"ab", "c"], [b"a"], "ä" * 9, b"\x00\xd8", [[[[[[[]]]]]]], "\ud83d"[:0]),
)


def test_odd_values_in_every_field_get_the_same_verdict(decoder: Decoder) -> None:
    programs = []
    for opcode in (
        Opcode.CREATE_KEY,
        Opcode.SET_VALUE,
        Opcode.DEVICE_CONTROL,
        Opcode.QUERY_MULTIPLE,
        Opcode.MARK,
    ):
        needed = {"out": 0, "handle": 0, "device": "d", "code": 1, "value_names": ["v"]}
        base = {name: value for name, value in needed.items() if name in SPECS[opcode].required}
        for name in (*FIELDS, *(f"{name}16" for name in FIELDS), "unknown", "16", ""):
            for value in _ODD:
                programs.append(cbor2.dumps([1, 2, [[int(opcode), {**base, name: value}]]]))
    assert agreed(decoder, programs) > 300


def test_structures_that_are_no_programs_get_the_same_verdict(decoder: Decoder) -> None:
    mark = [int(Opcode.MARK), {}]
    tops: list[Any] = [
        *([], {}, 1, None, [1, 0], [1, 0, [], 0], [2, 0, []], [True, 0, []], [1, True, []], [1, -1, []]),
        *(
            [1, 0, {}],
            [1, 0, [[]]],
            [1, 0, [mark]],
            [1, 0, [[33]]],
            [1, 0, [[33, {}, 1]]],
            [1, 0, [["33", {}]]],
        ),
        *([1, 0, [[0, {}]]], [1, 0, [[255, {}]]], [1, 0, [[1 << 40, {}]]], [1, 0, [[True, {}]]]),
        *([1, MAX_HANDLES, []], [1, MAX_HANDLES + 1, []], [1, 1 << 63, []], [1, 0, [[37, {"process": 0}]]]),
        *([1, 0, [[3, {"handle": 0}]]], [1, 1, [[3, {"handle": 0}]]], [1, 0, [[37, {"process": 1}]]]),
        *([1, 0, [[33, {"background": True, **where}]]] for where in ({}, {"thread": 1}, {"process": 1})),
        [1, 0, [[37, {"process": 1, "background": True}]]],
        *([1, 0, [[code, where]]] for code in (64, 65) for where in ({}, {"thread": 1}, {"process": 1})),
        [1, 0, [mark] * MAX_OPERATIONS],
        [1, 0, [mark] * (MAX_OPERATIONS + 1)],
        *([1, 0, [[33, {"label": "x" * size}]]] for size in (MAX_TEXT, MAX_TEXT + 1)),
        *([1, 0, [[33, {"label": "😀" * size}]]] for size in (MAX_TEXT // 2, MAX_TEXT // 2 + 1)),
        *([1, 1, [[11, {"handle": 0, "value_names": ["v"] * count}]]] for count in (1_024, 1_025)),
        *(
            [1, 1, [[27, {"device": "d", "code": 1, "data": bytes(8), "patches": [[0, 0]] * count}]]]
            for count in (64, 65)
        ),
    ]
    programs = [cbor2.dumps(top) for top in tops]
    whole = cbor2.dumps([1, 0, [mark]])
    programs += [whole[:size] for size in range(len(whole))]
    programs += [
        whole + b"\0",
        bytes.fromhex("83 01 00 9f ff".replace(" ", "")),  # indefinite
        bytes.fromhex("8301008182182161"),
        bytes.fromhex("83 01 00 81 82 18 21 a1 61 ff 00".replace(" ", "")),  # a key that is not UTF-8
        bytes.fromhex("83 18 01 19 0000 80".replace(" ", "")),  # numbers longer than they need be
        bytes.fromhex("83 01 00 81 82 18 21 a2 65 6c6162656c 60 65 6c6162656c 60".replace(" ", "")),  # twice
        bytes.fromhex("83 01 00 9b ffffffffffffffff".replace(" ", "")),
        bytes.fromhex("83 01 00 bb ffffffffffffffff".replace(" ", "")),
        bytes.fromhex("83 01 00 7b ffffffffffffffff".replace(" ", "")),
    ]
    assert agreed(decoder, programs) >= 8


_TEXTS = (
    *("00", "7f", "c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080", "f48fbfbf"),  # UTF-8
    *(
        "80",
        "bf",
        "c080",
        "c1bf",
        "e09fbf",
        "eda080",
        "edbfbf",
        "f08fbfbf",
        "f4908080",
        "f5808080",
        "ff",
    ),  # not
    *("c2", "c27f", "c2c0", "e0a0", "e0a07f", "f09080", "f0908041", "fe", "f8888080", "61c2"),
)


def test_utf_8_is_what_it_is_to_both(decoder: Decoder) -> None:
    programs = []
    for text in map(bytes.fromhex, _TEXTS):
        label = bytes((0x60 | len(text),)) + text
        programs.append(bytes.fromhex("8301008182") + bytes.fromhex("1821a1656c6162656c") + label)
    assert agreed(decoder, programs) == 10


def test_bytes_of_every_kind_get_the_same_verdict(decoder: Decoder) -> None:
    dice = random.Random(4)
    programs = [dice.randbytes(dice.randrange(40)) for _ in range(5_000)]
    programs += [bytes.fromhex("830108") + dice.randbytes(dice.randrange(40)) for _ in range(5_000)]
    programs += [
        bytes.fromhex("8301088182") + bytes((dice.randrange(1, 24),)) + dice.randbytes(dice.randrange(30))
        for _ in range(5_000)
    ]
    agreed(decoder, programs)

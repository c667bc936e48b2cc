"""Workloads: programs of registry operations, their results, and the `Registry` that tests use."""

from harness.workload.codec import decode_program, decode_result, encode_program, encode_result
from harness.workload.fields import FIELDS, FieldKind, FieldSpec
from harness.workload.opcodes import FILL_BYTE, SPECS, Opcode, OpcodeSpec
from harness.workload.program import Operation, Program
from harness.workload.result import MultipleEntry, OperationResult, ProgramResult

__all__ = [
    "FIELDS",
    "FILL_BYTE",
    "SPECS",
    "FieldKind",
    "FieldSpec",
    "MultipleEntry",
    "Opcode",
    "OpcodeSpec",
    "Operation",
    "OperationResult",
    "Program",
    "ProgramResult",
    "decode_program",
    "decode_result",
    "encode_program",
    "encode_result",
]

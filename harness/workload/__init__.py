"""Workloads: programs of registry operations, their results, and the `Registry` that tests use."""

from harness.workload.builder import ProgramBuilder
from harness.workload.codec import decode_program, decode_result, encode_program, encode_result
from harness.workload.fields import FIELDS, FieldKind, FieldSpec
from harness.workload.keys import Enumeration
from harness.workload.opcodes import FILL_BYTE, SPECS, Opcode, OpcodeSpec
from harness.workload.program import Operation, Program
from harness.workload.recorder import SupportsRun
from harness.workload.registry import HARNESS_FOLDER, HARNESS_KEY, Registry
from harness.workload.result import MultipleEntry, OperationResult, ProgramResult
from harness.workload.step import Slot, Step, Under
from harness.workload.values import RegistryValue, TypedValue
from harness.workload.views import KeyInformation, ObjectBasicInformation, ValueInformation

__all__ = [
    "FIELDS",
    "FILL_BYTE",
    "HARNESS_FOLDER",
    "HARNESS_KEY",
    "SPECS",
    "Enumeration",
    "FieldKind",
    "FieldSpec",
    "KeyInformation",
    "MultipleEntry",
    "ObjectBasicInformation",
    "Opcode",
    "OpcodeSpec",
    "Operation",
    "OperationResult",
    "Program",
    "ProgramBuilder",
    "ProgramResult",
    "Registry",
    "RegistryValue",
    "Slot",
    "Step",
    "SupportsRun",
    "TypedValue",
    "Under",
    "ValueInformation",
    "decode_program",
    "decode_result",
    "encode_program",
    "encode_result",
]

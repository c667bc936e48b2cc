"""The host side of the probe driver: filters, rules, kernel calls, events and traces."""

from harness.probe.altitudes import HIGH, LOW, MIDDLE, altitudes
from harness.probe.client import Probe
from harness.probe.enums import (
    Action,
    Base,
    EventFlag,
    EventKind,
    InnerCall,
    PreviousMode,
    Routine,
    Subject,
)
from harness.probe.errors import ProbeError
from harness.probe.event import Event, Span
from harness.probe.filters import Filter, Removal
from harness.probe.info import ProbeInfo, ProbeStatistics
from harness.probe.kernel import KernelCallResult
from harness.probe.rule_chain import Rule
from harness.probe.rules import RuleBuilder
from harness.probe.trace import Pair, Trace

__all__ = [
    "HIGH",
    "LOW",
    "MIDDLE",
    "Action",
    "Base",
    "Event",
    "EventFlag",
    "EventKind",
    "Filter",
    "InnerCall",
    "KernelCallResult",
    "Pair",
    "PreviousMode",
    "Probe",
    "ProbeError",
    "ProbeInfo",
    "ProbeStatistics",
    "Removal",
    "Routine",
    "Rule",
    "RuleBuilder",
    "Span",
    "Subject",
    "Trace",
    "altitudes",
]

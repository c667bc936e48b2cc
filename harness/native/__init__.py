"""Cases that an executable brings itself, run one by one in a guest: gtest, Catch2, winetests, others."""

from harness.native.listing import Listing, list_cases
from harness.native.run import run_case
from harness.native.spec import Framework, NativeIsolation, NativeSuite, load_suite

__all__ = [
    "Framework",
    "Listing",
    "NativeIsolation",
    "NativeSuite",
    "list_cases",
    "load_suite",
    "run_case",
]

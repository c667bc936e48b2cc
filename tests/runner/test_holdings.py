"""What drivers hold, asked of a real runner under Wine: which knows none of it, and says so."""

from __future__ import annotations

import pytest

from harness.channel.abi import constant
from harness.channel.frames import RequestType
from tests.runner.winehost import RefusedError, StandardRunner

KEY = r"\REGISTRY\MACHINE\Software\RegFilterHarness"


@pytest.mark.parametrize(
    ("type", "values"),
    [
        (RequestType.POOL_TAGS, {"tags": b"Wrng"}),
        (RequestType.POOL_VERIFIED, {}),
        (RequestType.OPEN_KEYS, {"key": KEY}),
    ],
)
def test_wine_says_that_it_does_not_know(
    long_runner: StandardRunner, type: RequestType, values: dict[str, object]
) -> None:
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(type, **values)
    known = (constant("REGRUN_ERROR_SYSTEM"), constant("REGRUN_ERROR_UNSUPPORTED"))
    assert refused.value.error in known


@pytest.mark.parametrize("tags", [b"W", b"Wrng!", b"tags" * (constant("REGRUN_MAX_TAGS") + 1)])
def test_tags_have_four_bytes_and_there_are_not_too_many(long_runner: StandardRunner, tags: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        long_runner.ask(RequestType.POOL_TAGS, tags=tags)
    assert refused.value.error in (constant("REGRUN_ERROR_MALFORMED"), constant("REGRUN_ERROR_LIMIT"))

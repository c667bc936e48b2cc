"""Finding the first bad one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.repro.bisect import Judgement, bisect, builds_in
from harness.repro.verdict import Attempt, Verdict

LETTERS = {
    "g": Verdict.NOT_REPRODUCED,
    "b": Verdict.REPRODUCED,
    "o": Verdict.DIFFERENT,
    "i": Verdict.INFRA,
    "s": Verdict.SKIPPED,
}


class World:
    """Candidates "0", "1", ...; a letter each says how a run there ends."""

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.asked: list[int] = []

    def __call__(self, name: str) -> Attempt:
        self.asked.append(int(name))
        return Attempt(LETTERS[self.letters[int(name)]], f"run on {name}")

    def search(self, *, every: bool = False) -> object:
        return bisect([str(index) for index in range(len(self.letters))], self, every=every)


@given(st.integers(1, 200), st.integers(1, 200))
def test_the_first_bad_one_is_found_with_few_questions_and_none_twice(good: int, bad: int) -> None:
    world = World("g" * good + "b" * bad)
    found = bisect([str(index) for index in range(good + bad)], world)
    assert (found.first_bad, found.last_good) == (str(good), str(good - 1))
    assert len(world.asked) == len(set(world.asked)) <= 2 + (good + bad).bit_length()
    assert world.asked[:2] == [0, good + bad - 1]


@pytest.mark.parametrize(
    ("letters", "first_bad", "said"),
    [
        ("bbb", None, "bad already: add older ones"),
        ("ggg", None, "both good"),
        ("bgg", None, "not in order: 0 is bad"),
        ("ggibb", "3", "1 is good, 3 bad, and what is between can't be judged"),
        ("gissb", "4", "can't be judged"),
        ("sgobs", "3", "what is between can't be judged"),
        ("ggobbb", "3", "what is between can't be judged"),
        ("ss", None, "none of them can be judged"),
    ],
)
def test_ends_and_what_cannot_be_judged(letters: str, first_bad: str | None, said: str) -> None:
    world = World(letters)
    found = bisect([str(index) for index in range(len(letters))], world)
    assert found.first_bad == first_bad
    assert said in found.said
    judged = {answer.candidate: answer.judgement for answer in found.answers}
    assert all(judged[str(index)] is not Judgement.GOOD for index in world.asked if letters[index] in "iso")


def test_infra_is_never_taken_for_good_or_bad() -> None:
    found = bisect(["0", "1", "2", "3"], World("gibb"))
    assert (found.first_bad, found.last_good) == ("2", "0")
    assert next(a for a in found.answers if a.candidate == "1").judgement is Judgement.UNKNOWN


def test_answers_that_contradict_the_order_are_told() -> None:
    world = World("gbgb")
    found = bisect(["0", "1", "2", "3"], world, every=True)
    assert found.first_bad is None
    assert found.said == "not in order: 2 is good though 1, before it, is bad"
    assert sorted(world.asked) == [0, 1, 2, 3]


def test_one_candidate_is_no_list() -> None:
    with pytest.raises(UsageError, match="two or more"):
        bisect(["only"], World("g"))


def test_builds_are_ordered_as_git_describe_names_them(tmp_path: Path) -> None:
    names = ["v1.2.0", "v1.2.0-3-gaaaaaaa", "v1.2.0-12-g0000001", "v1.10.0", "v2.0.0-1-gffffff0"]
    for name in reversed(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my.sys").touch()
    assert [path.parent.name for path in builds_in(tmp_path)] == names
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no driver"):
        builds_in(tmp_path / "empty")

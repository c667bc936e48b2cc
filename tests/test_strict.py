from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.strict import ConfigError, Mistakes, load_toml, mistake, plain, read_table


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    path: Path
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 1
    share: float = 0.5
    when: date | str | None = None
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    by_name: Mapping[str, int] = field(default_factory=dict)


def read(tmp_path: Path, text: str) -> Outer:
    file = tmp_path / "file.toml"
    file.write_text(text)
    return read_table(Outer, load_toml(file), file)


def test_a_table_becomes_a_dataclass_with_paths_beside_the_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        name = "n"
        share = 2
        when = 2026-11-21
        by_name = { one = 1 }
        [inner]
        path = "a.txt"
        [[many]]
        path = "/b.txt"
        colour = "blue"
        """,
    )
    assert found == Outer(
        "n",
        share=2.0,
        when=date(2026, 11, 21),
        inner=Inner(tmp_path / "a.txt"),
        many=(Inner(Path("/b.txt"), Colour.BLUE),),
        by_name={"one": 1},
    )


def test_a_value_may_have_one_of_several_types(tmp_path: Path) -> None:
    assert read(tmp_path, 'name = "n"\nwhen = "10.0"').when == "10.0"
    with pytest.raises(ConfigError, match=r"when: must be a date .* or a text, not 7"):
        read(tmp_path, 'name = "n"\nwhen = 7')


def test_all_mistakes_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(
            tmp_path,
            """
            nam = "n"
            count = true
            by_name = { one = "1", two = 2, three = 3.0 }
            [[many]]
            colour = "green"
            [[many]]
            path = "x"
            colours = "red"
            """,
        )
    start = f"{tmp_path / 'file.toml'}: "
    assert [each.removeprefix(start) for each in raised.value.mistakes] == [
        "nam: unknown key; did you mean name? (allowed: by_name, count, inner, many, name, share, when)",
        "name: is missing; it is a text",
        "count: must be a whole number, not True",
        "many[0].path: is missing; it is a path",
        "many[0].colour: must be one of red, blue, not 'green'",
        "many[1].colours: unknown key; did you mean colour? (allowed: colour, path)",
        "by_name.one: must be a whole number, not '1'",
        "by_name.three: must be a whole number, not 3.0",
    ]
    assert str(raised.value).splitlines() == list(raised.value.mistakes)


def test_what_is_made_plain_can_be_read_again(tmp_path: Path) -> None:
    """JSON has no dates; what is kept as JSON has none either."""
    value = Outer(
        "n", inner=Inner(tmp_path / "a"), many=(Inner(tmp_path / "b", Colour.BLUE),), by_name={"x": 2}
    )
    assert read_table(Outer, json.loads(json.dumps(plain(value))), tmp_path / "elsewhere.json") == value


def test_gathered_mistakes_are_raised_together_and_each_once(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    mistakes = Mistakes()
    mistakes.check()
    with mistakes.gathered(file, "a.b"):
        raise UsageError("no such thing")
    with mistakes.gathered(file, "not used"):
        raise mistake(file, "c", "is wrong")
    mistakes.add(file, "c", "is wrong")
    with pytest.raises(ConfigError) as raised:
        mistakes.check()
    assert raised.value.mistakes == (f"{file}: a.b: no such thing", f"{file}: c: is wrong")


def test_a_file_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_bytes('targets = []\nname = "café"\n'.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load_toml(file)
    assert str(caught.value) == f"{file}: not UTF-8: byte 0xe9 in line 2; save it as UTF-8"

"""`bring` over messages: one row a rule of ingest.md 4.2."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.mapping.bring import LONGEST, MISSING, MODS, MOST_KEYS, Bring, Each, is_bring
from anylog.mapping.values import Unfit

MESSAGE: dict[str, Any] = {
    "m": {"a": "Pump 7", "b": 12, "none": None, "f": 1.5, "yes": True},
    "London Mean (ug/m3)": 3,
    "it's": "quoted",
    "Device": "d1",
    "device": "exact",
    "a]b": 5,
    "list": [10, 20, 30],
    "readings": [{"value": 1, "n": "x"}, {"value": 2}, {"value": None, "n": "z"}],
    "deep": [{"in": [{"v": 1}, {"v": 2}]}, {"in": [{"v": 3}]}, {}],
    "single": {"value": 9},
    "empty": [],
    "text": "a.b.c",
    "blank": "",
    "twice": [3, 1, 3, "x", None],
}

PATHS: list[tuple[str, Any]] = [
    ("bring [m][a]", "Pump 7"),
    ("[m][a]", "Pump 7"),
    ("BRING [m][a]", "Pump 7"),
    ("bring[m][a]", "Pump 7"),
    ("bring [ m ][ a ]", "Pump 7"),
    ("bring ['London Mean (ug/m3)']", 3),
    ('bring ["London Mean (ug/m3)"]', 3),
    ("bring [London Mean (ug/m3)]", 3),
    ('bring ["it\'s"]', "quoted"),
    ("bring ['a]b']", 5),
    ("bring [m][b]", 12),
    ("bring [m][f]", 1.5),
    ("bring [m][yes]", True),
    ("bring [m][none]", None),
    ("bring [m][gone]", MISSING),
    ("bring [gone][a]", MISSING),
    ("bring [m][a][more]", MISSING),
    ("bring [m][none][more]", MISSING),
    ("bring [blank]", ""),
    ("bring [m]", MESSAGE["m"]),
    ("bring [list]", [10, 20, 30]),
    # letter case: exact first
    ("bring [device]", "exact"),
    ("bring [Device]", "d1"),
    ("bring [DEVICE]", "d1"),
    ("bring [M][B]", 12),
    # a place in a list
    ("bring [list][0]", 10),
    ("bring [readings][1][value]", 2),
    ("bring [list][3]", MISSING),
    ("bring [list][-1]", MISSING),
    ("bring [list][a]", MISSING),
    ("bring [list][99999999999999999999]", MISSING),
    # through lists
    ("bring [readings][][value]", Each([1, 2, None])),
    ("bring [readings][][n]", Each(["x", MISSING, "z"])),
    ("bring [readings][ ][VALUE]", Each([1, 2, None])),
    ("bring [list][]", Each([10, 20, 30])),
    ("bring [deep][][in][][v]", Each([1, 2, 3])),
    ("bring [single][][value]", Each([9])),
    ("bring [empty][][value]", Each()),
    ("bring [text][][value]", MISSING),
    ("bring [gone][][value]", MISSING),
    # any key
    ("bring [*][a]", "Pump 7"),
    ("bring [*][value]", 9),
    ("bring [m][*]", "Pump 7"),
    ("bring [*][gone]", MISSING),
    ("bring ['*'][a]", MISSING),
    ("bring [list][*]", MISSING),
    # alternatives
    ("bring [gone]:[m][a]", "Pump 7"),
    ("bring [m][a]:[m][b]", "Pump 7"),
    ("bring [m][none]:[m][b]", 12),
    ("bring [gone] : [m][none]", None),
    ("bring [m][none]:[gone]", None),
    ("bring [gone]:[gone too]", MISSING),
    ("bring [gone]:[also]:[device]", "exact"),
    ("bring [readings][][n]:[readings][][value]", Each(["x", 2, "z"])),
    ("bring [readings][][value]:[readings][][n]", Each([1, 2, "z"])),
    # texts
    ("bring [m][a] _ [m][b]", "Pump 7_12"),
    ("bring [m][a]_[m][b]", "Pump 7_12"),
    ("bring pre_ [m][b] '_ post'", "pre_12_ post"),
    ('bring [m][b] " : " [m][yes]', "12 : true"),
    ("bring [m][b] [m][f]", "121.5"),
    ("bring [gone] _ [m][b]", "_12"),
    ("bring [gone] _ [m][none]", MISSING),
    ("bring t_ [m]", 't_{"a":"Pump 7","b":12,"none":null,"f":1.5,"yes":true}'),
    ("bring [m][b] _ [readings][][n]", Each(["12_x", "12_", "12_z"])),
    # functions
    ("bring [text(find(.))]", "a"),
    ("bring [text(rfind(.))]", "c"),
    ("bring [text(rfind('.'))]", "c"),
    ("bring [text(find(#))]", "a.b.c"),
    ("bring [text(prefix(3))]", "a.b"),
    ("bring [text(suffix(2))]", ".c"),
    ("bring [text(suffix(0))]", ""),
    ("bring [text(suffix(99))]", "a.b.c"),
    ("bring [m][a(prefix(4))] - [text(suffix(1))]", "Pump-c"),
    ("bring [m][b(prefix(1))]", "1"),
    ("bring [m][none(prefix(1))]", None),
    ("bring [gone(prefix(1))]", MISSING),
    ("bring [m(prefix(1))]", MISSING),
    ("bring [readings][][n(prefix(1))]", Each(["x", MISSING, "z"])),
    # mods
    ("bring.first [readings][][value]", 1),
    ("bring.last [list][]", 30),
    ("bring.recent [list][]", 30),
    ("bring.first [empty][]", MISSING),
    ("bring.first [m][b]", 12),
    ("bring.unique [twice][]", Each([3, 1, "x", None])),
    ("bring.sort [twice][]", Each([1, 3, 3, None, "x"])),
    ("bring.unique.sort.first [twice][]", 1),
    ("bring.min [twice][]", 1),
    ("bring.max [list][]", 30),
    ("bring.min [empty][]", MISSING),
    ("bring.count [readings][][n]", 2),
    ("bring.count [m][b]", 1),
    ("bring.count [gone]", 0),
    ("bring.json [list][]", [10, 20, 30]),
    ("bring.list [readings][][n]", ["x", "z"]),
    ("bring.null [gone]", None),
    ("bring.null [m][b]", 12),
    # separators
    ("bring [list][] separator = ,", "10,20,30"),
    ("bring [list][] separator=' - '", "10 - 20 - 30"),
    ("bring [list][] separator = \\n", "10\n20\n30"),
    ("bring.unique [twice][] separator = ;", "3;1;x;"),
    ("bring [m][b] separator = ,", 12),
    ("bring separator [m][b]", "separator12"),
]


@pytest.mark.parametrize(("text", "expected"), PATHS, ids=lambda value: value if isinstance(value, str) else "")
def test_bring(text: str, expected: Any) -> None:
    """What an expression finds in the message, and of which kind it is: one value, or one for each row."""
    found = Bring.read(text).find(MESSAGE)
    assert found == expected and type(found) is type(expected)


WRONG = [
    ("bring", "names no attribute"),
    ("bring _", "names no attribute"),
    ("", "names no attribute"),
    ("bring [a", "cannot read the key at '[a'"),
    ("bring [a][[b]]", "cannot read the key"),
    ("bring [a] 'b", "a quotation is not closed"),
    ("bring.bogus [a]", "after 'bring.' comes one of"),
    ("bring [a(find())]", "takes a text to look for"),
    ("bring [a(prefix(x))]", "takes a number of characters"),
    ("bring [a(prefix(1))][b]", "prefix ends a path"),
    ("bring [a][] separator =", "a text is missing after 'separator ='"),
    ("bring " + "[a]" * (MOST_KEYS + 1), f"at most {MOST_KEYS}"),
    ("bring [" + "a" * LONGEST + "]", "characters, at most"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_wrong(text: str, told: str) -> None:
    """What cannot be read is refused when it is declared, and the refusal says what."""
    with pytest.raises(AnyLogError) as refused:
        Bring.read(text)
    assert refused.value.number == 2 and told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("bring [a]", True), ("bring.first [a]", True), ("BRING[a]", True), ("bringer", False), ("x bring [a]", False)],
)
def test_is_bring(text: str, expected: bool) -> None:
    """Only a text that begins with the word is an expression."""
    assert is_bring(text) is expected


def test_many() -> None:
    """It is known beforehand whether a path goes through a list."""
    assert Bring.read("bring [a] _ [b][][c]").many and not Bring.read("bring [a]:[b]").many


def test_lists_of_different_lengths() -> None:
    """Two lists in one expression must be of one length."""
    with pytest.raises(Unfit, match="different lengths: 2, 3"):
        Bring.read("bring [a][] _ [b][]").find({"a": [1, 2], "b": [1, 2, 3]})


def test_every_mod_takes_anything() -> None:
    """A mod meets whatever a message holds."""
    for mod in MODS:
        for value in (None, 1, "x", [], {}, [{}, [], None, 1e308, 10**400, float("nan")], {"a": [1]}):
            for path in ("[v]", "[v][]", "[v][][a]"):
                try:
                    Bring.read(f"bring.{mod} {path}").find({"v": value})
                except Unfit:
                    pass

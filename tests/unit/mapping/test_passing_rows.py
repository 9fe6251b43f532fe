"""Conditions on passing rows: what they see, and that no value of a row becomes a part of a command."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.tokens import Kind, logical_lines, tokens_of
from anylog.mapping.body import TooWide
from anylog.mapping.streaming import Conditions, Template, read_condition, screen

SCOPE = Scope(Dictionary(), {})
DROP = "then return ignore entry"


def left(text: str, *rows: dict[str, Any], scope: Scope = SCOPE) -> list[dict[str, Any]]:
    """The rows that a condition leaves."""
    condition = read_condition("town", "weather", 0, text)
    return list(screen([condition], rows, scope, lambda condition, row: None))  # type: ignore[arg-type]


HOLDS = [
    ("[v] > 10", {"v": 11}, True),
    ("[v] > 10", {"v": "9"}, False),
    ("[v] > 10", {"v": "11"}, True),  # a text that is a number is one
    ("[v] > 9", {"v": 10.5}, True),
    ("[a] > 10 and [b] == on", {"a": 11, "b": "ON"}, True),
    ("([a] > 10) and ([b] == on)", {"a": 11, "b": "off"}, False),
    ("([a] > 10 or [b] == on)", {"a": 1, "b": "on"}, True),
    ("[b] == true", {"b": True}, True),
    ("[name] contains mp", {"name": "Pump"}, True),
    ("not [v]", {"v": 0}, True),
    ("[a][b] == 3", {"a": {"b": 3}}, True),
    ("[Engine Temp] > 5", {"engine_temp": 6}, True),  # another spelling of the same column
    ("[engine_temp] > 5", {"Engine Temp": 6}, True),
    ("[v] > 18446744073709551615", {"v": TooWide("18446744073709551616")}, True),
    ("[v] contains 1844", {"v": [1, TooWide("18446744073709551616")]}, True),
    ("[v] > 5", {"v": {"w": TooWide("18446744073709551616")}}, True),  # as texts
    # What is not there makes a comparison false, whatever it is.
    ("[w] > 1", {"v": 1}, False),
    ("[w] != 1", {"v": 1}, False),
    ("[w] == ''", {"v": 1}, False),
    ("[w] contains x", {"v": 1}, False),
    ("[w] != 1", {"w": None}, False),
    ("[w] > 1 or [v] == 1", {"v": 1}, True),
    ("[w] not declared", {"v": 1}, True),
    ("[v] > !most", {"v": 1}, False),  # a key that nobody assigned
    ("[v] > abc.int", {"v": "x"}, True),
]


@pytest.mark.parametrize(("text", "row", "holds"), HOLDS)
def test_holds(text: str, row: dict[str, Any], holds: bool) -> None:
    """Values of the row as they are compared everywhere; what cannot be evaluated is false."""
    assert left(f"if {text} {DROP}", row) == ([] if holds else [row])


def test_keys_are_those_of_the_moment() -> None:
    """A key of the dictionary is looked up for each row."""
    scope = Scope(Dictionary(), {})
    condition = read_condition("town", "weather", 0, f"if [v] > !most {DROP}")
    for most, expected in [("5", [{"v": 4}]), ("3", []), ("x", [{"v": 4}])]:
        scope.dictionary.set("most", most)
        assert screen([condition], [{"v": 4}], scope, lambda *_: None) == expected, most


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("if [v] > 1", 2),
        ("if [v] > 1 then", 2),
        ("[v] > 1 then print x", 2),
        ("if [v] > then print x", 181),
        ("if then print x", 181),
        ("if [v] > 1 then return", 2),
        ("if [v] > 1 then return ignore attribute", 2),
        ('if [v] > 1 then print "x', 2),
    ],
)
def test_refused(text: str, number: int) -> None:
    """A wrong one is refused when it is declared, not when a row comes."""
    with pytest.raises(AnyLogError) as caught:
        read_condition("town", "weather", 0, text)
    assert caught.value.number == number


def test_all_are_tried_until_the_row_is_removed() -> None:
    """In the order of declaration; the first `ignore entry` ends it for that row alone."""
    texts = ["if [v] > 0 then print a", f"if [v] > 5 {DROP}", "if [v] > 0 then print b"]
    conditions = [read_condition("town", "weather", 0, text) for text in texts]
    fired: list[tuple[str, Any]] = []

    def fire(condition: Any, row: Any) -> None:
        fired.append((condition.command.text(row), row["v"]))

    assert screen(conditions, [{"v": 1}, {"v": 6}, {"v": 0}], SCOPE, fire) == [{"v": 1}, {"v": 0}]
    assert fired == [("print a", 1), ("print b", 1), ("print a", 6)]
    assert [each.done for each in conditions] == [2, 1, 1]


def test_limit() -> None:
    """After its limit a condition does nothing more; `ignore entry` has one only if it is given."""
    condition = read_condition("town", "weather", 2, f"if [v] {DROP}")
    assert screen([condition], [{"v": 1}] * 5, SCOPE, lambda *_: None) == [{"v": 1}] * 3
    assert condition.done == 2 and condition.spent
    assert left(f"if [v] {DROP}", *[{"v": 1}] * 5) == []


def test_thresholds() -> None:
    """`[threshold.max]` is what was set for the column; without it the comparison is false."""
    condition = read_condition("town", "weather", 0, f"if [v] > [threshold.max] {DROP}")
    for values, expected in [({}, [{"v": 5}]), ({"threshold.max": 4.0}, []), ({"threshold.max": 9.0}, [{"v": 5}])]:
        assert screen([condition], [{"v": 5}], SCOPE, lambda *_: None, lambda: values) == expected, values  # noqa: B023


def test_places() -> None:
    """Of a table, of all tables of its database, the same one only once, numbered anew after one is gone."""
    conditions = Conditions()
    for table, text in [
        ("weather", "if [v] > 1 then print 1"),
        ("*", f"if [v] {DROP}"),
        ("weather", "if [v] then x = 1"),
    ]:
        conditions.add(read_condition("town", table, 0, text))
    assert [each.text[-1] for each in conditions.of("town", "weather")] == ["1", "y", "1"]
    assert len(conditions.of("town", "other")) == 1 and not conditions.of("village", "weather")
    with pytest.raises(AnyLogError, match="Duplicate Condition"):
        conditions.add(read_condition("town", "weather", 3, "if  [v] > 1 then print 1"))
    assert [(place, each.table) for place, each in conditions.listed()] == [(1, "*"), (1, "weather"), (2, "weather")]
    with pytest.raises(AnyLogError):
        conditions.reset("town", "weather", [1, 3])
    assert len(conditions) == 3
    assert conditions.reset("town", "weather", [1]) == 1
    assert [(place, each.text) for place, each in conditions.listed("town", "weather")] == [(1, "if [v] then x = 1")]
    assert conditions.reset() == 2 and not conditions.of("town", "weather")


ROW = {"v": 1.5, "n": "a b", "on": True, "o": {"x": [1]}, "empty": None, "q": 'it\'s "so" & exit node'}
COMMANDS = [
    ("print [v] [n]", 'print 1.5 "a b"'),
    ('print "value [v] of [n]"', 'print "value 1.5 of a b"'),
    ("print value[v]", "print value[v]"),  # a bracket after a name is not a column
    ("x[v] = [on]", "x[v] = true"),
    ("rest get where url = http://h/[n]/y", 'rest get where url = http://h/"a b"/y'),
    (
        'rest post where body = {"v": [v], "n": "[n]", "e": [empty]}',
        'rest post where body = {"v": 1.5, "n": "a b", "e": null}',
    ),
    ("print [o][x] [o]", 'print "[1]" "{”x”:[1]}"'),
    ("print [nothing]", 'print ""'),
    ("print [q]", 'print "it’s ”so” & exit node"'),
    ("print 'q: [q]'", "print 'q: it’s ”so” & exit node'"),
    ("print !key [v]", "print !key 1.5"),
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_command(command: str, expected: str) -> None:
    """Values stand in the command as numbers or as text in quotes."""
    assert Template.read(command).text(ROW) == expected


def test_an_assignment_takes_the_value_as_it_is() -> None:
    """No quotes are lost where a value goes to a key."""
    template = Template.read("last = [q]")
    assert (template.key, template.value(ROW)) == ("last", ROW["q"])
    assert Template.read("last = [o][x]").value(ROW) == [1]
    assert Template.read("last = [v]").value({"v": TooWide("18446744073709551616")}) == "18446744073709551616"


HOSTILE = [
    '" & exit node & "',
    "' & x = 1",
    "!secret",
    "$HOME",
    "\\",
    'a\\" & b',
    "] & exit",
    ") & exit",
    "\n exit node",
    "# x",
]
FORMS = (
    "print [v] end",
    'print "[v]" end',
    "print '[v]' end",
    "print a/[v]/b end",
    'say {"v": "[v]"} end',
    "say ([v]) end",
)


class HostileTests(SynchronousTestCase):
    @given(form=some.sampled_from(FORMS), value=some.text(min_size=1, max_size=40) | some.sampled_from(HOSTILE))
    def test_no_value_becomes_a_command(self, form: str, value: str) -> None:
        """Whatever a device sends: one statement of the same tokens, and what follows the value stays."""
        template = Template.read(form)
        text = template.text({"v": value})
        self.assertEqual(len(logical_lines(text, typed=True)), 1)
        found, expected = tokens_of(text), tokens_of(template.text({"v": "x"}))
        self.assertEqual([each.kind for each in found], [each.kind for each in expected], text)
        self.assertEqual(found[-1].text, "end")
        words = [each.text for each in found if each.kind is Kind.WORD]
        self.assertEqual(words, [each.text for each in expected if each.kind is Kind.WORD])

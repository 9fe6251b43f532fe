"""What a few letters could make of a node's memory and time: values, references in references, statements."""

from __future__ import annotations

import json

import pytest
from language_node import LanguageCase
from twisted.internet.task import Clock

from anylog.errors import AnyLogError
from anylog.language.dictionary import LARGEST, MOST, WITHIN, Dictionary, Scope, read_json, resolve_json
from anylog.language.expressions import evaluated
from anylog.language.script import Script
from anylog.language.tokens import LONGEST, tokens_of

NOWHERE = Scope(Dictionary(), {})


@pytest.mark.parametrize(
    "expression",
    [
        "round(1, ndigits=-100000000)",
        "str([2**8000]*90000)",
        "datetime.datetime.strptime('11', '%d%d')",
        "datetime.datetime.strptime('1', '%Y' * 200)",
        "'\\ud800'",
        "{'a': '\\udfff'}",
    ],
)
def test_expressions(expression: str) -> None:
    with pytest.raises(AnyLogError) as refused:
        evaluated(expression, NOWHERE, 0.0)
    assert refused.value.number == 34


def test_rounded() -> None:
    assert evaluated("round(2.567, 1)", NOWHERE, 0.0) == 2.6
    assert evaluated("round(2.567, ndigits=2)", NOWHERE, 0.0) == 2.57
    assert evaluated("round(2.567, None)", NOWHERE, 0.0) == 3


class Values(LanguageCase):
    """One value of a key."""

    def test_text_that_doubles(self) -> None:
        """Each way to put texts together ends where a value would be too large; the key is undefined then."""
        self.dictionary.set("b", "z" * (LARGEST // 2))
        for line in (
            "x = !b + !b + !b",
            "x = !b/!b/!b",
            "x = " + "!b " * 20_000,
            "set x = !b/!b/!b",
            "print " + "!b " * 1000,
            "print !b + !b + !b",
            "x[k] = !b:!b:!b",
            "test fold " + "!b " * 1000,
            "test fold where name = " + "!b " * 1000,
            "test raw " + "!b " * 1000,
            "set policy x [a] = " + "!b " * 1000,
            "x = " + "!b/" * 10_001,
        ):
            error = self.refused(line)
            self.assertEqual(error.number, 2, line[:40])
            self.assertIn("more than", str(error))
            self.assertIsNone(self.dictionary.get("x"))

    def test_entries(self) -> None:
        """A list or a dictionary is no larger either."""
        for value in (
            ["z" * (LARGEST // 2)] * 3,
            [[] for _ in range(MOST // 8)],
            {str(each): {} for each in range(MOST + 1)},
        ):
            with pytest.raises(AnyLogError, match="more than"):
                Dictionary().set("x", value)
            with pytest.raises(AnyLogError, match="more than"):
                Dictionary({"x": {}}).assign("x", ("a",), value)
        self.dictionary.set("x", [1] * 1000)
        self.assertEqual(len(self.dictionary.get("x")), 1000)

    def test_copies(self) -> None:
        """What is kept is a copy in all its levels."""
        inner = {"a": [1, {"b": 2}]}
        self.dictionary.set("x", [inner])
        inner["a"][1]["b"] = 3
        self.assertEqual(self.dictionary.get("x"), [{"a": [1, {"b": 2}]}])

    def test_half_of_a_pair(self) -> None:
        """Text that nobody can write anywhere is not kept: else the dictionary could not be shown any more."""
        for value in ("a\ud800b", {"a": "\udfff"}, ["\ud800"], {"\ud800": 1}):
            with pytest.raises(AnyLogError, match="no Unicode"):
                Dictionary().set("x", value)
            with pytest.raises(AnyLogError, match="no Unicode"):
                Dictionary({"x": {}}).assign("x", ("a",), value)
        self.dictionary.set("x", "äöü \U0001f600")
        self.assertEqual(self.dictionary.get("x"), "äöü \U0001f600")

    def test_parts(self) -> None:
        self.dictionary.set("x", "abcdef")
        for word, expected in [
            ("!x[2:4]", "cd"),
            ("!x[-2:]", "ef"),
            (f"!x[{'9' * 5000}:]", None),
            ("!x[-:]", None),
            ("!x[:-]", None),
        ]:
            self.assertEqual(Scope(self.dictionary, {}).resolve(word), expected, word[:20])

    def test_casts(self) -> None:
        """A word with thousands of casts is refused, not gone down."""
        for cast in ("int", "str", "len"):
            self.assertEqual(self.refused(f"y = !x{f'.{cast}' * 5000}").number, 2)


class References(LanguageCase):
    """JSON that names keys with JSON that names keys."""

    def test_itself(self) -> None:
        for line in ('a = {"x": !a}', 'b = {"x": !c}', 'c = [!d, {"y": !b}]', "d = 1"):
            self.ask(line)
        error = self.refused("json !a")
        self.assertEqual((error.number, "'!a' holds itself" in str(error)), (6, True))
        self.assertIn("'!b' holds itself", str(self.refused("json !c")))
        self.ask('b = {"x": !d, "y": !d}')
        self.assertEqual(json.loads(self.text("json !c") or ""), ["1", {"y": {"x": "1", "y": "1"}}])

    def test_doubling(self) -> None:
        """Each key holds the one before it twice."""
        self.dictionary.set("a0", '{"k": 1}')
        for level in range(1, 31):
            self.dictionary.set(f"a{level}", f'{{"x": !a{level - 1}, "y": !a{level - 1}}}')
        self.assertEqual(len(json.loads(resolve_json("[!a3, !a3]", Scope(self.dictionary, {})))), 2)
        self.assertIn("within more than", str(self.refused("json !a30")))
        self.dictionary.set("a0", f'{{"k": "{"z" * 1000}"}}')
        self.assertIn(f"{WITHIN:,}", str(self.refused("json !a12")))

    def test_whole(self) -> None:
        """Without references it is read as JSON, and as what is nearly JSON."""
        for text, expected in [('{"a": [1, 2]}', {"a": [1, 2]}), ("{'a': True, }", {"a": True}), ("[1,]", [1])]:
            self.assertEqual(json.loads(resolve_json(text, NOWHERE)), expected)
            self.assertEqual(read_json(text), expected)


class Statements(LanguageCase):
    """Long lines of scripts and of those who ask."""

    def test_words(self) -> None:
        for line in (
            "x = " + "a=" * 100_000,
            "if " + "1 == 1 and " * 50_000 + "1 then print x",
            "print " + "a " * 90_000,
        ):
            error = self.refused(line)
            self.assertEqual(error.number, 2)
            self.assertIn("words", str(error))

    def test_brackets(self) -> None:
        """Brackets that are never closed are looked for a few times, not once for each word."""
        with pytest.raises(AnyLogError, match="never closed"):
            tokens_of("a] " * 99 + "a{ " * 99 + "w" * (LONGEST - 1000))
        self.assertEqual([token.text for token in tokens_of("a{ b [c] d[ e")], ["a{", "b", "[c]", "d[", "e"])

    def test_within_each_other(self) -> None:
        """The words of a line are made out once, however many conditions stand before what is run."""
        rest = "print " + "a " * 15_000
        self.ask("if 1 then " * 100 + rest)
        self.assertEqual(len(self.told), 1)
        self.ask("if 1 then x = 1 & do if !nothing then x = 2 & do else if !x == 1 then x = 3")
        self.assertEqual(self.dictionary.get("x"), "3")

    def test_blanks_in_loops(self) -> None:
        """The end of a loop is found, whatever stands in it."""
        self.assertEqual(
            self.run_script("for loop start where list = [1, 2]\nif 1 then" + " " * 200_000 + "print a\nfor loop end"),
            ["a", "a"],
        )
        lines = ["for loop start where list = !x", "if 1 then  for  loop start where list = !y", "for loop end"] * 2
        self.assertEqual(Script.read("s", "\n".join([*lines[:3], "for loop end"])).end_of_loop(0), 3)

    def test_option(self) -> None:
        """A key of many letters is refused, not compared with all that there are."""
        error = self.refused(f"test fold where {'z' * 200_000} = 1")
        self.assertEqual(error.number, 2)

    def test_others_get_a_turn(self) -> None:
        """Statements that are asked in one line do not keep all others waiting, nor do the lines of a JSON script."""
        asked = self.interpreter.execute("x = 1 & " * 500, self.context)
        self.assertNoResult(asked)
        self.clock.pump([0.0] * 20)
        self.successResultOf(asked)

    def test_slow_lines(self) -> None:
        """A line that takes long is followed by a turn of others."""
        clock = self.clock

        class Slow(Clock):
            def seconds(self) -> float:
                clock.rightNow += 0.01
                return float(clock.rightNow)

        self.interpreter._clock = slow = Slow()
        self.disk.files["/s/slow.al"] = "x = 1\n" * 20
        asked = self.interpreter.execute("process /s/slow.al", self.context)
        self.assertNoResult(asked)
        for _ in range(20):
            slow.advance(0)
        self.successResultOf(asked)

    def test_jumps_of_joined_statements(self) -> None:
        """`a & goto b` in a JSON script goes to b, and what follows a jump is not run."""
        commands = ["x = 1 & goto one & x = 2", "x = 3", ":one:", "test json & goto two", "x = 4", ":two:", "print !x"]
        self.run_script(json.dumps({"config": [{"commands": commands}]}), "/s/test.json")
        self.assertEqual(self.told[-1:], ["1"])

"""The expressions of `python`: what they give; nothing large, slow or forbidden comes about (language.md 9.4)."""

from __future__ import annotations

from typing import Any

import pytest

from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.expressions import LARGEST, evaluated

NOW = 1_780_000_000.0  # 2026-05-28 20:26:40 UTC


def scope() -> Scope:
    dictionary = Dictionary()
    values: dict[str, Any] = {
        "a": "12",
        "b": "45",
        "s": "My Company Inc.",
        "l": [3, 1, 2],
        "a-b": "x",
        "big": "x" * 10**6,
    }
    for key, value in values.items():
        dictionary.set(key, value)
    return Scope(dictionary, {"NAME": "env"})


GIVES: list[tuple[str, Any]] = [
    ("!a.str + !b.str", "1245"),
    ("!a + !b", "1245"),
    ("!a.int + !b.int", 57),
    ("!a.int + !b.float", 57.0),
    ("!a.bool", True),
    ('"!a.int + 1"', 13),
    ("$NAME + '!'", "env!"),
    ("'!a'", "!a"),
    ("!s.split(' ')[0]", "My"),
    ("!s.rsplit(' ', 1)[-1].strip('.')", "Inc"),
    ("!s.replace(' ', '-').replace('.', '').lower()", "my-company-inc"),
    ("!s[0:2]", "My"),
    ("!l[0] + sorted(!l)[0]", 4),
    ("len(!l) == 3 and not 1 > 2", True),
    ("!a-b", "x"),
    ("!a.int-!b.int", -33),
    ("!a.int-1", 11),
    ("int(!a) // 5 * 2 ** 3 % 7", 2),
    ("1 if !a == '12' else 2", 1),
    ("'Company' in !s", True),
    ("{'k' : [1, 2]}['k'][1]", 2),
    ("max(!l), min(!l), abs(-1), round(2.567, 2), float('1.5')", (3, 1, 1, 2.57, 1.5)),
    ("','.join(['a', 'b'])", "a,b"),
    ("{'a' : 1}.keys()", ["a"]),
    ("datetime.datetime.utcnow().strftime('%Y-%m-%d %H:%M:%S')", "2026-05-28 20:26:40"),
    ("(datetime.datetime.now() - datetime.timedelta(days=1)).strftime('%d')", "27"),
    ("datetime.datetime.strptime('2026-01-02', '%Y-%m-%d').month", 1),
    ("datetime.utcnow().year", 2026),
    ("len(!big)", 10**6),
    ("!big.upper()[0]", "X"),
    ("None", None),
]

REFUSED: list[tuple[str, str]] = [
    ("!nope + 1", "'!nope' is not defined"),
    ("!s.int + 1", "'!s.int' has no value"),
    ("9**9**9", "bits"),
    ("2**(-10**9)", "bits"),
    ("1 << 10**9", "bits"),
    ("(1 << 16000) * (1 << 16000)", "bits"),
    ("'x' * 10**9", "characters or entries"),
    ("10**9 * [1]", "characters or entries"),
    ("[[1] * 1000] * 1000", "characters or entries"),
    ("str([['x' * 200000] * 200000])", "characters or entries"),
    ("'a'.zfill(10**9)", "characters or entries"),
    ("'a'.ljust(10**9)", "characters or entries"),
    ("'a'.replace('', 'b' * 200000)", ""),
    ("'aaaaaaaa'.replace('a', 'b' * 200000)", "characters or entries"),
    ("'x'.join(['aaaa'] * 200000)", "characters or entries"),
    ("!big + !big", "characters or entries"),
    ("round(1, -10**9)", "digits"),
    ("int('9' * 5000)", "ValueError"),
    ("(-8) ** 0.5", "complex"),
    ("1 / 0", "ZeroDivisionError"),
    ("'a' + 1", "TypeError"),
    ("[1][5]", "IndexError"),
    ("{}['a']", "KeyError"),
    ("range(10**12)", "'range' is no function here"),
    ("open('x')", "'open' is no function here"),
    ("exec('1')", "'exec' is no function here"),
    ("__import__('os')", "is no function here"),
    ("().__class__", "'__class__'"),
    ("'a'.__class__", "'__class__'"),
    ("'{0.__class__}'.format(1)", "'format'"),
    ("f'{1:1000000000}'", "JoinedStr"),
    ("'%1000000000d' % 1", "% on a text"),
    ("datetime.datetime.utcnow().strftime('%1000000000d')", "is no format of a time"),
    ("datetime.timedelta(days=10**9)", "OverflowError"),
    ("datetime.os", "'datetime' is no name here"),
    ("sorted([1], key=1)", "'key'"),
    ("[x for x in [1]]", "ListComp"),
    ("lambda: 1", "Lambda"),
    ("(x := 5)", "NamedExpr"),
    ("b'x'", "bytes"),
    ("1j", "complex"),
    ("print(1)", "'print' is no function here"),
    ("max(*[1])", "*"),
    ("a", "'a' is no name here"),
    ("1 +", "invalid syntax"),
    ("import os", "invalid syntax"),
    ("-" * 100 + "1", "levels"),
    ("(" * 3000 + "1" + ")" * 3000, "characters, at most"),
    ("(" * 1500 + "1" + ")" * 1500, ""),
    ("1 " * 3000, "characters, at most"),
]


@pytest.mark.parametrize(("text", "expected"), GIVES, ids=[text for text, _ in GIVES])
def test_value(text: str, expected: Any) -> None:
    """Values keep their types; texts that were given may be larger than what comes about."""
    found = evaluated(text, scope(), NOW)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("text", "told"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_refused(text: str, told: str) -> None:
    """Each refusal says what is wrong, and comes before the work is done."""
    with pytest.raises(AnyLogError) as refused:
        evaluated(text, scope(), NOW)
    assert refused.value.number == 34
    assert told in str(refused.value)


def test_nothing_is_a_missing_expression() -> None:
    """An empty one is an error of the command's structure."""
    for text in ("", "  ", '""'):
        with pytest.raises(AnyLogError) as refused:
            evaluated(text, scope(), NOW)
        assert refused.value.number == 2


def test_work_is_bounded() -> None:
    """However often a large value is made, all of them together stay within a few times the limit."""
    step = f"'x' * {LARGEST - 1}"
    with pytest.raises(AnyLogError, match="characters or entries"):
        evaluated(" and ".join([step] * 100), scope(), NOW)

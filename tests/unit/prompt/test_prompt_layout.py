"""How answers and errors look on a terminal, the pager of our own, and what is remembered."""

from __future__ import annotations

import json
import stat
from io import StringIO
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from anylog.prompt.door import Refused
from anylog.prompt.layout import box, harmless, indented, laid_out, rows_of
from anylog.prompt.pager import own, pager_of
from anylog.prompt.remembered import KEPT, Remembered


def test_laid_out() -> None:
    """An empty line before, one line end after; a value in quotes; long JSON with a line for each member."""
    for command, text, expected in [
        ("get status", "running", "\nrunning\n"),
        ("get processes", "\r\nA\r\nB\r\n", "\nA\nB\n"),
        ("!x", "5", "'5'\n"),
        ("!x", '{"a": 1}', '{"a": 1}\n'),
        ("$HOME", "here", "'here'\n"),
        ("set x = 5", "", ""),
        ("get x", '{"a":1}', '\n{"a":1}\n'),
        ("get x", '{"a":1.10,"b":[]}', '\n{\n  "a": 1.10,\n  "b": []\n}\n'),
    ]:
        assert laid_out(command, text, 12) == expected, command


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_indented(value: object) -> None:
    """The same value, whatever it is, with the layout that everybody knows."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert indented(text) == json.dumps(value, ensure_ascii=False, indent=2)


def test_no_json_stays() -> None:
    """What only looks like JSON is shown as it came."""
    for text in ("{a}", "[1, 2", "[" * 100_000):
        assert indented(text) == text


def test_harmless() -> None:
    """A row cannot speak to the terminal."""
    assert harmless("a\x1b[2Jb\x07\tc\r\nd\x9be\x7f") == "a^[[2Jb^G\tc\nd\\x9be^?"


def test_box() -> None:
    """The detail in a box, then the general text; an error without detail says its text."""
    assert box(Refused("x", general="Error Command Structure", detail="what was\nwrong")).splitlines() == [
        "|========|",
        "|what was|",
        "|wrong   |",
        "|========|",
        "Error Command Structure",
    ]
    assert "|Time Out|" in box(Refused("Time Out"))


def test_rows() -> None:
    """Long lines take several rows."""
    for text, expected in [("", 1), ("abc", 1), ("a" * 20, 2), ("a" * 21, 3), ("a\nb", 2)]:
        assert rows_of(text, 10) == expected, text


def test_which_pager() -> None:
    """$PAGER rules; `cat` or nothing in it means none; without less it is our own."""
    for environ, expected in [
        ({"PAGER": "more"}, "more"),
        ({"PAGER": "cat"}, None),
        ({"PAGER": ""}, None),
        ({"PATH": ""}, ""),
    ]:
        assert pager_of(environ) == expected, environ


def test_own_pager() -> None:
    """A screen, a line for Enter, a screen for a blank, and nothing more after q."""
    for keys, expected in [("q", 4), ("\nq", 5), (" q", 8), ("\n q", 9), ("   ", 10), ("", 4)]:
        out, pressed = StringIO(), iter(keys)
        own(iter(["1\n2\n3", "\n4\n5\n6\n7\n", "8\n9\nlast"]), out, 5, lambda left=pressed: next(left, ""))  # type: ignore[misc]
        lines = out.getvalue().replace("\r", "\n").split("\n")
        shown = [line for line in lines if line.strip() and not line.startswith("--")]
        assert len(shown) == expected, (keys, out.getvalue())


def test_remembered(tmp_path: Path) -> None:
    """For the owner alone, without secrets, without repeats, and there again in the next session."""
    path = tmp_path / "history"
    first = Remembered(path)
    for line in ("get status", "get status", "set password = hush", "<print\n  a>", ""):
        first.append_string(line)
    first.pasted = True
    first.append_string("<print\npasted>")
    first.append_string("get pasted")
    expected = ["get status", "set password = ****", "<print a>", "get pasted"]
    assert path.read_text().splitlines() == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(Remembered(path).load_history_strings()) == expected[::-1]


def test_remembered_is_bounded(tmp_path: Path) -> None:
    """A long file is cut to the last lines, and stays its owner's."""
    path = tmp_path / "history"
    path.write_text("".join(f"get {number}\n" for number in range(3 * KEPT)))
    assert len(list(Remembered(path).load_history_strings())) == KEPT
    assert path.read_text().splitlines() == [f"get {number}" for number in range(2 * KEPT, 3 * KEPT)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_remembered_nowhere(tmp_path: Path) -> None:
    """A place that cannot be written, or holds no text, is no reason to fail."""
    for path in (None, tmp_path, tmp_path / "missing" / "history"):
        history = Remembered(path)
        history.append_string("get status")
        assert history.get_strings() == ["get status"]
        assert list(history.load_history_strings()) == []
    strange = tmp_path / "strange"
    strange.write_bytes(b"\xff\x00\nget status\n")
    assert next(iter(Remembered(strange).load_history_strings())) == "get status"

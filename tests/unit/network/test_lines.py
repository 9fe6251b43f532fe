"""Editing a line: what was typed, and what the terminal shows after it (cli-console.md 5)."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from anylog.network.lines import REMEMBERED, End, History, Interrupt, Line, LineEditor, masked

UP, DOWN, RIGHT, LEFT, HOME, END, DELETE, INSERT = (
    f"\x1b[{keys}" for keys in ("A", "B", "C", "D", "H", "F", "3~", "2~")
)


class Screen:
    """As much of a terminal as the editor uses: rows of a fixed width and a cursor."""

    def __init__(self, width: int) -> None:
        self.width, self.row, self.column = width, 0, 0
        self.cells: dict[tuple[int, int], str] = {}

    def show(self, output: str) -> None:
        for part in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|\x07|.", output):
            number = int("".join(filter(str.isdigit, part)) or 1) if part[0] == "\x1b" else 1
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self.row += 1
            elif part.endswith("A") and part[0] == "\x1b":
                self.row -= number
            elif part.endswith("B") and part[0] == "\x1b":
                self.row += number
            elif part.endswith("C") and part[0] == "\x1b":
                self.column += number
            elif part.endswith("D") and part[0] == "\x1b":
                self.column -= number
            elif part == "\x1b[J":
                here = (self.row, self.column)
                self.cells = {place: char for place, char in self.cells.items() if place < here}
            elif part != "\x07":
                if self.column == self.width:
                    self.row, self.column = self.row + 1, 0
                self.cells[self.row, self.column] = part
                self.column += 1

    def text(self) -> str:
        """Row after row, as one text; a row that is full goes on in the next."""
        rows = max((row for row, _ in self.cells), default=0) + 1
        return "".join(
            "".join(self.cells.get((row, column), "\0") for column in range(self.width)) for row in range(rows)
        ).rstrip("\0")


def typed(keys: str, **options: object) -> str:
    """The line that comes of some keys and Enter."""
    editor = LineEditor(History(["first", "second"]), **options)  # type: ignore[arg-type]
    events, rest = editor.feed(keys + "\r")
    assert rest == ""
    assert isinstance(events[0], Line)
    return events[0].text


class Keys(SynchronousTestCase):
    def test_keys(self) -> None:
        """Each key does what it does in every shell."""
        for keys, expected in [
            ("get status", "get status"),
            ("gxet\x1b[D\x1b[D\x7f", "get"),
            (f"bc{HOME}a{END}d", "abcd"),
            ("bc\x01a\x05d", "abcd"),
            (f"abc{LEFT}{LEFT}{DELETE}", "ac"),
            (f"abc{LEFT}\x0b", "ab"),
            (f"abc{LEFT}\x15", "c"),
            ("get status now\x17\x17", "get "),
            (f"abc{LEFT}{LEFT}{INSERT}x{INSERT}y", "axyc"),
            (UP, "second"),
            (UP + UP, "first"),
            (UP + UP + UP, "first"),
            ("draft" + UP + DOWN, "draft"),
            (DOWN, ""),
            ("\x10", "second"),
            ("\x1bOA!", "second!"),
            ("é☃", "é☃"),
            ("\x1bOR", "run client "),
            ("a\x1b[99~\x1bOZb\x00", "ab"),
            ("\x1b[200~a\tb\x1b[201~", "a b"),
        ]:
            self.assertEqual(typed(keys), expected, repr(keys))

    def test_any_cut(self) -> None:
        """Where the keys are cut into pieces never changes the line."""
        keys = f"ab{LEFT}{LEFT}x{UP}{DOWN}{END}é\x1b[3~\x1bOD\x1b[200~y\x1b[201~\r"
        whole, _ = LineEditor(History(["z"])).feed(keys)
        for cut in range(len(keys)):
            editor = LineEditor(History(["z"]))
            events, rest = editor.feed(keys[:cut])
            self.assertEqual((events, rest), ([], ""))
            self.assertEqual(editor.feed(keys[cut:])[0], whole, cut)

    def test_screen(self) -> None:
        """What the terminal shows is prompt and line, on one row or on several, after every key."""
        for width in (20, 80):
            editor, screen = LineEditor(History(["a long line of the history, two rows"]), width=width), Screen(width)
            editor.begin("AL > ")
            for key in [
                *"some words",
                HOME,
                *"before ",
                LEFT,
                LEFT,
                "\x7f",
                *"more and more of it",
                END,
                "x",
                UP,
                LEFT,
                LEFT,
                "y",
                "\x0b",
                "\x17",
                DOWN,
                "\x01",
                "\x15",
                "\x05",
                "\x15",
                *"end",
            ]:
                editor.feed(key)
                screen.show(editor.output())
                self.assertEqual(screen.text(), editor.prompt + editor._text, (width, key))
                at = len(editor.prompt) + editor._at
                place = screen.row * width + screen.column
                self.assertEqual(place, at, (width, key))
            editor.hide()
            screen.show(editor.output())
            self.assertEqual(screen.text(), "")
            editor.show()
            screen.show(editor.output())
            self.assertEqual(screen.text(), "AL > end")

    def test_events(self) -> None:
        """Ctrl-C drops the line, Ctrl-D ends an empty one and deletes in another; what follows is given back."""
        editor = LineEditor(History())
        self.assertEqual(editor.feed("abc\x03def\r"), ([Interrupt()], "def\r"))
        self.assertEqual(editor.feed("def\rghi"), ([Line("def")], "ghi"))
        self.assertEqual(editor.feed("\x04x"), ([End()], "x"))
        self.assertEqual(editor.feed(f"ab{HOME}\x04\r")[0], [Line("b")])

    def test_completion(self) -> None:
        """One candidate is taken, the common part of several is, and then they are shown."""
        words = ("get status", "get streaming", "run")

        def complete(text: str) -> list[str]:
            return [word for word in words if word.startswith(text)]

        for keys, expected in [("r\t", "run "), ("g\t", "get st"), ("get sta\t", "get status "), ("x\t", "x")]:
            self.assertEqual(typed(keys, complete=complete), expected)
        editor = LineEditor(History(), complete=complete)
        editor.feed("get st\t")
        self.assertIn("\r\nget status\r\nget streaming\r\n", editor.output())

    def test_longest(self) -> None:
        """A line has an end."""
        self.assertEqual(len(typed("x" * 70_000)), 64 << 10)


class Past(SynchronousTestCase):
    def test_history(self) -> None:
        """No repeats, no secrets, no more than so many."""
        history = History()
        for line in ("a", "a", "b", "connect dbms x where password = topsecret and port = 5"):
            history.add(line)
        self.assertEqual(history.lines, ["a", "b", "connect dbms x where password = *** and port = 5"])
        for number in range(600):
            history.add(str(number))
        self.assertEqual((len(history.lines), history.lines[-1]), (REMEMBERED, "599"))

    def test_masked(self) -> None:
        """Also in quotes and without blanks."""
        self.assertEqual(masked('set private_key="a b" x'), "set private_key=*** x")

"""A session: commands go to the node, answers come back; on a terminal, or line by line without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from itertools import chain
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, Protocol, TextIO

from anylog import __version__
from anylog.prompt import layout, pager
from anylog.prompt.door import Door, Refused, Unreachable, ask, copy, pieces
from anylog.prompt.grammar import Grammar
from anylog.prompt.lines import (
    Action,
    Ask,
    Assign,
    Leave,
    Reader,
    SetKey,
    ShowHistory,
    action_of,
    commands_of,
    prompt,
)

DONE, REFUSED, NO_CONNECTION = 0, 1, 3
QUICK_SECONDS = 3.0  # for what the prompt itself wants to know
_WHOLE = 1 << 20  # characters of JSON that are waited for, to show them indented


class Keyboard(Protocol):
    """Where lines come from on a terminal."""

    def line(self, shown: str) -> str:
        """One line, or the lines of one block or paste. Raises EOFError and KeyboardInterrupt."""

    def yes(self, question: str) -> bool:
        """Whether the answer was yes."""

    def history(self) -> list[str]:
        """What was typed, the oldest first."""

    def set_key(self, key: str, text: str) -> None:
        """A function key types a text from now on."""


class Talk:
    """One session with one node. Every question has a connection of its own, so that leaving it cancels it."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        seconds: float | None,
        environ: Mapping[str, str],
        source: TextIO,
        out: TextIO,
        err: TextIO,
        history: Path | None = None,
        pager: bool = True,
    ) -> None:
        """`seconds` to wait for each piece of an answer, None for ever; `history` is a file that may not exist."""
        self.host, self.port, self.seconds, self.environ = host, port, seconds, environ
        self.source, self.out, self.err, self.history = source, out, err, history
        self.destination = ""
        self.name = ""
        self.left = False
        self._talking = False  # to a person, who sees the name in the prompt
        self._grammar: Grammar | None = None
        self._page = pager and environ.get("TERM") not in (None, "dumb")
        self._colour = environ.get("TERM") not in (None, "dumb") and not environ.get("NO_COLOR")

    def run(self) -> int:
        """Talk until the end; gives the exit status."""
        if self.source.isatty() and self.out.isatty():
            from anylog.prompt.terminal import Terminal

            return self.converse(Terminal(self.history, self.grammar, self.keys))
        return self.batch()

    # ------------------------------------------------------------------ without a terminal

    def batch(self) -> int:
        """Each line of the source is a command; answers as they came, errors to `err`. Raises Unreachable."""
        status, reader, number, begun = DONE, Reader(), 0, 0
        for number, line in enumerate(self.source, 1):
            begun = begun if reader.open else number
            for command in reader.feed(line):
                try:
                    self._do(action_of(command, self.destination, self.known), self._copied)
                except Refused as refused:
                    self.err.write(f"line {begun}: {refused}\n")
                    self.err.flush()
                    status = REFUSED
                if self.left:
                    return status
        if reader.open:
            self.err.write(f"line {begun}: the '<' of this line is not closed by a '>' at the end of a line\n")
            status = REFUSED
        return status

    def _copied(self, command: str, door: Door, response: HTTPResponse) -> None:
        copy(response, self.out.buffer.write)
        self.out.flush()

    # ------------------------------------------------------------------ on a terminal

    def converse(self, keyboard: Keyboard) -> int:
        """A prompt until Ctrl-D or `exit`. Raises Unreachable if there is no node to begin with."""
        self._talking = True
        self.look(starting=True)
        self.out.write(f"AnyLog Version: {__version__}\n")
        self.out.write(f"Node: {self.name or 'unnamed'} at {self.host}:{self.port}\n")
        while not self.left:
            try:
                text = keyboard.line(prompt(self.name, self.destination))
            except KeyboardInterrupt:
                continue
            except EOFError:
                break
            for command in commands_of(text):
                if not self._one(command, keyboard) or self.left:
                    break
        return DONE

    def _one(self, command: str, keyboard: Keyboard) -> bool:
        """Do one command of a person; False if what was typed after it should not be done."""
        try:
            self._do(action_of(command, self.destination, self.known), self._shown, keyboard)
            return True
        except Refused as refused:
            self._complain(layout.box(refused))
        except Unreachable as gone:
            self._complain(layout.harmless(f"{gone}\n"))
        except KeyboardInterrupt:
            self.out.write("\nInterrupted\n")
        self.out.flush()
        return False

    def _complain(self, text: str) -> None:
        self.out.write(f"{layout.RED}{text}{layout.PLAIN}" if self._colour else text)

    def _shown(self, command: str, door: Door, response: HTTPResponse) -> None:
        """Print an answer; one that is longer than the screen goes through a pager as it comes."""
        texts = _decoded(response)
        width, rows = get_terminal_size()
        held, room = "", rows - 1
        is_json = (response.headers.get("Content-Type") or "").startswith("application/json")
        for text in texts:
            held += text
            if len(held) > _WHOLE or (not is_json and layout.rows_of(held, width) > room):
                break
        else:
            held = layout.harmless(layout.laid_out(command, held, width))
            if layout.rows_of(held, width) <= room or not self._page:
                self.out.write(held)
                self.out.flush()
                return
        rest = chain([layout.harmless(held)], (layout.harmless(text) for text in texts))
        program = pager.pager_of(self.environ) if self._page else None
        if program is None:
            for text in rest:
                self.out.write(text)
            if not held.endswith("\n"):
                self.out.write("\n")
        elif program:
            self.out.flush()
            pager.through(program, rest, self.environ, door.cut)
        else:
            with pager.keys() as key:
                pager.own(rest, self.out, rows, key)
        self.out.flush()

    # ------------------------------------------------------------------ both

    def _do(
        self, action: Action, take: Callable[[str, Door, HTTPResponse], None], keyboard: Keyboard | None = None
    ) -> None:
        """Raises Refused and Unreachable."""
        match action:
            case Leave():
                self.left = True
            case ShowHistory():
                self.out.write("".join(f"{line}\n" for line in (keyboard.history() if keyboard else [])))
            case Assign(destination):
                self.destination = destination
            case SetKey(key, text):
                if keyboard is not None:
                    keyboard.set_key(key, text)
            case Ask(command, confirm) if command:
                if confirm and keyboard is not None and not keyboard.yes(f"Stop {confirm}? (yes/no) "):
                    return
                self._ask(command, take)
                if command.lower().split() == ["exit", "node"]:
                    self.left = True  # with its node the session is over

    def _ask(self, command: str, take: Callable[[str, Door, HTTPResponse], None]) -> None:
        door = Door(self.host, self.port, self.seconds)
        try:
            take(command, door, ask(door, command))
        except TimeoutError:
            raise Refused(f"no answer from {self.host}:{self.port} after {self.seconds:g} seconds") from None
        except BrokenPipeError:
            raise
        except (HTTPException, OSError) as broken:
            raise Refused(f"the connection to {self.host}:{self.port} broke: {broken}") from broken
        finally:
            door.cut()
            door.close()
        if door.posted and self._talking:
            self.look()

    def look(self, starting: bool = False) -> None:
        """Learn the name of the node, which the prompt shows. Raises Unreachable only when `starting`."""
        try:
            told = self._told("get status where format = json")
        except Refused:  # it may want to know who asks; that is no reason to be silent
            return
        except Unreachable:
            if starting:
                raise
            return
        title = told.get("assigned_name") if isinstance(told, dict) else None
        if isinstance(title, str):
            name = layout.harmless(title.rpartition("@")[0] or title)
            self.name = "" if name == "AnyLog" else name

    def known(self, text: str) -> bool:
        """Whether a text begins with a command of this node."""
        return self.grammar().begins(text)

    def grammar(self) -> Grammar:
        """What the node understands: asked once, and again while it cannot be had."""
        if self._grammar is None:
            try:
                self._grammar = Grammar.read(self._told("help where format = json"))
            except (Refused, Unreachable):
                return Grammar.read(None)
        return self._grammar

    def keys(self) -> list[str]:
        """The names in the dictionary of the node."""
        try:
            told = self._told("get dictionary where format = json")
        except (Refused, Unreachable):
            return []
        return [str(key) for key in told] if isinstance(told, dict) else []

    def _told(self, command: str) -> Any:
        """The JSON that answers a quick question; None if it is none."""
        door = Door(self.host, self.port, QUICK_SECONDS)
        try:
            with suppress(ValueError):
                return json.loads(ask(door, command).read())
            return None
        except (HTTPException, OSError) as broken:
            raise Refused(f"the connection to {self.host}:{self.port} broke: {broken}") from broken
        finally:
            door.close()


def _decoded(response: HTTPResponse) -> Iterator[str]:
    """The text of an answer as it comes; a character is never cut in two."""
    from codecs import getincrementaldecoder

    decoder = getincrementaldecoder("utf-8")("replace")
    for piece in pieces(response):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)

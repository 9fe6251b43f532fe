"""The line editor: prompt_toolkit with our keys, completion and history (cli-console.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from anylog.prompt.grammar import Grammar
from anylog.prompt.lines import unfinished
from anylog.prompt.remembered import Remembered

LONGEST_META = 60


class Suggestions(Completer):
    """What the grammar of the node offers, as prompt_toolkit wants it."""

    def __init__(self, grammar: Callable[[], Grammar], keys: Callable[[], Iterable[str]]) -> None:
        self._grammar, self._keys = grammar, keys

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Called in a thread: the node is asked the first time."""
        for offer in self._grammar().offers(document.text_before_cursor, self._keys):
            yield Completion(offer.text, -offer.back, display_meta=offer.meta[:LONGEST_META])


class Terminal:
    """One terminal and who types there."""

    def __init__(self, history: Path | None, grammar: Callable[[], Grammar], keys: Callable[[], Iterable[str]]) -> None:
        self._texts = {"f3": "run client "}
        self._remembered = Remembered(history)
        self._session: PromptSession[str] = PromptSession(
            history=self._remembered,
            completer=Suggestions(grammar, keys),
            complete_in_thread=True,
            complete_while_typing=False,
            multiline=Condition(lambda: unfinished(get_app().current_buffer.text)),
            prompt_continuation="",
            key_bindings=self._bindings(),
            enable_suspend=True,
        )

    def line(self, shown: str) -> str:
        """One line, or the lines of a block or a paste. Raises EOFError on Ctrl-D, KeyboardInterrupt on Ctrl-C."""
        self._remembered.pasted = False
        return self._session.prompt(shown)

    def yes(self, question: str) -> bool:
        """Whether the answer was yes; it is not remembered."""
        asking: PromptSession[str] = PromptSession()
        try:
            return asking.prompt(question).strip().lower() in ("y", "yes")
        except (EOFError, KeyboardInterrupt):
            return False

    def history(self) -> list[str]:
        """What was typed, the oldest first."""
        return list(self._remembered.get_strings()) or self._remembered.lines()

    def set_key(self, key: str, text: str) -> None:
        """A function key types a text from now on."""
        self._texts[key] = text

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        def typed(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text(self._texts.get(event.key_sequence[0].key.lower(), ""))

        for number in range(1, 13):
            bindings.add(f"f{number}")(typed)

        @bindings.add(Keys.BracketedPaste)
        def pasted(event: KeyPressEvent) -> None:
            """A paste is text, whatever keys it would be."""
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            self._remembered.pasted = True
            if not unfinished(event.current_buffer.text + text):
                text = text.rstrip("\n")  # Enter is pressed by the person
            event.current_buffer.insert_text(text)

        return bindings

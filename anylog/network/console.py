"""A session at the `AL >` prompt, whatever carries it: lines in, text out (cli-console.md 1 to 9)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from anylog import __version__
from anylog.errors import AnyLogError
from anylog.language.context import Call, Context, Result
from anylog.network.asking import decode
from anylog.network.lines import History
from anylog.network.replies import dump

BOX = 250  # characters of one line in an error box
_KEY = re.compile(r"[!$][^\s=]+")
_LEAVE = ("exit", "quit", "logout", "exit cli", "exit session")
# What only reads or waits is given up on Ctrl-C; what changes something goes on to its end.
_READS = re.compile(r"(get|sql|wait|query|help|test|continuous|blockchain get|file get|info)\b", re.IGNORECASE)


class Session:
    """One console: its prompt, its open block, its one foreground command."""

    log = Logger()

    def __init__(
        self,
        *,
        execute: Callable[[str | Call, Context], Deferred[Result]],
        node_name: Callable[[], str],
        context: Context,
        write: Callable[[str], None],
        ready: Callable[[], Deferred[None]],
        leave: Callable[[], None],
        messages: Callable[[], int] = lambda: 0,
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        """`write` prints text as it is; `ready` fires when the reader takes more; `leave` ends the session.

        `messages` counts those that ever came to the echo queue; 0 if it is off. `serves` is false after `set cli off`.
        """
        self.history = History()
        self.busy = False
        self._execute, self._node_name = execute, node_name
        self._write, self._ready, self._leave = write, ready, leave
        self._block: list[str] | None = None
        self._confirming = ""
        self._running: Deferred[None] | None = None
        self._abandoned = False
        self._serves = serves
        self._messages, self._seen = messages, 0  # of which so many were looked at here
        self.context = context
        context.write = self._print

    def greeting(self) -> str:
        """What a session begins with."""
        name = self._node_name()
        waiting = "Messages are in the echo queue: 'get echo queue'\n" if self._messages() else ""
        return f"AnyLog Version: {__version__}\n" + (f"Node: {name}\n" if name else "") + waiting

    def prompt(self) -> str:
        """What is shown before a line; nothing inside a block."""
        if self._confirming:
            return "Stop the node? (yes/no) "
        if self._block is not None:
            return ""
        name, mark = self._node_name(), " +>" if self._messages() > self._seen else " >"
        return f"AL {name}{mark} " if name else f"AL{mark} "

    def receive(self, line: str) -> Deferred[None] | None:
        """Take a line. Gives a Deferred that fires when its command has ended, or None if there is none to wait for."""
        if self._confirming:
            command, self._confirming = self._confirming, ""
            return self._start([command]) if line.strip().lower() in ("y", "yes") else None
        line = line.strip()
        if self._block is not None:
            self._block.append(line[:-1].strip() if line.endswith(">") else line)
            if not line.endswith(">"):
                return None
            line, self._block = " ".join(part for part in self._block if part), None
        elif line.startswith("<") and not line.endswith(">"):
            self._block = [line[1:].strip()]
            return None
        elif line.startswith("<"):
            line = line[1:-1].strip()
        else:
            self.history.add(line)
        if not line or line.startswith("#"):
            return None
        words = " ".join(line.lower().split())
        if words in _LEAVE:
            self._leave()
            return None
        if words == "history":
            self._print("\n".join(self.history.lines))
            return None
        if words == "exit node":
            self._confirming = line
            return None
        if words == "exit node force":
            line = "exit node"
        return self._start(split(line))

    def interrupt(self) -> None:
        """Ctrl-C: drop the block or the question; leave the running command behind."""
        self._block, self._confirming = None, ""
        if self._running is not None:
            self._abandoned = True
            running, self._running = self._running, None
            running.cancel()

    def close(self) -> None:
        """The console is gone: what only reads is given up."""
        self.context.write = _nowhere
        self.interrupt()

    def _start(self, commands: list[str]) -> Deferred[None]:
        self.busy, self._abandoned = True, False
        ended: Deferred[None] = Deferred()
        running = self._running = Deferred.fromCoroutine(self._run(commands))

        def over(_: object) -> None:
            self.busy, self._running = False, None
            ended.callback(None)

        running.addErrback(lambda failure: self.log.failure("a console command failed", failure))
        running.addBoth(over)
        return ended

    async def _run(self, commands: list[str]) -> None:
        for command in commands:
            if not await self._one(command):
                return

    async def _one(self, command: str) -> bool:
        """Run one and print what came of it; False if what follows it should not be run."""
        if not self._serves():
            self._write("AnyLog CLI disabled\n")
            return False
        try:
            asked = self._execute(command, self.context)
            result = await (asked if _READS.match(command) else _kept_on(asked, self.log))
            if " ".join(command.lower().split()).startswith("get echo queue"):
                self._seen = self._messages()
            await self._show(command, result)
            return True
        except AnyLogError as error:
            self._write(box(error))
        except CancelledError:
            if self._abandoned:
                self._write("Interrupted\n")
            else:
                self._write(box(AnyLogError(26, f"'{command}' was given up")))
        except Exception:  # the person at the console must get the prompt back
            self.log.failure("fault in {command}", command=command[:200])
            self._write(box(AnyLogError(500, "a fault of this node; its log has the rest")))
        return False

    async def _show(self, command: str, result: Result) -> None:
        if result.pages is not None:
            pages = result.pages
            try:
                page = await pages.next()
                while page is not None:
                    self._write(decode(page))
                    await self._ready()
                    page = await pages.next()
                self._write("\n")
            finally:
                pages.close()
            return
        text = result.text
        if (text is None or result.format == "json") and result.data is not None:
            text = result.data if isinstance(result.data, str) else dump(result.data).decode()
        if not text:
            return
        if _KEY.fullmatch(command):
            self._write((text if text[0] in "{['" else f"'{text}'") + "\n")
            return
        text = text.replace("\r\n", "\n")
        self._write(("" if text.startswith("\n") else "\n") + text + ("" if text.endswith("\n") else "\n"))

    def _print(self, text: str) -> None:
        text = text.replace("\r\n", "\n")
        self._write(text if text.endswith("\n") else text + "\n")


def split(line: str) -> list[str]:
    """Commands separated by ` & ` outside quotes and braces."""
    commands, start, quote, depth = [], 0, "", 0
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "{[(":
            depth += 1
        elif char in "}])":
            depth -= 1
        elif char == "&" and depth <= 0 and line[at - 1 : at] == " " and line[at + 1 : at + 2] == " ":
            commands.append(line[start:at].strip())
            start = at + 1
    commands.append(line[start:].strip())
    return [command for command in commands if command]


def box(error: AnyLogError) -> str:
    """An error as a console shows it: what was wrong in a box, then the general text (cli-console.md 3)."""
    lines = [part for line in (error.detail or error.text).splitlines() for part in (textwrap.wrap(line, BOX) or [""])]
    width = max(map(len, lines))
    ruler = f"|{'=' * width}|"
    return "\n".join([ruler, *(f"|{line.ljust(width)}|" for line in lines), ruler, error.text]) + "\n"


def _kept_on(work: Deferred[Result], log: Logger) -> Deferred[Result]:
    """Follows `work`; cancelling this leaves `work` alone."""
    waited: Deferred[Result] = Deferred()

    def done(result: Result) -> None:
        if not waited.called:
            waited.callback(result)
        elif result.pages is not None:
            result.pages.close()

    def failed(failure: object) -> None:
        if not waited.called:
            waited.errback(failure)  # type: ignore[arg-type]
        else:
            log.info("a command left behind on a console failed: {why}", why=str(failure))

    work.addCallbacks(done, failed)
    return waited


def _nowhere(text: str) -> None:
    """Nobody is there to read it."""

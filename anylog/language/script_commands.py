"""Words about running scripts: threads, following them line by line, and the echo queue (language.md 9, 9.2, 9.9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.logger import Logger

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format, Whole
from anylog.language.context import Context, Result
from anylog.language.echoes import MOST, SIZE
from anylog.language.logs import masked
from anylog.language.runs import Debug, Run
from anylog.language.script import Frame
from anylog.language.tables import bar_table, framed

if TYPE_CHECKING:
    from anylog.node import Node

log = Logger()


def run_of(context: Context) -> Run | None:
    """The script in which a command stands."""
    return context.frame.run if isinstance(context.frame, Frame) else None


def on_or_off(words: str, operands: Sequence[str]) -> bool:
    """The one operand. Raises AnyLogError 2."""
    if operands[0].lower() not in ("on", "off"):
        raise AnyLogError(2, f"{words}: '{operands[0]}' is neither on nor off")
    return operands[0].lower() == "on"


class Thread(Command):
    """Run the commands of a file beside all else: nobody waits for it, and its registers are its own.

    It is told with which number it runs; `get threads` shows it, `stop` ends it. What it prints goes where the command
    was given, or, where nobody is there to read it, to the echo queue. An error ends it and is in the error log.
    """

    words = "thread"
    operands = "[path and file name] [arguments]"
    least, most = 1, None
    examples = ("thread !local_scripts/watch.al", "thread watch.al north 5")
    index = ("script", "cli")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 112 for a file that cannot be read, 108 if too many scripts run."""
        seen = context.origin not in ("rest", "peer")

        def write(text: str) -> None:
            if seen:
                context.write(text)
            elif node.echoes.on:
                node.echoes.add(text)
            else:
                log.info("{script}: {text}", script=operands[0], text=masked(text))

        number = await node.thread(operands[0].strip("'"), operands[1:], evolve(context, write=write))
        return Result(text=f"Thread {number}", data=number)


class GetThreads(Command):
    """Show the scripts that run, and the last that ended: where they are, since when, and who began them."""

    words = "get user threads"
    also = ("get threads",)
    where = {"format": Format}
    examples = ("get user threads", "get threads where format = json")
    index = ("script", "monitor", "debug")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        now = node.clock.seconds()
        data = [
            {
                "id": run.number,
                "kind": "thread" if run.thread else "process",
                "script": run.script,
                "at": f"{run.frame.script} line {run.frame.line}" if run.frame is not None else "",
                "lines": run.lines,
                "seconds": round((run.ended if run.ended is not None else now) - run.started, 1),
                "who": run.who,
                "status": masked(run.state),
            }
            for run in node.runs
        ]
        titles = ("ID", "Kind", "Script", "At", "Lines", "Seconds", "Who", "Status")
        table = framed(bar_table(titles, [list(row.values()) for row in data], width=60))
        return Result(text=table if data else "No scripts run", data=data, format=options["format"] or "table")


class Stop(Command):
    """Stop a script that runs, or all of them; the numbers are those of `get threads`.

    It ends before its next line; what its line waits for is given up. No `on error` takes that.
    """

    words = "stop"
    operands = "[number or all]"
    least = most = 1
    examples = ("stop 3", "stop all")
    index = ("script", "debug")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 162 for a number that no script has."""
        if operands[0].lower() == "all":
            stopped = node.runs.stop(asker=run_of(context))
            return Result(text=f"{stopped} stopped")
        node.runs.stop(_run(self, node, operands[0]), asker=run_of(context))
        return None


def _run(command: Command, node: Node, text: str) -> Run:
    if not text.isdecimal():
        raise AnyLogError(2, f"{command.words}: '{text}' is no number of a script; usage: {command.usage_text()}")
    return node.runs.find(int(text[:9]))


class SetDebug(Command):
    """Tell each line of scripts and what came of it: `[script] [line] command --> outcome`.

    In a script it is for that run alone, with all that it calls; elsewhere for the scripts that begin from then on.
    With `interactive` a thread waits before each line until somebody says `next`; `continue` lets it go on.
    """

    words = "set debug"
    operands = "on | off | interactive"
    least = most = 1
    examples = ("set debug on", "set debug off", "set debug interactive")
    index = ("debug", "script")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word, and for `interactive` in a script that somebody waits for."""
        word = operands[0].lower()
        if word not in {debug.value for debug in Debug}:
            raise AnyLogError(2, f"set debug: '{operands[0]}' is none of on, off, interactive")
        debug, run = Debug(word), run_of(context)
        if run is None:
            node.runs.debug = debug
        elif debug is Debug.INTERACTIVE and not run.thread:
            raise AnyLogError(2, "set debug interactive: in a script alone that nobody waits for ('thread')")
        else:
            run.debug = debug
        return None


class Next(Command):
    """Let a script that waits before a line run that line; without a number the only one that waits."""

    words = "next"
    operands = "[number]"
    most = 1
    examples = ("next", "next 3")
    index = ("debug", "script")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 if none waits, and if several do and none is named."""
        self.chosen(node, operands).next()
        return None

    def chosen(self, node: Node, operands: Sequence[str]) -> Run:
        """The one that is meant."""
        waiting = node.runs.waiting()
        if operands:
            run = _run(self, node, operands[0])
            waiting = [run] if run in waiting else []
        if not waiting:
            raise AnyLogError(2, f"{self.words}: no script waits for 'next'")  # 2, so that `x = next` is a text
        if len(waiting) > 1:
            numbers = ", ".join(str(run.number) for run in waiting)
            raise AnyLogError(2, f"{self.words}: several scripts wait, say which: {numbers}")
        return waiting[0]


class Continue(Next):
    """Let a script that waits before each line go on without waiting; its lines are still told."""

    words = "continue"
    examples = ("continue", "continue 3")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 if none waits, and if several do and none is named."""
        run = self.chosen(node, operands)
        run.debug = Debug.ON
        run.next()
        return None


class SetEchoQueue(Command):
    """Keep what `echo` says here rather than write it to consoles; off drops what is kept."""

    words = "set echo queue"
    operands = "on | off"
    least = most = 1
    examples = ("set echo queue on", "set echo queue off")
    index = ("cli", "script")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word."""
        node.echoes.turn(on_or_off(self.words, operands))
        return None


class GetEchoQueue(Command):
    """Show the messages of the echo queue, oldest first. They are kept; the mark `+` of the prompt goes."""

    words = "get echo queue"
    where = {"format": Format}
    examples = ("get echo queue", "get echo queue where format = json")
    index = ("cli", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        data = [
            {
                "counter": message.number,
                "time": datetime.fromtimestamp(message.time, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                "message": message.text,
            }
            for message in node.echoes.messages()
        ]
        rows = [list(row.values()) for row in data]
        text = framed(bar_table(("Counter", "Time", "Message"), rows, heading="Message Queue:"))
        if not node.echoes.on:
            text = "The echo queue is off"
        elif not data:
            text = "No messages in the echo queue"
        return Result(text=text, data=data, format=options["format"] or "table")


class ResetEchoQueue(Command):
    """Drop the messages of the echo queue; `size` is how many are kept from then on."""

    words = "reset echo queue"
    where = {"size": Whole(default=SIZE, least=1, most=MOST, help="messages that are kept")}
    examples = ("reset echo queue", "reset echo queue where size = 100")
    index = ("cli", "script")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 3 if the queue is off."""
        node.echoes.reset(options["size"])
        return None


COMMANDS: tuple[type[Command], ...] = (
    Thread,
    GetThreads,
    Stop,
    SetDebug,
    Next,
    Continue,
    SetEchoQueue,
    GetEchoQueue,
    ResetEchoQueue,
)

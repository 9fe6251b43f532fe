"""`run uns streamer` (ingest.md 7.4, commands.md 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from anylog.errors import AnyLogError
from anylog.language.command import Command, Option, Seconds
from anylog.language.context import Context, Result
from anylog.processes.msg_merging import UnsStreamer

if TYPE_CHECKING:
    from anylog.node import Node

LEAST, LONGEST = 0.1, 86_400.0  # seconds


class RunUnsStreamer(Command):
    """Make rows of values that come attribute by attribute, on topics that were declared with `dynamic = true`.

    A value under `plant/pump/speed` is an attribute `speed` of `plant/pump`. In every period (`frequency`, in seconds)
    of which something came there is a row for `plant/pump`: the time of the last value, and of each attribute that came
    the last value. It goes to the table that a message under `plant/pump` would go to. Each value also has its own row
    in the table of its attribute, as without this process. `exit uns streamer` ends it, and writes what is left.
    """

    words = "run uns streamer"
    where: ClassVar[Mapping[str, Option]] = {"frequency": Seconds(default=1.0, help="length of a period; 1 second")}
    examples = ("run uns streamer", "run uns streamer where frequency = 3")
    index = ("streaming", "background processes", "mqtt")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 136, 175."""
        every = options["frequency"]
        if not LEAST <= every <= LONGEST:
            raise AnyLogError(175, f"{self.words}: 'frequency' is from {LEAST:g} seconds up to a day")
        await node.processes.start(UnsStreamer(clock=node.clock, every=every, keep=node.intake.accepting.messages))
        return None


COMMANDS: tuple[type[Command], ...] = (RunUnsStreamer,)

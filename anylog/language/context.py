"""Who asks, what is asked, and what came of it (architecture.md 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from anylog.errors import AnyLogError

if TYPE_CHECKING:
    from anylog.language.command import Command


class Control(Enum):
    """What a statement asks of the script it stands in; not an error (language.md 12)."""

    CALL = 1001
    GOTO = 1002
    END_SCRIPT = 1003
    RETURN = 1004
    ON_ERROR_IGNORE = 1009
    ON_ERROR_GOTO = 1010
    ON_ERROR_CALL = 1011
    ON_ERROR_END = 1012
    ELSE_IGNORED = 1013
    DO_IGNORED = 1014
    EXIT_SCRIPTS = 1017
    LOOP_START = 1101  # of ours: `for loop start` and `for loop end`
    LOOP_END = 1102


class Pages(Protocol):
    """An answer in pages, made while it is taken: never a list of everything."""

    media: str  # a media type of decisions.md 26

    def next(self) -> Deferred[bytes | None]:
        """The next page as UTF-8 text, or None after the last. Ask for one at a time."""

    def close(self) -> None:
        """Let go of what the answer holds; safe to call at any time and more than once."""


@frozen(kw_only=True)
class Result:
    """What came of a command. Errors are not results: they are raised as AnyLogError."""

    text: str | None = None  # as a console shows it
    data: Any = None  # the same as JSON values, where the command has such a form
    format: str = "text"  # "text", "table" or "json": which of the two an asker without a wish gets
    control: Control | None = None
    target: str = ""  # label or handler of a control, or the number of items of a loop
    pages: Pages | None = None
    unassigned: AnyLogError | None = None  # what is raised unless the answer is assigned to a key
    value: Any = None  # what an assignment keeps, where that is neither the text nor the data
    replies: Any = None  # of several nodes: a language.replies.Replies, which an assignment keeps as it grows

    @classmethod
    def nothing(cls) -> Result:
        """Done, and nothing to say."""
        return cls()


@frozen(kw_only=True)
class Upload:
    """A file that came with a REST call; it lies at `path`, hidden, until the call is over or somebody moves it."""

    name: str  # that its sender gives it, empty if none
    path: Path


@define(kw_only=True)
class Context:
    """Who asks: the only thing that tells a console from a peer."""

    origin: str = "node"  # console, start, script, rest, peer, scheduler, node (our own code)
    who: str = ""  # address or user@address, for logs
    local: bool = True  # from this machine (decisions.md 10), so guarded commands are allowed
    page: bool = False  # a page of another site asks, through somebody's browser
    deadline: float | None = None  # seconds of the node's clock after which nobody waits any more
    write: Callable[[str], None] = field(default=lambda text: None)  # where `print` goes, line by line
    frame: Any = None  # the script frame (language/script.py) while a script runs
    trace: int = 0
    destination: str = ""  # of a REST call: what stands in the parentheses of `run client ( )`
    subset: bool = False
    hops: int = 0  # nodes the question has come through before
    upload: Upload | None = None  # a file that came along
    into: Mapping[str, str] | None = None  # `[file = f, key = k, show = true] =`: where the reply of `rest` goes


@frozen(kw_only=True)
class Call:
    """A command with typed values: what our own code executes, without text and so without quoting."""

    command: type[Command]
    operands: Sequence[str] = ()
    options: Mapping[str, Any] = field(factory=dict)

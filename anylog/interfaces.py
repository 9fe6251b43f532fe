"""The sockets in the wall: what one room asks of another it may not import (architecture.md 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from anylog.errors import AnyLogError

if TYPE_CHECKING:
    from anylog.wire.mqtt_records import Record
    from anylog.wire.mqtt_session import Ticket

T = TypeVar("T")


class DelayedCall(Protocol):
    """A call that was put off."""

    def active(self) -> bool: ...

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where every second comes from: the reactor, or a clock that a test moves by hand.

    For intervals, deadlines and rhythms. What is kept, or shown as a time of day, comes from `unix`.
    """

    def seconds(self) -> float:
        """Unix seconds that go on evenly: they do not follow when the wall clock is set."""

    def callLater(self, delay: float, call: Callable[..., object], *args: Any, **kwargs: Any) -> DelayedCall:
        """Call it after `delay` seconds."""


def unix(clock: Clock) -> float:
    """Unix seconds of the wall clock, which may jump ahead and back; a clock that is moved by hand has no others."""
    wall: Callable[[], float] = getattr(clock, "unix", clock.seconds)
    return wall()


class DiskFile(Protocol):
    """A file that is written at places of its own and read back; nothing lasts before `sync` returned."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    def sync(self) -> None:
        """Return when all that was written lasts."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`."""

    def close(self) -> None: ...


@frozen
class Publish:
    """Make a file appear whole, unless there is one of that name; packed with gzip if asked to.

    Its outcome is "new", "same" (there is one with that content) or "other" (there is one with another content).
    """

    path: Path
    data: bytes
    compress: bool = False


@frozen
class Read:
    """A regular file of at most so many bytes. Its outcome: content, size, and time of change in nanoseconds."""

    path: Path
    most: int


@frozen
class Move:
    """Rename, never over another file. With a `stamp`, size and time of change, only what has it: else ESTALE."""

    source: Path
    target: Path
    stamp: tuple[int, int] | None = None


@frozen
class Forget:
    """Remove, if it is there. With a `stamp`, size and time of change, only what has it: else ESTALE."""

    path: Path
    stamp: tuple[int, int] | None = None


Step = Publish | Read | Move | Forget


@frozen
class Entry:
    """One name in a folder; `kind` is "file", "folder", "link" or "other"."""

    name: str
    size: int
    mtime_ns: int
    kind: str


class Disk(Protocol):
    """The only way to make things last; blocking, so called in lanes. `testing.MemoryDisk` forgets what was not synced.

    All raise OSError.
    """

    def publish(self, final: Path, data: bytes) -> None:
        """Make `final` appear whole or not at all, even across a power cut (draft, sync, rename, sync the folder)."""

    def create(self, path: Path, size: int) -> DiskFile:
        """A new file with `size` bytes reserved (reading as zeros), whose name lasts when this returns."""

    def open(self, path: Path) -> DiskFile:
        """An existing file, to read and write."""

    def read(self, path: Path) -> bytes:
        """The whole file."""

    def move(self, source: Path, target: Path) -> None:
        """Rename within one file system; lasts when it returns."""

    def forget(self, path: Path) -> None:
        """Remove the file if it is there; lasts when it returns."""

    def names(self, folder: Path) -> list[str]:
        """Names in `folder`, sorted; a folder that is missing is an empty one."""

    def make(self, folder: Path) -> None:
        """Make the folder and its parents if missing."""

    def lock(self, path: Path) -> DiskFile:
        """Hold `path` until the file is closed or the process ends; BlockingIOError if somebody else holds it."""

    def free(self, folder: Path) -> int:
        """Bytes that may still be written there."""

    def batch(self, steps: Sequence[Step]) -> list[Any]:
        """Many steps, in order, synced together; what was published lasts before a later step of another kind begins.

        The outcome of a step is its value or an OSError, which is not raised.
        """

    def stat(self, path: Path) -> tuple[int, int, str]:
        """Size, time of change in nanoseconds, and kind; a link is not followed."""

    def entries(self, folder: Path, most: int, first: Sequence[str] = ()) -> list[Entry]:
        """What is in a folder, at most so many: those whose names end like one of `first`, then the others, the oldest
        of each first."""

    def stop(self) -> None:
        """Nothing more is asked of it."""


class ILane(Protocol):
    """One queue of blocking work, done in order off the reactor; plain values in, plain values out."""

    name: str

    @property
    def depth(self) -> int:
        """Pieces of work that wait or run."""

    def run(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        """Do `work(*args)` in the lane."""


class Lanes(Protocol):
    """Every thread of a node comes from here."""

    def open(self, name: str, threads: int = 1) -> ILane:
        """The lane of that name, made when first asked for."""

    def close(self, name: str) -> Deferred[None]:
        """Finish what is queued in that lane and let its threads go."""

    def stop(self) -> Deferred[None]:
        """Close all."""


@frozen
class Receipt:
    """What a sender is told once its readings are safe."""

    hash: str  # 32 hex digits for a whole file, "0" for rows that stream
    rows: int
    repeated: bool = False  # an Idempotency-Key or hash seen before: answered like the first time


class IIntake(Protocol):
    """Where readings go, whatever door they came through."""

    def accept(
        self,
        dbms: str,
        table: str,
        body: bytes,
        rows: Sequence[Mapping[str, Any]],
        *,
        source: str = "0",
        instructions: str = "0",
        whole: bool = False,
        key: str = "",
    ) -> Deferred[Receipt]:
        """Keep the rows; fires when they are synced to disk (decisions.md 1).

        `body` is what came, `rows` what it holds (the parse is not done twice); `whole` is PUT in file mode: the
        body is one content, kept once; `key` is an Idempotency-Key. Fails with AnyLogError 5, 502, 503, 504 or 506.
        """

    def refusal(self) -> AnyLogError | None:
        """Why nothing is taken at the moment, or None; asked before a body is read."""


@frozen
class Mark:
    """How far one buffer is loaded; written in the same transaction as its rows (hard-parts.md 1.3)."""

    buffer: str
    table: str
    sequence: int  # of the last journal record that this load covers
    rows: int  # loaded by this load
    parked: int  # parked by this load
    hash: str | None = None  # a whole file's; unique among loaded marks of the database
    member: int = 0  # under which its rows are known to the cluster, with
    id: int = 0  # its row in the member's table of files; 0: not registered
    source: str = "0"
    instructions: str = "0"
    time: str = ""  # UTC time of registration, "YYYY-MM-DD HH:MM:SS.ffffff"; of loading if it was not registered


@frozen
class Parked:
    """A row that fits no column type, kept aside with its reason."""

    buffer: str
    sequence: int
    position: int  # in its record, from 0
    table: str
    reason: str
    row: str  # JSON text


@frozen
class Load:
    """Rows of one table, to be loaded in one transaction with their marks."""

    table: str
    columns: Sequence[str]
    values: str  # a JSON list of lists, one inner list a row, in the order of `columns`
    rows: int
    marks: Sequence[Mark]
    parked: Sequence[Parked]
    keys: Sequence[tuple[str, float, str]]  # Idempotency-Key, unix seconds, reply hash
    tsd_name: str
    tsd_id: int
    inserted: str  # insert_timestamp, "YYYY-MM-DD HH:MM:SS.ffffff" UTC
    create: Mapping[str, str] | None = None  # the table's columns and types, if it must be made first
    alter: Mapping[str, str] | None = None  # columns to add or to widen first


class IDatabase(Protocol):
    """One logical database on one engine. Every method but `name` and `kind` works in the database's own lanes."""

    name: str
    kind: str  # "sqlite", "psql"

    def tables(self) -> Deferred[dict[str, dict[str, str]]]:
        """Table name -> column name -> ledger type, in column order; hidden tables left out."""

    def load(self, loads: Sequence[Load]) -> Deferred[list[AnyLogFault | None]]:
        """Write all loads in one transaction, each in a savepoint of its own.

        Gives, load by load, None or why it was left out (the others are kept). A mark whose hash another loaded
        mark has is such a fault of kind "duplicate". Fails as a whole (AnyLogError) if the transaction does.
        """

    def marks(self, buffers: Sequence[str]) -> Deferred[dict[str, Mark]]:
        """What is loaded of those of `buffers` that have a mark: rows and parked in all."""

    def file_marks(self, files: Sequence[tuple[int, int]]) -> Deferred[dict[tuple[int, int], Mark]]:
        """The same by member and tsd id."""

    def hash_marks(self, hashes: Sequence[str]) -> Deferred[dict[str, Mark]]:
        """The same of whole files, by their hash."""

    def parked_places(self, buffers: Sequence[str]) -> Deferred[dict[str, set[tuple[int, int]]]]:
        """Buffer -> (sequence, position in the record) of its rows that were parked."""

    def keys(self, since: float) -> Deferred[list[tuple[str, float, str]]]:
        """Idempotency-Keys not older than `since` (unix seconds), oldest first."""

    def close(self) -> Deferred[None]:
        """Finish and let the files go."""


@frozen
class AnyLogFault:
    """Why one load of several was left out."""

    kind: str  # "duplicate", "conflict", "misfit", "missing table", "engine"
    text: str


class IBody(Protocol):
    """Bytes in pages, made while they are taken."""

    def next(self) -> Deferred[bytes | None]:
        """The next page, or None after the last. Ask for one at a time."""

    def close(self) -> None:
        """Let go of what it holds; safe to call at any time and more than once."""


@frozen(kw_only=True)
class Reply:
    """What one node answers another: a small head of msgpack values, and a body in pages if there is one."""

    head: Mapping[str, Any]
    body: IBody | None = None


@frozen(kw_only=True)
class Asker:
    """The node that asks, and how long it waits."""

    host: str  # ip of its end of the connection, empty: this very node
    address: str  # ip:port where it listens, empty if it does not
    name: str = ""
    until: float | None = None  # seconds of the clock of the node that is asked
    hops: int = 0  # nodes the question has come through before


class PeerHandler(Protocol):
    """Answers one kind of question of other nodes. Fails with AnyLogError, which the asker is told."""

    def __call__(self, head: Mapping[str, Any], body: bytes, asker: Asker) -> Deferred[Reply]: ...


@frozen(kw_only=True)
class PeerState:
    """What is known of another node."""

    address: str
    active: bool  # False from a failure until it is heard of again
    at: float  # unix seconds of the last change
    why: str = ""  # what failed last


class IPeers(Protocol):
    """The other nodes of the network, by the `ip:port` they listen on."""

    def ask(
        self,
        address: str,
        kind: str,
        head: Mapping[str, Any],
        body: bytes = b"",
        *,
        until: float | None = None,
        hops: int = 0,
    ) -> Deferred[Reply]:
        """Ask a question; fires with its reply when the head of that has come. Asking oneself works, without sockets.

        Cancelling the Deferred, or closing the body before its end, cancels the work at the other node. `until` is
        in seconds of this node's clock and holds for the body, too. Fails with AnyLogError 208 (no connection), 15 (it
        broke), 26 (late) or what the other node answered; its `node` is the address.
        """

    def ping(self, address: str, seconds: float) -> Deferred[float]:
        """Seconds of a round trip. Fails as `ask`."""

    def tell(self, kind: str, head: Mapping[str, Any]) -> int:
        """Tell all nodes that are connected, without waiting for an answer; gives how many."""

    def state(self, address: str) -> PeerState | None:
        """What is known of a node, None for one never heard of."""

    def doubt(self, address: str, why: str) -> None:
        """A node did not answer in time: it is not active until something is heard of it, and it is looked for."""

    def states(self) -> Sequence[PeerState]:
        """All that are known, by address."""


class Keeper(Protocol):
    """Where the message broker keeps what must outlive it: sessions, what is retained, exchanges of QoS 2."""

    def load(self) -> Deferred[Iterable[Record]]:
        """All records, in the order in which they were kept. Asked once, before anything is kept."""

    def keep(self, records: Sequence[Record]) -> Deferred[None]:
        """Fires when the records are synced. One call at a time.

        A failure (AnyLogError, OSError) says that they are not kept; the same records are then offered again.
        """

    def close(self) -> Deferred[None]:
        """Nothing more is kept."""


class Arrived(Protocol):
    """A message of a broker."""

    @property
    def topic(self) -> str: ...

    @property
    def payload(self) -> bytes: ...


# The node's own client: all that came for it in one turn, in order. When it fires the messages are dealt with, those
# named with the reason that is said; a ticket is there where a publisher waits.
Deliver = Callable[["Sequence[tuple[Ticket | None, Arrived]]"], "Deferred[Mapping[Ticket, int] | None]"]


class ILocalBroker(Protocol):
    """The node's own message broker, as its own clients see it. Whoever starts one assigns it to `node.broker`."""

    def subscribe_local(self, name: str, filter: str, qos: int, deliver: Deliver) -> None:
        """The node's own client `name` wants messages of a filter from now on; its `deliver` is the last one given."""

    def unsubscribe_local(self, name: str) -> bool:
        """It wants no more, by none of its filters; whether there was such a client."""

    def guard(self, name: str, filter: str, user: str, password: str) -> None:
        """Only who connected as that user may publish to topics of a filter, until `unsubscribe_local(name)`."""


# What tells a repeat of a message: its key within what its subscription gets, its token, whether it may be a repeat.
Repeat = tuple[str, str, bool]


class IOutsideBroker(Protocol):
    """A connection to a message broker elsewhere, which is made again whenever it is lost."""

    host: str
    port: int
    client_id: str  # by which that broker knows us

    def start(self) -> None:
        """Connect, soon."""

    def stop(self, forget: bool = False) -> Deferred[None]:
        """Connect no more; fires when what was taken is dealt with. With `forget` the topics are unsubscribed."""

    def describe(self) -> str:
        """The state of the connection in a few words, and why it is not there."""

    def figures(self) -> Mapping[str, Any]:
        """What else there is to say of it, by titles."""


Connection = TypeVar("Connection", bound=IOutsideBroker)


@frozen(kw_only=True)
class Outside:
    """What a client of an outside broker is told."""

    number: int  # of the client on this node
    broker: str  # host or URL
    port: int | None
    user: str
    password: str
    client_id: str  # empty: one that is the same after a restart, if the topics are
    log: bool  # what it says and hears is shown
    reach: Mapping[str, Any]  # values of the options that say how it is reached, see `publish_commands.REACH`
    clean: bool  # the session ends with its connection, also at QoS 1 and 2
    keep_alive: int  # seconds
    topics: Sequence[tuple[str, int]]  # filters with their QoS
    # Messages in order, each with what tells its repeats; fires when all are dealt with, and fails with AnyLogError if
    # some could not be kept: none of them may be answered then.
    deliver: Callable[[Sequence[tuple[Repeat | None, Arrived]]], Deferred[None]]
    log_error: bool = False  # what cannot be mapped is kept in the error directory


class IPosts(Protocol):
    """Where messages go that come by POST (ingest.md 3)."""

    def products(self) -> Sequence[str]:
        """The user agents of those who may send them, lower case, in the order in which they were declared."""

    def posted(self, product: str, topic: str, body: bytes, key: str) -> Deferred[int]:
        """Take the messages of a body; fires with their number when all are synced.

        `topic` may be empty: the first one that was declared for the product. `key` is an Idempotency-Key or empty.
        Fails with AnyLogError 6, 163, 167 and as `IIntake.accept`.
        """


class IEvents(Protocol):
    """Where the events of one sender go: texts for which nobody waits."""

    def take(self, events: Sequence[bytes]) -> None:
        """Events in order, without what parted them."""

    def lost(self, events: int) -> None:
        """So many came that cannot be given."""

    def close(self) -> None:
        """The sender is gone. What it sent is kept all the same."""


class IRules(Protocol):
    """What becomes of events of text (ingest.md 12)."""

    def wants(self, ip: str, port: int) -> bool:
        """Whether a rule may fit what that sender says to that port of ours."""

    def open(
        self,
        ip: str,
        port: int,
        hold: Callable[[bool], None] | None = None,
        otherwise: Mapping[str, Any] | None = None,
    ) -> IEvents:
        """A sender. `hold(True)`: read no more from it, until `hold(False)`; without it what finds no room is dropped.

        `otherwise` has `dbms`, `table` (normalised) and `ietf` of syslog that no rule takes; else that is dropped.
        """

    def settle(self) -> Deferred[None]:
        """Fires when all that has come is dealt with."""


@frozen(kw_only=True)
class Readings:
    """Rows for one table. With a `key` they are taken once, however often they come within a day under that key."""

    dbms: str
    table: str
    rows: Sequence[Mapping[str, Any]]  # column -> text, number, true, false, None, list or object
    key: str = ""


class ISouthboundIntake(Protocol):
    """Where a plug-in gives what it reads: one of three doors, as it suits its readings."""

    node: str  # by which this node may be told from others for ever: 16 letters and digits
    rules: IRules  # events of text, for which nobody waits

    def accept(self, batch: Readings) -> Deferred[int]:
        """Keep rows; fires with how many were new when they are synced: only then the source may forget them.

        Fails with AnyLogError 502 or 503 if there is no room (the same batch may come again later), and others, such
        as 5 without that database, 28 or 40 for wrong names, 6 for rows that are no JSON.
        """

    def refusal(self) -> AnyLogError | None:
        """Why nothing is taken at the moment, or None; to be asked before something is read."""

    def subscribe(
        self, outside: Outside, topics: Sequence[str], make: Callable[[Outside], Connection]
    ) -> tuple[int, Connection]:
        """A message client with that connection, its messages mapped by `topics` written as for `run msg client`.

        `make` is given `outside` with its number, the names of the topics, and `deliver`. Gives the number and what
        `make` made, started. Raises AnyLogError 2, 40, 113 for topics that cannot be.
        """

    def unsubscribe(self, number: int) -> Deferred[bool]:
        """End a message client; what it was given is kept first."""

    def ended(self, name: str) -> None:
        """The process of that name has nothing left to do: it is stopped soon."""

    def tell(self, text: str) -> None:
        """For the error log."""


class ISouthbound(Interface):  # type: ignore[misc]
    """A way for readings to come in, which anybody may add: see docs/southbound.rst. Looked up by `plugins.find`."""

    name = Attribute("Of its process: for `exit <name>`, `get processes`. Letters, digits, blanks.")
    words = Attribute("The command that starts it, beginning with `run`.")
    help = Attribute("What the command does: a sentence; more after an empty line.")
    example = Attribute("A command line that could be given.")
    where = Attribute("Its options: name -> language.command.Option, as for any command.")

    def make(intake, *, net, clock, lanes, chance, running, **options):  # type: ignore[no-untyped-def]
        """A `process.Process` of that name that is not started, or None if `running` took it.

        `intake` is an `ISouthboundIntake`; `net` listens and connects; `clock` is what time there is; what blocks goes
        to `lanes`; `chance` is for jitter. `running` is the process of that name if there is one. Raises AnyLogError
        for options that cannot be, or a Deferred of either.
        """

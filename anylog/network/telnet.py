"""The console over telnet: options, flow, limits. What is said is the session's part (cli-console.md 9)."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.conch.telnet import ECHO, IP, NAWS, SGA, Telnet
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, DelayedCall
from anylog.language.context import Call, Context, Result
from anylog.network.asking import loopback
from anylog.network.channel import address_text
from anylog.network.console import Session
from anylog.network.lines import End, Interrupt, Line, LineEditor
from anylog.network.rest import Net
from anylog.network.stream import Taker
from anylog.network.turned_away import TurnedAway
from anylog.process import DOORS, Process
from anylog.waiting import deferring

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

AHEAD = 64 << 10  # characters typed while a command runs
UNREAD = 1 << 20  # characters of output kept for a client that does not read
IDLE_SECONDS = 1800.0
SESSIONS = 10


@frozen(kw_only=True)
class TelnetOptions:
    """What `run telnet server` was told."""

    ip: str = "127.0.0.1"
    port: int = 0
    allow_remote: bool = False
    sessions: int = SESSIONS
    idle_seconds: float = IDLE_SECONDS


@implementer(IHalfCloseableProtocol, IPushProducer)
class TelnetConsole(Telnet):
    """One telnet connection. Plain lines until the client agreed that we echo; then a terminal with an editor."""

    transport: Any  # a zope interface with parts of several
    peer = ""
    log = Logger()

    def __init__(self, door: TelnetServer) -> None:
        super().__init__()
        self._door = door
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._typed = ""  # not yet used
        self._terminal = False
        self._echoes = 0  # of the two options a terminal needs
        self._ended = False  # the client sends no more
        self._pumping = False
        self._leaving = False
        self._taker = Taker(paused=False)
        self._paused = False
        self._unwritten: list[str] = []
        self._unread = 0
        self._truncated = False
        self._idle: DelayedCall | None = None
        self.negotiationMap[NAWS] = self._window

    # ------------------------------------------------------------------ coming and going

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        peer = self.transport.getPeer()
        self.peer = address_text(peer)
        self.session = Session(
            execute=self._door.execute,
            node_name=self._door.node_name,
            context=Context(
                origin="console", who=f"console@{self.peer}", local=loopback(getattr(peer, "host", "127.0.0.1"))
            ),
            write=self.print_text,
            ready=self._ready,
            leave=self._leave,
            messages=self._door.messages,
            serves=self._door.serves,
        )
        self._editor = LineEditor(self.session.history, complete=self._door.complete)
        for option in (ECHO, SGA):
            self.will(option).addCallbacks(self._agreed, self._refused)
        self.do(NAWS).addErrback(self._refused)
        self._write_text(self.session.greeting())
        self._prompt()
        self._touch()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._leaving = True
        self._door.left(self)
        self.session.close()

    def readConnectionLost(self) -> None:
        """`printf 'get status' | nc`: no more will come, but the answer is still wanted."""
        self._ended = True
        self._pump()

    def writeConnectionLost(self) -> None:
        """The client takes no more."""
        self.transport.loseConnection()

    def _leave(self) -> None:
        if self._leaving:
            return
        self._leaving = True
        self._unpause_all()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def end(self, why: str) -> None:
        """Close from our side, with a word of why."""
        if not self._leaving:
            self._write_text(f"\n{why}\n")
            self._leave()

    def _touch(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._idle = self._door.clock.callLater(self._door.options.idle_seconds, self.end, "Closed: nothing was typed")

    # ------------------------------------------------------------------ options

    def enableLocal(self, option: bytes) -> bool:
        return option in (ECHO, SGA)

    def disableLocal(self, option: bytes) -> None:
        if option == ECHO:
            self._terminal = False

    def enableRemote(self, option: bytes) -> bool:
        return option == NAWS

    def disableRemote(self, option: bytes) -> None:
        """The size of the window is no longer told."""

    def _agreed(self, _: object) -> None:
        self._echoes += 1
        self._terminal = self._echoes == 2

    def _refused(self, _: object) -> None:
        """It stays a line by line conversation."""

    def _window(self, data: Sequence[bytes]) -> None:
        if len(data) >= 4:
            width = ord(data[0]) << 8 | ord(data[1])
            self._editor.width = width if width >= 20 else 80

    def negotiate(self, data: list[bytes]) -> None:
        if data:
            super().negotiate(data)

    def unhandledCommand(self, command: bytes, argument: bytes | None) -> None:
        """Ctrl-C of a client that does not send the key itself."""
        if command == IP:
            self._interrupt()

    def unhandledSubnegotiation(self, command: bytes, data: list[bytes]) -> None:
        """We asked for nothing else."""

    # ------------------------------------------------------------------ keys in

    def dataReceived(self, data: bytes) -> None:
        if self._leaving:
            return
        self._touch()
        try:
            super().dataReceived(data)
        except ValueError:
            self.log.info("what came from {peer} is not telnet; the console was closed", peer=self.peer)
            self.transport.loseConnection()

    def applicationDataReceived(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if self.session.busy and "\x03" in text:
            text = text.rpartition("\x03")[2]
            self._typed = ""
            self._interrupt()
        if len(self._typed) + len(text) > AHEAD:
            self._write_text("\n[input truncated]\n")
            text = text[: max(0, AHEAD - len(self._typed))]
        self._typed += text
        self._pump()

    def _interrupt(self) -> None:
        self.session.interrupt()
        if not self.session.busy:
            self._prompt()

    def _pump(self) -> None:
        """Use what was typed, up to the next command that takes its time."""
        if self._pumping:
            return  # a command that took no time: the loop goes on by itself
        self._pumping = True
        try:
            self._use_typed()
        finally:
            self._pumping = False

    def _use_typed(self) -> None:
        while self._typed and not self.session.busy and not self._leaving:
            line = self._next_line()
            if line is None:
                break
            self._run(line)
        if self._ended and not self.session.busy and not self._leaving:
            if self._typed.strip() and not self._terminal:
                line, self._typed = self._typed, ""
                self._run(line)  # the last line may lack its end
                if self.session.busy:
                    return
            self._leave()

    def _next_line(self) -> str | None:
        if not self._terminal:
            line, end, rest = self._typed.replace("\r", "\n").partition("\n")
            if not end:
                return None
            self._typed = rest
            return line
        events, self._typed = self._editor.feed(self._typed)
        self._write_raw(self._editor.output())
        for event in events:
            if isinstance(event, Line):
                return event.text
            if isinstance(event, Interrupt):
                self._interrupt()
            elif isinstance(event, End):
                self._leave()
        return self._next_line() if events and self._typed and not self._leaving else None

    def _run(self, line: str) -> None:
        ended = self.session.receive(line)
        if ended is None:
            self._prompt()
        else:
            ended.addCallback(self._command_ended).addErrback(
                lambda failure: self.log.failure("the console stumbled", failure)
            )

    def _command_ended(self, _: object) -> None:
        if not self._leaving:
            self._prompt()
            self._pump()

    def _prompt(self) -> None:
        if self._leaving:
            return
        prompt = self.session.prompt()
        if self._terminal:
            self._editor.begin(prompt)
            self._write_raw(self._editor.output())
        else:
            self._editor.prompt = prompt
            self._write_raw(prompt)

    # ------------------------------------------------------------------ text out

    def print_text(self, text: str) -> None:
        """Text of a command, or of something else that happens: then the typed line is drawn again."""
        if self._terminal and not self.session.busy:
            self._editor.hide()
            self._write_raw(self._editor.output())
            self._write_text(text)
            self._editor.show()
            self._write_raw(self._editor.output())
        else:
            self._write_text(text)

    def _write_text(self, text: str) -> None:
        self._write_raw(text.replace("\r\n", "\n").replace("\n", "\r\n"))

    def _write_raw(self, text: str) -> None:
        if not text:
            return
        if not self._paused:
            self._send(text)
        elif self._unread + len(text) <= UNREAD:
            self._unwritten.append(text)
            self._unread += len(text)
        else:
            self._truncated = True

    def _send(self, text: str) -> None:
        self.transport.write(text.encode("utf-8", "replace").replace(b"\xff", b"\xff\xff"))

    def _ready(self) -> Deferred[None]:
        return self._taker.ready()

    def pauseProducing(self) -> None:
        """The client does not keep up."""
        self._paused = True
        self._taker.pauseProducing()

    def resumeProducing(self) -> None:
        """It does again."""
        self._unpause_all()
        self._taker.resumeProducing()

    def stopProducing(self) -> None:
        """The connection ends; `connectionLost` follows."""

    def _unpause_all(self) -> None:
        self._paused = False
        waiting, self._unwritten, self._unread = self._unwritten, [], 0
        if waiting:
            self._send("".join(waiting))
        if self._truncated:
            self._truncated = False
            self._send("\r\n[output truncated]\r\n")


class TelnetServer(Process):
    """`run telnet server`: consoles for this machine, and for others only if that was said."""

    name = "telnet"
    floor = DOORS
    log = Logger()

    def __init__(
        self,
        *,
        execute: Callable[[str | Call, Context], Deferred[Result]],
        net: Net,
        clock: Clock,
        node_name: Callable[[], str],
        options: TelnetOptions,
        complete: Callable[[str], Sequence[str]] | None = None,
        messages: Callable[[], int] = lambda: 0,
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        """`complete` gives the command texts that begin with what was typed.

        `messages` counts those that ever came to the echo queue; 0 if it is off. `serves` is false after `set cli off`.
        """
        self.execute, self.clock, self.node_name = execute, clock, node_name
        self.options, self.complete, self.messages, self.serves = options, complete, messages, serves
        self.address = f"{options.ip}:{options.port}"
        self.consoles: list[TelnetConsole] = []
        self._net = net
        self._port: Any = None  # an IListeningPort

    @deferring
    async def start(self) -> None:
        """Listen. Raises AnyLogError 3 if the port cannot be had, 212 if the address is not of this machine."""
        options = self.options
        if not loopback(options.ip) and not options.allow_remote:
            raise AnyLogError(212, f"{options.ip} is open to other machines: say allow_remote = true if that is meant")
        escaped = options.ip.replace(":", "\\:")
        try:
            self._port = await self._net.listen(f"tcp:{options.port}:interface={escaped}", _Consoles(self))
        except (CannotListenError, OSError) as why:
            raise AnyLogError(3, f"Failed to open a telnet server on {self.address}: {why}") from None
        if not options.port:
            self.address = address_text(self._port.getHost())
        if not loopback(options.ip):
            self.log.warn(
                "the telnet console on {address} is neither encrypted nor asks who is there", address=self.address
            )

    @deferring
    async def stop(self) -> None:
        """Listen no more and close every console."""
        if self._port is not None:
            port, self._port = self._port, None
            closed: Any = port.stopListening()
            if isinstance(closed, Deferred):
                await closed
        for console in list(self.consoles):
            console.end("Closed: the console server stops")

    def describe(self) -> str:
        """As `get processes` shows it."""
        return f"Listening on: {self.address}, Sessions: {len(self.consoles)}"

    def build(self, address: IAddress | None) -> Protocol:
        """A console, or a short answer why there is none."""
        host = getattr(address, "host", "127.0.0.1")
        if not loopback(host) and not self.options.allow_remote:
            self.log.warn("a console was asked for by {host}, which is another machine", host=host)
            return TurnedAway(b"Only from this machine\r\n")
        if len(self.consoles) >= self.options.sessions:
            return TurnedAway(b"Too many sessions\r\n")
        console = TelnetConsole(self)
        self.consoles.append(console)
        return console

    def left(self, console: TelnetConsole) -> None:
        """A console was closed."""
        if console in self.consoles:
            self.consoles.remove(console)


class _Consoles(ServerFactory):
    """What a listening port needs."""

    noisy = False

    def __init__(self, door: TelnetServer) -> None:
        self._door = door

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._door.build(addr)

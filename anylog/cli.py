"""The console script `anylog`: run a node in the foreground, or ask one a question.

`anylog exec` is meant for scripts and cron: it uses the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import NoReturn

from anylog import __version__

USAGE = """\
usage: anylog run [--home DIR] [--name NAME] [COMMAND and COMMAND ... | process SCRIPT]
           Run a node in the foreground (the same as: twistd -n anylog ...).
       anylog exec [--timeout SECONDS] HOST:PORT COMMAND
           Ask the node whose REST server listens there; prints its answer.
           Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 cannot connect.
       anylog --version
       anylog help
"""

DONE, REFUSED, WRONG_USAGE, NO_CONNECTION = range(4)

_WRONG_METHOD = 156  # what a node says to a command that is not asked for by GET (rest.md 2.1)
_LONGEST_HEADER = 8000  # bytes; a longer command travels in the body
_PIECE = 1 << 16


class WrongUsage(Exception):
    """The words of the command line make no sense; the text says which."""


class Unreachable(Exception):
    """No connection to the node could be made."""


class Refused(Exception):
    """The node answered with an error, or its answer broke off."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """What the console script calls."""
    words = sys.argv[1:] if words is None else list(words)
    try:
        status = dispatch(words)
    except WrongUsage as wrong:
        sys.stderr.write(f"anylog: {wrong}\n\n{USAGE}")
        status = WRONG_USAGE
    except Unreachable as gone:
        sys.stderr.write(f"anylog: {gone}\n")
        status = NO_CONNECTION
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        status = REFUSED
    except BrokenPipeError:  # as in `anylog exec ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = REFUSED
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)


def dispatch(words: Sequence[str]) -> int:
    """Do what the words ask for and give the exit status."""
    match words:
        case ["run", *rest]:
            return run(rest)
        case ["exec", *rest]:
            return execute(rest)
        case ["--version" | "-V" | "version"]:
            sys.stdout.write(f"anylog {__version__}\n")
        case ["help" | "--help" | "-h"]:
            sys.stdout.write(USAGE)
        case []:
            raise WrongUsage("a word is missing: run, exec or help")
        case [word, *_]:
            raise WrongUsage(f"'{word}' is not known here")
    return DONE


def run(words: Sequence[str]) -> int:
    """`anylog run`: twistd in the foreground, without a pid file, so that many nodes may share a directory."""
    from twisted.scripts.twistd import run as twistd

    sys.argv[1:] = ["--nodaemon", "--pidfile=", "anylog", *words]
    twistd()
    return DONE


def execute(words: Sequence[str]) -> int:
    """`anylog exec`: one question, one answer on standard output."""
    host, port, command, timeout = exec_words(words)
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        response = ask(connection, command)
        copy(response, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
    except TimeoutError:
        raise Refused(f"no answer from {host}:{port} after {timeout:g} seconds") from None
    except (HTTPException, ConnectionError) as broken:
        if isinstance(broken, BrokenPipeError):
            raise
        raise Refused(f"the connection to {host}:{port} broke: {broken}") from broken
    finally:
        connection.close()
    return DONE


def exec_words(words: Sequence[str]) -> tuple[str, int, str, float | None]:
    """Host, port, command and seconds (None: wait for ever). Raises WrongUsage."""
    timeout: float | None = None
    left = list(words)
    while left and left[0].startswith("-"):
        name, given, value = left.pop(0).partition("=")
        if name not in ("--timeout", "-t"):
            raise WrongUsage(f"exec: no option '{name}'")
        if not given:
            value = left.pop(0) if left else ""
        try:
            timeout = float(value) or None
        except ValueError:
            raise WrongUsage(f"exec: '{value}' is not a number of seconds") from None
    if len(left) < 2:
        raise WrongUsage("exec: HOST:PORT and a command are needed")
    host, colon, port = left[0].rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUsage(f"exec: '{left[0]}' is not HOST:PORT")
    return host.strip("[]"), int(port), " ".join(left[1:]).strip(), timeout


def ask(connection: HTTPConnection, command: str) -> HTTPResponse:
    """The answer to a command, its body not yet read. Raises Unreachable and Refused.

    Which commands need POST is known to the node alone, so GET is tried first and its refusal tells.
    """
    agent = {"User-Agent": f"AnyLog/{__version__}"}
    header = command.encode()
    if len(header) > _LONGEST_HEADER or "\n" in command or "\r" in command:
        body = json.dumps({"command": command}).encode()
        response = send(connection, "POST", {**agent, "Content-Type": "application/json"}, body)
    else:
        response = send(connection, "GET", {**agent, "command": header})
        if response.status >= 400:
            number, text = refusal(response)
            if number != _WRONG_METHOD:
                raise Refused(text)
            response = send(connection, "POST", {**agent, "command": header})
    if response.status >= 400:
        raise Refused(refusal(response)[1])
    return response


def send(
    connection: HTTPConnection, method: str, headers: Mapping[str, str | bytes], body: bytes | None = None
) -> HTTPResponse:
    """One request; connects first if the server closed the connection after the last one."""
    if connection.sock is None:
        try:
            connection.connect()
        except OSError as error:
            raise Unreachable(f"cannot connect to {connection.host}:{connection.port}: {error}") from error
    connection.putrequest(method, "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None or method == "POST":
        connection.putheader("Content-Length", str(len(body or b"")))
    connection.endheaders(body)
    return connection.getresponse()


def refusal(response: HTTPResponse) -> tuple[int, str]:
    """Number and text of an error reply (rest.md 3.2); number 0 where the body holds none."""
    body = response.read()
    text = body.decode(errors="replace").strip()
    try:
        told = json.loads(body)
        number = int(told["err_code"])
        general = str(told.get("err_text") or response.reason)
        parts = [general]
        for key in ("local_msg", "operator_msg"):
            detail = str(told.get(key) or "")
            if detail and detail not in parts:
                parts.append(detail)
        return number, f"{': '.join(parts)} (error {number})"
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0, text or f"{response.status} {response.reason}"


def copy(response: HTTPResponse, write: Callable[[bytes], object]) -> None:
    """Write the body as it comes, with a line end after it. Raises Refused if it breaks off."""
    last = b""
    try:
        while piece := response.read1(_PIECE):
            write(piece)
            last = piece
    except IncompleteRead:
        raise Refused("the answer broke off: what was printed is not complete") from None
    if response.length:
        raise Refused("the answer broke off: what was printed is not complete")
    if last and not last.endswith(b"\n"):
        write(b"\n")


if __name__ == "__main__":
    main()

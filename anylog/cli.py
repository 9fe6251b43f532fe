"""The console script `anylog`: run a node in the foreground, ask one a question, or talk to it at a prompt.

`anylog exec` is meant for scripts and cron: it uses the standard library alone, so that it starts at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from http.client import HTTPException
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from anylog import __version__
from anylog.prompt.door import Door, Refused, Unreachable, ask, copy

USAGE = """\
usage: anylog run [--home DIR] [--name NAME] [--env FILE] [COMMAND and COMMAND ... | process SCRIPT]
           Run a node in the foreground (the same as: twistd -n anylog ...).
       anylog exec [--timeout SECONDS] HOST:PORT COMMAND
           Ask the node whose REST server listens there; prints its answer.
           Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 cannot connect.
       anylog cli [--no-pager] [--timeout SECONDS] [HOST:PORT]
           A prompt at that node, 127.0.0.1:32149 unless said otherwise; Tab completes, 'help' explains, Ctrl-D leaves.
           Without a terminal: the commands are the lines of standard input; status 1 if one of them failed.
       anylog check [--format text|json] FILE|DIR ...
           Read scripts, and those that they run, and say what is wrong with them; nothing is run.
           Exit status: 0 nothing wrong, 1 errors were found, 2 wrong usage.
       anylog --version
       anylog help
"""

DONE, REFUSED, WRONG_USAGE, NO_CONNECTION = range(4)
USUAL = "127.0.0.1:32149"


class WrongUsage(Exception):
    """The words of the command line make no sense; the text says which."""


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
        case ["cli", *rest]:
            return converse(rest)
        case ["check", *rest]:
            return check(rest)
        case ["--version" | "-V" | "version"]:
            sys.stdout.write(f"anylog {__version__}\n")
        case ["help" | "--help" | "-h"]:
            sys.stdout.write(USAGE)
        case []:
            raise WrongUsage("a word is missing: run, exec, cli, check or help")
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
    door = Door(host, port, timeout)
    try:
        response = ask(door, command)
        copy(response, sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
    except TimeoutError:
        raise Refused(f"no answer from {host}:{port} after {timeout:g} seconds") from None
    except (HTTPException, ConnectionError) as broken:
        if isinstance(broken, BrokenPipeError):
            raise
        raise Refused(f"the connection to {host}:{port} broke: {broken}") from broken
    finally:
        door.close()
    return DONE


def converse(words: Sequence[str]) -> int:
    """`anylog cli`: a prompt on a terminal, else the lines of standard input."""
    host, port, timeout, pager = cli_words(words)
    from anylog.prompt.talk import Talk

    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    home = os.environ.get("HOME")
    talk = Talk(
        host,
        port,
        seconds=timeout,
        environ=os.environ,
        source=sys.stdin,
        out=sys.stdout,
        err=sys.stderr,
        history=Path(home) / ".anylog_history" if home else None,
        pager=pager,
    )
    return talk.run()


def check(words: Sequence[str]) -> int:
    """`anylog check`: scripts, or directories with scripts."""
    layout, paths = check_words(words)
    from anylog.checker import Checker, as_json, shown
    from anylog.language.words import Words
    from anylog.node import ALL_COMMANDS

    checker = Checker(Words(ALL_COMMANDS), lambda command: command.later)
    try:
        findings = checker.check(paths)
    except OSError as missing:
        raise WrongUsage(f"check: {missing.filename}: {missing.strerror}") from None
    sys.stdout.write((as_json if layout == "json" else shown)(findings, checker.reports))
    return REFUSED if any(finding.severity == "error" for finding in findings) else DONE


def check_words(words: Sequence[str]) -> tuple[str, list[str]]:
    """Layout and paths. Raises WrongUsage."""
    layout, paths, left = "text", list[str](), list(words)
    while left:
        word = left.pop(0)
        if word == "--format" or word.startswith("--format="):
            layout = word.partition("=")[2] or (left.pop(0) if left else "")
            if layout not in ("text", "json"):
                raise WrongUsage(f"check: --format is text or json, not '{layout}'")
        elif word.startswith("-") and word != "-":
            raise WrongUsage(f"check: '{word}' is not known")
        else:
            paths.append(word)
    if not paths:
        raise WrongUsage("check: a script or a directory is missing")
    return layout, paths


def exec_words(words: Sequence[str]) -> tuple[str, int, str, float | None]:
    """Host, port, command and seconds (None: wait for ever). Raises WrongUsage."""
    timeout, _, left = _options("exec", words, ())
    if len(left) < 2:
        raise WrongUsage("exec: HOST:PORT and a command are needed")
    host, port = _address("exec", left[0])
    return host, port, " ".join(left[1:]).strip(), timeout


def cli_words(words: Sequence[str]) -> tuple[str, int, float | None, bool]:
    """Host, port, seconds (None: wait for ever), and whether long answers are paged. Raises WrongUsage."""
    timeout, flags, left = _options("cli", words, ("--no-pager",))
    if len(left) > 1:
        raise WrongUsage(f"cli: '{left[1]}' is one word too many; 'anylog exec' asks a single question")
    host, port = _address("cli", left[0] if left else USUAL)
    return host, port, timeout, not flags


def _options(name: str, words: Sequence[str], known: Sequence[str]) -> tuple[float | None, list[str], list[str]]:
    """Seconds of `--timeout`, the other options, and the words after them."""
    timeout: float | None = None
    flags: list[str] = []
    left = list(words)
    while left and left[0].startswith("-"):
        option, given, value = left.pop(0).partition("=")
        if option in known and not given:
            flags.append(option)
            continue
        if option not in ("--timeout", "-t"):
            raise WrongUsage(f"{name}: no option '{option}'")
        if not given:
            value = left.pop(0) if left else ""
        try:
            timeout = float(value) or None
        except ValueError:
            raise WrongUsage(f"{name}: '{value}' is not a number of seconds") from None
        if timeout is not None and not 0 < timeout < 1e9:
            raise WrongUsage(f"{name}: '{value}' is not a number of seconds")
    return timeout, flags, left


def _address(name: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUsage(f"{name}: '{text}' is not HOST:PORT")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()

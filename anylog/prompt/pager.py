"""Answers longer than the screen: the program that $PAGER names, `less`, or a small one of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

MORE = "-- more: space a screen, Enter a line, q ends --"


def pager_of(environ: Mapping[str, str]) -> str | None:
    """The command line of a pager; empty: our own; None: none is wanted."""
    told = environ.get("PAGER")
    if told is not None:
        return None if told.strip() in ("", "cat") else told
    return "less" if shutil.which("less", path=environ.get("PATH")) else ""


def through(command: str, texts: Iterator[str], environ: Mapping[str, str], cut: Callable[[], None]) -> None:
    """Show the texts in another program, as fast as it takes them.

    `cut` ends the source of the texts: called on Ctrl-C, and when the program ends before they do. Raises what the
    source failed with, unless it was cut.
    """
    wanted = {"LESS": "FRSX", "LV": "-c", **environ}
    shown = subprocess.Popen(
        command, shell=True, stdin=subprocess.PIPE, env=wanted, text=True, encoding="utf-8", errors="replace"
    )
    failed: list[BaseException] = []
    gone = threading.Event()

    def feed() -> None:
        assert shown.stdin is not None
        try:
            for text in texts:
                shown.stdin.write(text)
                shown.stdin.flush()
        except BrokenPipeError:
            gone.set()
        except Exception as error:  # handed to the thread that can tell it
            failed.append(error)
        finally:
            try:
                shown.stdin.close()
            except OSError:
                pass

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    while shown.poll() is None:
        try:
            shown.wait()
        except KeyboardInterrupt:  # the pager has heard it too, and stays to show what has come
            gone.set()
            cut()
    if feeding.is_alive():
        gone.set()
        cut()
    feeding.join(5)
    if failed and not gone.is_set():
        raise failed[0]


def own(texts: Iterator[str], out: TextIO, rows: int, key: Callable[[], str]) -> None:
    """Show a screen, then as much as each key asks for; `q` leaves the rest."""
    left = rows - 1
    for line in _lines(texts):
        if left <= 0:
            pressed = _asked(out, key)
            if pressed in ("q", "Q", "\x03", "\x04", ""):
                return
            left = rows - 1 if pressed in (" ", "f") else 1
        out.write(line + "\n")
        left -= 1
    out.flush()


def _lines(texts: Iterator[str]) -> Iterator[str]:
    last = ""
    for text in texts:
        *lines, last = (last + text).split("\n")
        yield from lines
    if last:
        yield last


def _asked(out: TextIO, key: Callable[[], str]) -> str:
    out.write(MORE)
    out.flush()
    pressed = key()
    out.write("\r" + " " * len(MORE) + "\r")
    out.flush()
    return pressed


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """While this lasts the terminal gives keys one by one, also those that were typed before they were asked for."""
    import termios
    import tty

    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)
    try:
        tty.setcbreak(place, termios.TCSADRAIN)
        yield lambda: os.read(place, 1).decode("latin-1")
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)

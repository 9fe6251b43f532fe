"""A session without a terminal, and one with a person played by the test; a small HTTP server plays the node."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest

from anylog.prompt.door import Unreachable
from anylog.prompt.talk import Talk


class Played(BaseHTTPRequestHandler):
    """Answers from a table: command -> (status, body); what changes something wants POST."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, tuple[int, str]]
    asked: list[str]

    def do_GET(self) -> None:
        command = self.headers["command"]
        if command.startswith("set "):
            return self.say(400, json.dumps({"err_code": 156, "err_text": "Wrong HTTP method used"}))
        return self.answer(command)

    def do_POST(self) -> None:
        self.answer(self.headers["command"])

    def answer(self, command: str) -> None:
        self.asked.append(command)
        missing = json.dumps({"err_code": 1, "err_text": "Unrecognized Command", "local_msg": f"'{command}'"})
        self.say(*self.answers.get(command, (400, missing)))

    def say(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Person:
    """Types lines, says yes or no, keeps the prompts that were shown."""

    def __init__(self, *lines: str | type[BaseException], says: bool = True) -> None:
        self.lines, self.says = list(lines), says
        self.prompts: list[str] = []
        self.questions: list[str] = []
        self.keys: dict[str, str] = {}

    def line(self, shown: str) -> str:
        self.prompts.append(shown)
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if isinstance(line, str):
            return line
        raise line

    def yes(self, question: str) -> bool:
        self.questions.append(question)
        return self.says

    def history(self) -> list[str]:
        return ["before"]

    def set_key(self, key: str, text: str) -> None:
        self.keys[key] = text


class Desk:
    """A played node, and sessions with it."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {
            "get status where format = json": (200, '{"assigned_name": "op@a:1"}')
        }
        self.asked: list[str] = []
        kind = type("Node", (Played,), {"answers": self.answers, "asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def talk(self, typed: str = "", **more: Any) -> tuple[Talk, TextIOWrapper, StringIO]:
        out, err = TextIOWrapper(BytesIO(), "utf-8", write_through=True), StringIO()
        told = {"seconds": 5.0, "environ": {}, "source": StringIO(typed), "out": out, "err": err, **more}
        return Talk("127.0.0.1", self.port, **told), out, err

    def spoken(self, out: TextIOWrapper) -> str:
        out.flush()
        whole = out.buffer
        assert isinstance(whole, BytesIO)
        return whole.getvalue().decode()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_batch(desk: Desk) -> None:
    """Answers as they came, errors with their line, and a status that says whether all went well."""
    desk.answers |= {"get status": (200, "running"), "set x = 5": (200, ""), "print a b": (200, '{"a":1}')}
    for typed, out_text, err_text, status in [
        ("get status\n\n# nothing\nset x = 5\n", "running\n", "", 0),
        ("<print\n a\n b>\n", '{"a":1}\n', "", 0),
        ("nosuch\nget status\n", "running\n", "line 1: Unrecognized Command: 'nosuch' (error 1)\n", 1),
        ("get status\n<set\n  y>\n", "running\n", "line 2: Unrecognized Command: 'set y' (error 1)\n", 1),
        ("get status & get status\nexit\nget status", "running\nrunning\n", "", 0),
        ("\n<print", "", "line 2: the '<' of this line is not closed by a '>' at the end of a line\n", 1),
        ("", "", "", 0),
    ]:
        talk, out, err = desk.talk(typed)
        assert (talk.run(), desk.spoken(out), err.getvalue()) == (status, out_text, err_text), typed
    assert "get status where format = json" not in desk.asked, "a script needs no prompt"


def test_converse(desk: Desk) -> None:
    """Greeting, prompts, answers, boxes; Ctrl-C at the prompt drops the line, Ctrl-D leaves."""
    desk.answers |= {"get status": (200, "running"), "!x": (200, "5")}
    talk, out, _ = desk.talk()
    person = Person("get status", KeyboardInterrupt, "nosuch & get status", "!x", "history")
    assert talk.converse(person) == 0
    text = desk.spoken(out)
    assert person.prompts == ["AL op > "] * 6
    assert text.startswith("AnyLog Version: ") and f"Node: op at 127.0.0.1:{desk.port}\n" in text
    assert (
        text.split("\n", 2)[2] == "\nrunning\n|========|\n|'nosuch'|\n|========|\nUnrecognized Command\n'5'\nbefore\n"
    )


def test_the_prompt_follows_the_name(desk: Desk) -> None:
    """After a command that changes something the name is asked anew; an unnamed node has a bare prompt."""
    desk.answers["set node name x"] = (200, "")
    desk.answers["get status where format = json"] = (200, '{"assigned_name": "AnyLog@a:1"}')
    person = Person("set node name x")
    desk.talk()[0].converse(person)
    assert person.prompts == ["AL > ", "AL > "]
    assert desk.asked.count("get status where format = json") == 2
    desk.answers["get status where format = json"] = (401, '{"err_code": 145, "err_text": "Authentication failed"}')
    person = Person()
    desk.talk()[0].converse(person)
    assert person.prompts == ["AL > "], "a node that does not say its name can be talked to"


def test_assigned(desk: Desk) -> None:
    """Commands go to the peers, the prompt shows them, and `run client .` ends it."""
    desk.answers["run client (a:1) get status"] = (200, "[From Node a:1]\nrunning")
    desk.answers["get status"] = (200, "here")
    person = Person("run client (a:1)", "get status", ". get status", "run client .", "get status")
    desk.talk()[0].converse(person)
    assert person.prompts == ["AL op > ", *["AL op > a:1 >> "] * 3, *["AL op > "] * 2]
    assert [asked for asked in desk.asked if "json" not in asked] == [
        "run client (a:1) get status",
        "get status",
        "get status",
    ]


def test_exit_node(desk: Desk) -> None:
    """Asked about, naming who would stop; no leaves all as it is, `force` asks nothing."""
    desk.answers |= {"exit node": (200, ""), "run client (a:1) exit node": (200, "")}
    person = Person("exit node", says=False)
    desk.talk()[0].converse(person)
    assert (person.questions, "exit node" in desk.asked) == (["Stop the node? (yes/no) "], False)
    person = Person("run client (a:1)", "exit node", "run client .", "exit node", "get status")
    desk.talk()[0].converse(person)
    assert person.questions == ["Stop (a:1)? (yes/no) ", "Stop the node? (yes/no) "]
    assert person.lines == ["get status"], "with its node the session is over"
    assert desk.asked[-1] == "exit node"
    person = Person("exit node force")
    desk.talk()[0].converse(person)
    assert (person.questions, desk.asked[-1], len(person.prompts)) == ([], "exit node", 1)


def test_function_keys(desk: Desk) -> None:
    """`set function key` is the session's own."""
    person = Person("set function key f5 get processes")
    desk.talk()[0].converse(person)
    assert person.keys == {"f5": "get processes"}


def test_nobody_there(desk: Desk) -> None:
    """Without a node a session does not begin; one that goes away leaves the prompt."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        talk, out, _ = desk.talk("get status\n")
        talk.port = taken.getsockname()[1]
        with pytest.raises(Unreachable):
            talk.run()
        with pytest.raises(Unreachable):
            talk.converse(Person())

        class Leaves(Person):
            def line(self, shown: str) -> str:
                talk.port = taken.getsockname()[1]
                return super().line(shown)

        talk, out, _ = desk.talk()
        assert talk.converse(Leaves("get status")) == 0
        assert "cannot connect to 127.0.0.1" in desk.spoken(out)

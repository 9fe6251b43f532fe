"""From headers, URL and body to what is asked: the pure part of the REST server (rest.md 2 and 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from attrs import evolve, frozen

from anylog.errors import AnyLogError
from anylog.language.command import Command, Seconds
from anylog.language.tokens import logical_lines

Lookup = Callable[[str], "type[Command] | None"]

LONGEST_BODY = 256 << 10  # bytes of a body that holds commands; reading 1 MB of them takes the node seconds
COMMAND_AGENTS = ("anylog", "curl")  # products that speak commands

_ASSIGNMENT = re.compile(r"\s*[^\s=<>!'\"(]+(\[\]|\{\})?\s*=(?!=)")
_SQL_VERB = re.compile(
    r"^sql\s+\S+\s.*?\b(select|with|insert|create|drop|delete|update|alter|replace)\s+(?!=)", re.IGNORECASE | re.DOTALL
)
_KEY = re.compile(r"[^\s=<>!'\"&]+")
_CURLY = str.maketrans("\u201c\u201d\u2018\u2019", "\"\"''")  # quotes of word processors


@frozen(kw_only=True)
class Asked:
    """One request, read. An empty command means there is nothing to do."""

    command: str = ""
    key: str = ""  # of the dictionary, that the result is stored under
    before: tuple[str, ...] = ()  # commands of the body, run first and in order
    destination: str = ""  # empty: this node
    subset: bool = False
    timeout: float | None = None  # seconds; None: the server's
    agent: str = ""  # product in lower case
    by_url: bool = False
    natural: bool = False  # came in a JSON body: any command, whatever the method (rest.md 2.3)

    @property
    def text(self) -> str:
        """What is executed."""
        return f"{self.key} = {self.command}" if self.key else self.command


def read_request(method: str, query: bytes, headers: Mapping[str, str], body: bytes) -> Asked:
    """What a GET or POST asks. `headers` have lower case names and decoded values.

    Raises AnyLogError 6, 110, 163, 175, 182, 193 or 501.
    """
    fields, by_url, natural = dict(headers), False, False
    if not fields.get("command") and query:
        fields.update(read_query(query))
        by_url = True
    takes_body = _takes_body(fields.get("command", "").strip())
    if len(body) > LONGEST_BODY and not takes_body:
        raise AnyLogError(501, f"a body with commands may have {LONGEST_BODY} bytes, this one has {len(body)}")
    text = ""
    if not fields.get("command") and body.strip():
        fields.update(read_json_body(body))
        natural = True
    elif body and "octet-stream" not in fields.get("content-type", "") and not takes_body:
        text = decode(body)
    agent = fields.get("anylog-agent") or fields.get("user-agent", "")
    product = agent.partition("/")[0].strip().lower()
    command = fields.get("command", "").translate(_CURLY).strip()
    if not command:
        command = _without_command(method, agent, product)
    before: tuple[str, ...] = ()
    if command.lower() == "body":
        command = text.translate(_CURLY).strip()
        if not command:
            raise AnyLogError(301, "'command: body' needs a command in the message body")
    elif text.strip() and method == "POST" and not takes_body:
        before = body_lines(text)
    key = fields.get("assignment", "").strip()
    if key and not _KEY.fullmatch(key):
        raise AnyLogError(175, f"assignment: '{key}' is not the name of a key")
    return Asked(
        command=command,
        key=key,
        before=before,
        destination="" if fields.get("destination", "").strip().lower() == "local" else fields.get("destination", ""),
        subset=_flag("subset", fields.get("subset", "")),
        timeout=read_timeout(fields["timeout"]) if fields.get("timeout") else None,
        agent=product,
        by_url=by_url,
        natural=natural,
    )


def sent_on(asked: Asked) -> Asked:
    """The same for the nodes that its destination names (rest.md 2). Raises AnyLogError 155 for what is not sql."""
    network = asked.destination.strip().lower() == "network"
    if network and not asked.command.lower().startswith("sql "):
        raise AnyLogError(155, "'destination: network' is for sql; name the nodes for other commands")
    named = "" if network else asked.destination.strip()
    if named.startswith("(") and _closes(named) == len(named) - 1:
        named = named[1:-1]
    parts = [named, "subset = true" if asked.subset else ""]
    return evolve(asked, command=f"run client ({', '.join(part for part in parts if part)}) {asked.command}")


def _closes(text: str) -> int:
    """Where the bracket that a text begins with is closed; -1 if it is not."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return place
    return -1


def _flag(name: str, text: str) -> bool:
    """Raises AnyLogError 110 for what is neither true nor false."""
    word = text.strip().lower()
    if word not in ("", "true", "false"):
        raise AnyLogError(110, f"{name}: '{text[:100]}' is neither true nor false")
    return word == "true"


def _without_command(method: str, agent: str, product: str) -> str:
    if method == "GET":
        return "get status" if product in COMMAND_AGENTS else ""
    if product in COMMAND_AGENTS or not product:
        raise AnyLogError(110, "Missing 'command' attribute in header")
    raise AnyLogError(163, f"HTTP server received POST message from unknown 'User-Agent': '{agent}'")


def _takes_body(command: str) -> bool:
    """Commands for which the body is data and not lines to run first."""
    return re.match(r"(data|file\s+(store|to))\b", command, re.IGNORECASE) is not None


def check_method(method: str, command: str, lookup: Lookup) -> None:
    """Raise AnyLogError 156 if this command is not asked with this method (rest.md 2.1), 167 for unmapped data.

    Of several (`a & b`) each is looked at; AnyLogError 2 if they cannot be told apart. What is no command passes: to be
    told that it is unknown helps more.
    """
    for line in logical_lines(command, typed=True):
        _check_method(method, line.text.strip(), lookup)


def _check_method(method: str, command: str, lookup: Lookup) -> None:
    found = lookup(command)
    if found is not None:
        allowed: tuple[str, ...] = found.http
        changes = _SQL_VERB.search(command) if method == "GET" else None
        if changes is not None and changes[1].lower() not in ("select", "with"):
            allowed = ("POST",)  # a link or an image in a web page must not be able to change tables
    elif _ASSIGNMENT.match(command) or re.match(r"(if|data)\b", command, re.IGNORECASE):
        allowed = ("POST",)
    else:
        return
    if command.lower() == "data" and found is None and method == "POST":
        raise AnyLogError(167, "first say 'run msg client where broker = rest and user-agent = ... and topic = (...)'")
    if method not in allowed:
        raise AnyLogError(156, f"'{found.words if found else command.split(None, 1)[0]}' needs {' or '.join(allowed)}")


def read_query(query: bytes) -> dict[str, str]:
    """The query string as headers: split at `?` and `&`, then at the first `=`, then decode (rest.md 5)."""
    fields = {}
    for part in re.split(rb"[?&]", query):
        if not part:
            continue
        raw_name, equals, raw_value = part.partition(b"=")
        name = decode(unquote_to_bytes(raw_name)).strip().lower()
        value = decode(unquote_to_bytes(raw_value)).strip()
        if not equals or not name or not value:
            raise AnyLogError(193, f"'{decode(unquote_to_bytes(part))}' in the URL is not name=value")
        fields[name] = value
    return fields


def read_json_body(body: bytes) -> dict[str, str]:
    """A command in a JSON object (rest.md 2.3). Raises AnyLogError 6 or 110."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise AnyLogError(6, f"the message body is no JSON: {wrong}") from None
    if not isinstance(told, dict):
        raise AnyLogError(6, "the message body must be a JSON object with a command")
    fields = {
        str(name).lower(): value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in told.items()
        if value is not None
    }
    if not fields.get("command"):
        fields["command"] = _statement(told)
    return {
        name: value
        for name, value in fields.items()
        if name in ("command", "destination", "subset", "timeout", "anylog-agent", "user-agent", "assignment")
    }


def _statement(told: Mapping[str, Any]) -> str:
    """The `sql` command of the two shapes that hold no command."""
    dbms = told.get("dbms")
    if not isinstance(dbms, str) or not re.fullmatch(r"[\w.\-]+", dbms):
        raise AnyLogError(110, "Missing 'command' attribute in header; the body has neither 'command' nor 'dbms'")
    statement = told.get("sql")
    if isinstance(statement, str) and statement.strip():
        return f"sql {dbms} {_quoted(statement.strip())}"
    table, column, unit = told.get("table"), told.get("timeColumn"), told.get("timeUnit")
    if not table or not column or not unit:
        raise AnyLogError(110, "the body needs 'command', or 'dbms' and 'sql', or 'dbms', 'table', 'timeColumn', ...")
    projections = told.get("projections") or []
    if not isinstance(projections, list):
        raise AnyLogError(6, "'projections' must be a list")
    columns = [f"increments({unit}, {told.get('intervalLength', 1)}, {column})", *map(str, projections)]
    conditions = [
        f"{column} {sign} {_time(told[name])}"
        for name, sign in (("startTime", ">="), ("endTime", "<="))
        if told.get(name)
    ]
    if told.get("whereCond"):
        conditions.append(f"({told['whereCond']})")
    where = f" where {' and '.join(conditions)}" if conditions else ""
    text = f"select {', '.join(columns)} from {table}{where}"
    return f"sql {dbms} format = json and stat = false {_quoted(text)}"


def _quoted(statement: str) -> str:
    """A bare statement in double quotes; options before it are left as they are, and so is what is quoted."""
    if re.match(r"(select|insert|create|drop|delete|update|alter)\b", statement, re.IGNORECASE) and (
        '"' not in statement
    ):
        return f'"{statement}"'
    return statement


def _time(value: object) -> str:
    """SQL text for a moment: a date becomes a literal, all else (`NOW() - 1 day`) stays."""
    text = str(value).strip()
    return f"'{text}'" if re.match(r"\d{4}-\d\d", text) else text


def body_lines(text: str) -> tuple[str, ...]:
    """The commands of a message body, one a line; `< ... >` may span lines (rest.md 2.2)."""
    lines: list[str] = []
    block: list[str] | None = None
    for line in text.translate(_CURLY).splitlines():
        line = line.strip()
        if block is None and line.startswith("<") and not line.endswith(">"):
            block = [line[1:].strip()]
        elif block is None:
            if line.startswith("<"):
                line = line[1:-1].strip()
            if line:
                lines.append(line)
        else:
            block.append(line[:-1].strip() if line.endswith(">") else line)
            if line.endswith(">"):
                lines.append(" ".join(part for part in block if part))
                block = None
    if block is not None:
        raise AnyLogError(110, "a '<' in the message body is not closed by '>'")
    return tuple(lines)


def read_timeout(text: str) -> float:
    """Seconds of a `timeout` header; AnyLogError 182 if it is none."""
    try:
        return float(Seconds().read(text))
    except ValueError as wanted:
        raise AnyLogError(182, f"timeout: '{text}' is not {wanted}") from None


def decode(raw: bytes) -> str:
    """UTF-8, or Latin-1 where it is not."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def decode_value(raw: bytes) -> str:
    """The value of a header: UTF-8, Latin-1, or RFC 2047 words."""
    text = decode(raw).strip()
    if "=?" in text and "?=" in text:
        try:
            # Some charsets make lone surrogates, which no JSON can hold.
            return str(make_header(decode_header(text))).encode("utf-8", "replace").decode("utf-8")
        except (HeaderParseError, LookupError, ValueError):
            return text
    return text


def passed_on(headers: Mapping[str, str]) -> bool:
    """A proxy passed it on: who asks is not of this machine, wherever the proxy is (security.md 11)."""
    return any(name in headers for name in ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded"))


def from_page(headers: Mapping[str, str], port: int) -> bool:
    """A page of somewhere else sent this through somebody's browser (security.md 9)."""
    if headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    own = (f"://localhost:{port}", f"://127.0.0.1:{port}", f"://[::1]:{port}")
    return not origin.lower().endswith(own)


def loopback(host: str) -> bool:
    """An address of this very machine."""
    return host.startswith("127.") or host in ("::1", "localhost") or host.startswith("::ffff:127.")

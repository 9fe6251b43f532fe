"""Reading of the `sql` command line, and what no statement may do (query.md 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from anylog.databases.tables import RESERVED
from anylog.errors import AnyLogError
from anylog.query.tokens import Token, failure, flat, tokenise

DEEPEST = 100  # parentheses in parentheses; the stack of the engine's parser ends there, too
VERBS = ("select", "insert", "update", "delete", "create", "drop", "alter", "with")
_START = re.compile(rf'"?\s*(?:{"|".join(VERBS)})\b', re.IGNORECASE)
_OPTION = re.compile(
    r"""\s*(?P<name>[A-Za-z_]+)\s*=\s*
    (?P<value>"[^"]*"|'[^']*'|\((?:[^()]|\([^()]*\))*\)
    |[0-9.]+\s+(?:second|minute|hour|day|week)s?\b|[^\s"]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_POST = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|(?P<post>\s-->(?=\s|$))""")
_BEFORE_NAMES = ("table", "exists", "view", "index", "in", "to", ".")
_ENDS_OF_NAMES = (
    *("where", "group", "order", "limit", "having", "window", "union", "intersect", "except"),
    *("set", "values", "on", "using", "select"),
)


@frozen
class Line:
    """A command line taken apart."""

    dbms: str
    options: list[tuple[str, str]]
    statement: str  # as written, without the quotes around it


def read_line(line: str) -> Line:
    """`DBMS [option = value and ...] statement [--> words]`. Raises AnyLogError 83 or 2.

    What follows the options in double quotes is taken as the statement whatever its first word is, so that a
    misspelt one is told as a failure of SQL.
    """
    for found in _POST.finditer(line):
        if found["post"]:
            line = line[: found.start()]
            break
    dbms, _, rest = line.strip().partition(" ")
    dbms = dbms.strip()
    if not dbms or _START.match(dbms) or '"' in dbms or "=" in dbms:
        raise AnyLogError(83, "sql: name the database before the statement: sql [dbms] [options] [statement]")
    options: list[tuple[str, str]] = []
    place = 0
    while True:
        rest = rest[place:].lstrip()
        if not rest:
            raise AnyLogError(2, "sql: the statement is missing")
        if _START.match(rest) or rest.startswith('"'):
            return Line(dbms.lower(), options, _unquoted(rest))
        joined = re.match(r"and\s", rest, re.IGNORECASE) if options else None
        found_option = _OPTION.match(rest, joined.end() if joined else 0)
        if found_option is None or (options and not joined):
            raise AnyLogError(2, f"sql: neither an option nor a statement: '{rest[:60]}'")
        value = found_option["value"]
        options.append((found_option["name"].lower(), value[1:-1] if value[0] in "\"'" else value.strip()))
        place = found_option.end()


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text.strip()
    end = text.rfind('"')
    if end == 0 or text[end + 1 :].strip(" ;\t\r\n"):
        raise AnyLogError(2, f"sql: the quote before the statement is not closed at its end: '{text[:60]}'")
    return text[1:end].strip()


def read_statement(statement: str) -> tuple[str, list[Token]]:
    """Verb and tokens of one statement. Raises AnyLogError 16 (not SQL) or 18 (not allowed).

    The verb of `with` is the one that follows: select, insert, update or delete.
    """
    tokens = tokenise(statement)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise AnyLogError(2, "sql: the statement is missing")
    verb = tokens[0].text
    if verb not in VERBS:
        if verb in _KNOWN_ELSEWHERE:
            raise AnyLogError(18, f"'{verb}' is not for the sql command")
        raise failure(statement, f'near "{tokens[0].text}": syntax error')
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if depth < 0:
            break
        if depth > DEEPEST:
            raise AnyLogError(16, f"parentheses are nested more than {DEEPEST} deep")
    if depth:
        raise failure(statement, f'near "{")" if depth < 0 else "("}": the parentheses do not match')
    _refuse(tokens)
    if verb == "with":
        verb = next((token.text for _, token in flat(tokens) if token.says(*VERBS[:4])), "")
        if not verb:
            raise failure(statement, "incomplete input")
    return verb, tokens


_KNOWN_ELSEWHERE = (
    *("attach", "detach", "pragma", "vacuum", "reindex", "analyze", "explain", "begin", "commit", "end", "rollback"),
    *("savepoint", "release", "replace", "values", "truncate", "grant", "revoke", "copy", "set", "show", "call"),
)


def _refuse(tokens: Sequence[Token]) -> None:
    """Hidden tables, more than one statement, and what reaches outside the database.

    An engine takes a text in quotes for the name of a table where one is due, so none may stand there.
    """
    naming: list[bool] = [False]  # at each depth: whether tables are being named
    creating = tokens[0].says("create")
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else Token("sign", "")
        following = tokens[place + 1].text if place + 1 < len(tokens) else ""
        if token.text == ";":
            raise AnyLogError(18, "one statement at a time")
        if token.text == "(":
            naming.append(naming[-1] and not (before.names() and not before.says("from", "join")))
        elif token.text == ")":
            naming.pop()
        elif token.says("from", "join", "into") or (token.says("update") and not place):
            naming[-1] = True
        elif token.says(*_ENDS_OF_NAMES):
            naming[-1] = False
        elif token.kind == "text":
            if naming[-1] or before.says(*_BEFORE_NAMES) or (creating and before.says("on")):
                raise AnyLogError(18, f"{token.text} is a text, not the name of a table")
        elif token.names():
            name = token.value.lower()
            if name.startswith(RESERVED) and not (token.kind == "name" and name == "sqlite_version"):
                raise AnyLogError(18, f"'{name}' belongs to the node")
            if name in ("load_extension", "fts3_tokenizer") and following == "(":
                raise AnyLogError(18, f"'{name}' is not for the sql command")
            if name in ("temp", "temporary") and before.says("create"):
                # It would stand before the table of its name, and take its readings.
                raise AnyLogError(18, "temporary tables are not for the sql command")
            if name == "virtual" and before.says("create"):
                raise AnyLogError(18, "virtual tables are not for the sql command")

"""`from !x bring ...`: parts of JSON that is kept in a key, as those of policies are told (language.md 10.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.dictionary import Scope, read_json, resolve_json, shown
from anylog.language.statements import scope_of
from anylog.language.tokens import Kind, tokens_of
from anylog.language.where import replaced
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy
from anylog.ledger.reading_commands import Question

if TYPE_CHECKING:
    from anylog.node import Node

_PLACE = re.compile(r"(.+)\((-?[0-9]{1,9})\)")


@frozen(eq=False, slots=False)
class _Row(Policy):
    """JSON that may be no policy: what has no type has none here."""

    @property
    def value(self) -> dict[str, Any]:
        """As JSON values."""
        return {self.type: dict(self.body)} if self.type else dict(self.body)


class From(Command):
    """Tell parts of JSON that is kept in a key: a policy, another dictionary, or a list of them.

    `!x[n]` or `!x(n)` is one of a list, `!x[n:m]` some of them. The flags of bring are those of `blockchain get`.
    """

    words = "from"
    usage = "from [!key or json] bring.flags [items] [separator = text]"
    raw = literal = True
    examples = (
        "from !policy bring [operator][ip] : [operator][port]",
        "first = from !nodes[0] bring [*][name]",
        "from !nodes bring.unique [*][country] separator = ,",
    )
    index = ("json", "blockchain", "script")
    http = ("GET", "POST")

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 9 for a key that is not assigned, 60 for what is no JSON, 2 for a wrong `bring`."""
        text, scope = operands[0] if operands else "", scope_of(node, context)
        tokens = tokens_of(text)
        if len(tokens) < 2 or not tokens[1].text.lower().startswith("bring"):
            raise AnyLogError(2, f"from: a key and 'bring' are missing; usage: {self.usage}")
        rows = _rows(tokens[0].text, tokens[0].kind, scope)
        question = Question.read(replaced(text[tokens[1].start :], scope), typed=False)
        if question.bring is None:
            raise AnyLogError(60, f"from: '{text[tokens[1].start :][:80]}' brings nothing")
        return question.bring.tell(rows, Policies(()), node.clusters.address_of)


def _rows(word: str, kind: Kind, scope: Scope) -> list[Policy]:
    """What stands there, each as something that has attributes."""
    found = _PLACE.fullmatch(word) if kind is Kind.WORD else None
    value: Any = word
    if kind is Kind.WORD:
        value = scope.resolve(f"{found[1]}[{found[2]}]" if found else word)
        if value is None or (word[:1] not in ("!", "$")):
            raise AnyLogError(9, f"from: '{word}' is not assigned")
    if isinstance(value, str):
        try:
            value = read_json(resolve_json(value, scope))
        except AnyLogError as why:
            raise AnyLogError(60, f"from: '{word[:80]}' is no JSON: {why}") from None
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        if not isinstance(row, Mapping):
            raise AnyLogError(60, f"from: '{word[:80]}' holds '{shown(row)[:60]}', which has no attributes")
    return [_row(row) for row in rows]


def _row(value: Mapping[str, Any]) -> Policy:
    if len(value) == 1:
        ((kind, body),) = value.items()
        if isinstance(body, Mapping):
            return _Row(kind, body)
    return _Row("", value)


COMMANDS: tuple[type[Command], ...] = (From,)

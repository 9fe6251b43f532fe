"""How commands read policies, types, conditions and `bring` out of their lines (metadata.md 4, 5)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from anylog.errors import AnyLogError
from anylog.language.context import Context, Result
from anylog.language.dictionary import resolve_json
from anylog.language.statements import scope_of
from anylog.language.tokens import Kind, Token, joined, tokens_of
from anylog.ledger.bring import Bring
from anylog.ledger.policies import Policies
from anylog.ledger.policy import Policy
from anylog.ledger.relations import Link
from anylog.ledger.where import Where

if TYPE_CHECKING:
    from anylog.node import Node

_GLUED = re.compile(r"\b(join|merge)\((?=\s*blockchain\s)", re.IGNORECASE)
_BRING = re.compile(r"bring(?:[.|].*)?", re.IGNORECASE)


def policies_of(given: object, node: Node, context: Context) -> list[Policy]:
    """The policies that an operand means: `!key`, JSON text of one or of a list, or values. AnyLogError 2, 6 or 87."""
    if isinstance(given, str):
        given = given.strip()
        scope = scope_of(node, context)
        if given[:1] in ("!", "$") and not re.search(r"\s", given):
            word, given = given, scope.resolve(given)
            if given is None:
                raise AnyLogError(2, f"Missing dictionary definition for '{word}'")
        if isinstance(given, str):
            text = resolve_json(given, scope)
            return [Policy.read(each) for each in _several(text)]
    if isinstance(given, Policy):
        return [given]
    if isinstance(given, list):
        return [each if isinstance(each, Policy) else Policy.read(each) for each in given]
    return [Policy.read(given)]


def _several(text: str) -> Sequence[object]:
    if not text.lstrip().startswith("["):
        return [text]
    values: Sequence[object] = json.loads(text)
    return values


def policy_of(given: object, node: Node, context: Context) -> Policy:
    """The same for what must be one policy."""
    found = policies_of(given, node, context)
    if len(found) != 1:
        raise AnyLogError(87, f"one policy is expected, not {len(found)}")
    return found[0]


def dictionary_key(text: str) -> str:
    """The name in `!name`, empty if it is something else."""
    found = re.fullmatch(r"!([A-Za-z0-9_.\-]+)", text.strip())
    return found[1] if found else ""


@frozen
class Question:
    """`types [where conditions] [bring...]`, read."""

    types: Sequence[str] | None  # None: all
    where: Where | None
    bring: Bring | None
    roots: bool = False  # `root policies`: those without a parent
    without: Sequence[str] = ()
    links: Sequence[Link] = ()

    @classmethod
    def read(cls, text: str, *, typed: bool = True) -> Question:
        """What follows `blockchain get`; references are replaced already. With typed=False there are no types.

        Raises AnyLogError 2 or 181 naming what cannot be read.
        """
        tokens = tokens_of(_GLUED.sub(r"\1 (", text))
        begin = next((at for at, token in enumerate(tokens) if _is_bring(token)), len(tokens))
        bring = _bring(tokens[begin:]) if begin < len(tokens) else None
        linked = next((at for at in range(begin) if _is_link(tokens, at)), begin)
        links = _links(tokens[linked:begin])
        asked = cls._asked(tokens[:linked], typed)
        return evolve(asked, bring=bring, links=links)

    @classmethod
    def _asked(cls, tokens: Sequence[Token], typed: bool) -> Question:
        """Types and conditions."""
        place = next((at for at, token in enumerate(tokens) if token.is_word("where")), len(tokens))
        where = Where.read(tokens[place + 1 :]) if place < len(tokens) else None
        head = tokens[:place]
        if not typed:
            if head:
                raise AnyLogError(2, f"unexpected '{joined(head)}'")
            return cls(None, where, None)
        if not head:
            raise AnyLogError(2, "a policy type is missing")
        if len(head) > 1 and head[0].is_word("root") and head[1].is_word("policies"):
            return cls._roots(head[2:], where)
        return cls(_types(head), where, None)

    @classmethod
    def _roots(cls, head: Sequence[Token], where: Where | None) -> Question:
        words = [name for token in head for name in re.split(r"[\s,]+", token.text.strip("()")) if name]
        if not words:
            return cls(None, where, None, roots=True)
        if words[0].lower() not in ("include", "exclude") or len(words) == 1:
            raise AnyLogError(2, f"root policies: '{' '.join(words)}' is not 'include' or 'exclude' and types")
        if words[0].lower() == "include":
            return cls(words[1:], where, None, roots=True)
        return cls(None, where, None, roots=True, without=words[1:])

    def find(self, node: Node, policies: Policies) -> list[Policy]:
        """The policies that are meant."""
        if self.where is not None:
            found = self.where.find(policies, self.types, node.clusters.hosts)
        else:
            found = list(policies) if self.types is None else policies.of_type(*self.types)
        if self.roots:
            found = [each for each in found if not each.get("parent") and each.type not in self.without]
        for link in self.links:

            def right(tokens: Sequence[Token]) -> Sequence[Policy]:
                return Question._asked(tokens, True).find(node, policies)

            found = [row for left in found for row in link.rows(left, right)]
        return found

    def answer(self, node: Node, policies: Policies) -> Result:
        """What is told of them."""
        found = self.find(node, policies)
        if self.bring is None:
            return Result(text=None if found else "", data=[each.value for each in found], format="json")
        return self.bring.tell(found, policies, node.clusters.address_of)


def _is_link(tokens: Sequence[Token], at: int) -> bool:
    return tokens[at].is_word("join", "merge") and at + 1 < len(tokens) and tokens[at + 1].kind is Kind.GROUP


def _links(tokens: Sequence[Token]) -> list[Link]:
    """`join (blockchain get ...) merge (blockchain get ...)`; AnyLogError 2 naming what is neither."""
    links: list[Link] = []
    for at in range(0, len(tokens), 2):
        if not _is_link(tokens, at):
            raise AnyLogError(2, f"unexpected '{joined(tokens[at:])[:80]}'; 'join (...)' or 'merge (...)' may follow")
        word, inner = tokens[at].text.lower(), tokens_of(tokens[at + 1].text[1:-1])
        if len(inner) < 3 or not inner[0].is_word("blockchain") or not inner[1].is_word("get"):
            raise AnyLogError(2, f"{word} {tokens[at + 1].text[:80]}: 'blockchain get ...' is missing in it")
        if any(_is_bring(token) for token in inner):
            raise AnyLogError(2, f"{word} {tokens[at + 1].text[:80]}: 'bring' stands after the parentheses")
        links.append(Link(word == "merge", inner[2:]))
    return links


def _is_bring(token: Token) -> bool:
    return token.kind is Kind.WORD and _BRING.fullmatch(token.text) is not None


def _bring(tokens: Sequence[Token]) -> Bring:
    """`bring.sort(1, 0) items`: the parenthesis may hold blanks."""
    word, rest = tokens[0].text, list(tokens[1:])
    while word.count("(") > word.count(")") and rest:
        word += rest.pop(0).text
    return Bring.read(word, rest)


def _types(head: Sequence[Token]) -> Sequence[str] | None:
    """`name`, `(name, name)`, `*`."""
    if len(head) > 1:
        raise AnyLogError(2, f"unexpected '{joined(head[1:])}' after '{head[0].text}'; 'where' or 'bring' may follow")
    text = head[0].text
    if head[0].kind is Kind.GROUP:
        names = [name for name in re.split(r"[\s,]+", text[1:-1].strip()) if name]
        if not names:
            raise AnyLogError(2, "policy types are missing in the parentheses")
    else:
        names = [text]
    return None if "*" in names else names

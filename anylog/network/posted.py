"""Messages by POST: who sends them, of which topic, and from where they are taken on (ingest.md 3)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from twisted.internet.defer import Deferred, fail

from anylog.errors import AnyLogError
from anylog.interfaces import IIntake, IPosts
from anylog.network.asking import COMMAND_AGENTS, read_query


@frozen
class Data:
    """What a POST says of the messages in its body."""

    product: str  # the part of the user agent before `/`, lower case
    topic: str
    key: str  # Idempotency-Key


@frozen(kw_only=True)
class Posted:
    """Tells data from commands, and hands it on."""

    intake: IIntake
    posts: IPosts

    def addressed(self, headers: Mapping[str, str], query: bytes) -> Data | None:
        """None if this is a command. `headers` have lower case names. Raises AnyLogError 193 for a wrong URL."""
        fields = dict(headers)
        if not fields.get("command") and query:
            fields.update(read_query(query))
        agent = fields.get("anylog-agent") or fields.get("user-agent", "")
        product = agent.partition("/")[0].strip().lower()
        command = fields.get("command", "").strip().lower()
        if command and command != "data":
            return None
        if not command and (product in COMMAND_AGENTS or product not in self.posts.products()):
            return None
        return Data(product, fields.get("topic", "").strip(), fields.get("idempotency-key", "").strip())

    def take(self, data: Data, body: bytes) -> Deferred[int]:
        """See `IPosts.posted`; refused as readings are."""
        refusal = self.intake.refusal()
        if refusal is not None:
            return fail(refusal)
        if not body.strip():
            return fail(AnyLogError(6, "Failed to process JSON data: Message Body is empty"))
        return self.posts.posted(data.product, data.topic, body, data.key)

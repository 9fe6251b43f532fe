"""`run msg client where broker = kafka`: the same as `run kafka consumer`, in other words (ingest.md 4, 11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, OneOf, Option, Seconds, Text, option_name
from anylog.language.context import Context

if TYPE_CHECKING:
    from anylog.node import Node

WORDS = "run kafka consumer"
OPTIONS: Mapping[str, Option] = {  # that mean something with a cluster of Kafka alone
    "ip": Text(help="of a broker of the cluster, with broker = kafka"),
    "reset": OneOf(words=("latest", "earliest"), help="where a topic is begun, with broker = kafka"),
    "group": Text(also=("group_id",), help="consumers of one group share what comes, with broker = kafka"),
    "session_timeout": Seconds(help="of silence, after which the group goes on alone, with broker = kafka"),
    "tls": Flag(also=("enable_tls",), help="with broker = kafka; other brokers: mqtts://, or port 8883"),
}


def given(command: type[Command], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `command` that are not as if nothing had been said, by their names."""
    found: dict[str, Any] = {}
    for name, option in command.where.items():
        value = options[option_name(name)]
        if value != (list(option.default or ()) if option.many else option.default):
            found[name] = value
    return found


def without_kafka(command: type[Command], options: Mapping[str, Any]) -> None:
    """Raises AnyLogError 40 for what only Kafka has."""
    for name in given(command, options):
        if name in OPTIONS:
            raise AnyLogError(40, f"{command.words}: '{name}' has a meaning with 'broker = kafka' alone")


async def consume(node: Node, context: Context, command: type[Command], options: Mapping[str, Any]) -> None:
    """Run the consumer. Raises AnyLogError 2, 40, 237 and what `run kafka consumer` raises."""
    found = node.words.match(WORDS.split())
    if found is None:
        raise AnyLogError(237, f"{command.words}: the plug-in of Kafka is not installed: see 'get southbound'")
    consumer = found[0]
    values = {
        option_name(name): list(option.default or ()) if option.many else option.default
        for name, option in consumer.where.items()
    }
    for name, value in given(command, options).items():
        if name == "broker":
            continue
        if name not in consumer.where:
            raise AnyLogError(40, f"{command.words}: '{name}' has no meaning with 'broker = kafka'")
        values[option_name(name)] = value
    if not values["ip"]:
        raise AnyLogError(2, f"{command.words}: broker = kafka needs 'ip', that of a broker of the cluster")
    if not values["port"]:
        raise AnyLogError(175, f"{command.words}: '0' is not the port of a broker of Kafka")
    await consumer().run(node, context, (), **values)

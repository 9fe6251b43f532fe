"""Words for messages that go out: mqtt publish, and the log of packets (ingest.md 7.5, 8.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Flag, Option, Seconds, Text, Whole
from anylog.language.context import Context, Result
from anylog.network.outside_access import Access, Debug, Tls, read_broker
from anylog.network.publish import publish_outside
from anylog.wire.mqtt_packets import MQTT_3_1_1, MQTT_5
from anylog.wire.topics import name_fault

if TYPE_CHECKING:
    from anylog.node import Node

UNUSED = "unused"  # what scripts of today write for a user that is none
LONGEST_TOPIC = 65535  # bytes
PUBLISHED = {"MQTT Publish": "OK"}

# How an outside broker is reached: the same words wherever one is named.
REACH: dict[str, Option] = {
    "port": Whole(least=1, most=65535, help="1883, or 8883 with TLS, if not given"),
    "user": Text(default=""),
    "password": Text(default="", also=("passwd",)),
    "client_id": Text(default="", help="made up if not given"),
    "version": Text(default="3.1.1", help="3.1.1 or 5"),
    "tls_ca": Text(default="", help="file with the authorities that are trusted; the system's if not given"),
    "tls_cert": Text(default="", help="file with our own certificate, if the broker asks for one"),
    "tls_key": Text(default="", help="file with its key"),
    "tls_insecure": Flag(default=False, help="take any certificate of the broker"),
}


def access_of(broker: str, options: dict[str, Any], *, client_id: str, **more: Any) -> Access:
    """How to reach `broker` with the values of the options `REACH`; `more` are other attributes of `Access`.

    TLS is used for `mqtts://` and `wss://`, for port 8883, and wherever one of its options is given. Raises AnyLogError
    40 and 175.
    """
    host, port, secure, websocket = read_broker(broker, options["port"])
    versions = {"3.1.1": MQTT_3_1_1, "4": MQTT_3_1_1, "5": MQTT_5, "5.0": MQTT_5}
    if options["version"] not in versions:
        raise AnyLogError(175, f"'{options['version']}' is not a version of MQTT: 3.1.1 or 5")
    if options["tls_key"] and not options["tls_cert"]:
        raise AnyLogError(40, "tls_key is the key of tls_cert, which is missing")
    tls = Tls(ca=options["tls_ca"], cert=options["tls_cert"], key=options["tls_key"], insecure=options["tls_insecure"])
    user, password = ("" if options[name] == UNUSED else options[name] for name in ("user", "password"))
    return Access(
        host=host,
        port=port,
        client_id=options["client_id"] or client_id,
        tls=tls if secure or tls != Tls() else None,
        websocket=websocket,
        version=versions[options["version"]],
        user=user,
        password=password,
        **more,
    )


async def publish_here(node: Node, topic: str, payload: bytes, qos: int, retain: bool) -> None:
    """`broker = local`: to the clients of this node's broker, without its port. Raises AnyLogError 3 if none runs."""
    broker: Any = node.processes.find("broker")
    if broker is None:
        raise AnyLogError(3, "mqtt publish: the message broker is not running: use 'run message broker'", http=400)
    await broker.publish(topic, payload, qos, retain)


class MqttPublish(Command):
    """Publish a message to a broker, and say so when the broker has it.

    The broker is an address (`10.0.0.5`, `mqtts://broker.example`, `ws://broker.example/mqtt`), or local for the broker
    of this node. At QoS 1 and 2 the broker has confirmed the message; at QoS 0 it was sent, and nobody knows more.
    """

    words = "mqtt publish"
    where = {
        "broker": Text(required=True, help="address, or local"),
        **REACH,
        "topic": Text(required=True),
        "message": Text(required=True, help="text; !key for the value of a key"),
        "qos": Whole(default=0, least=0, most=2),
        "retain": Flag(default=False, help="the broker keeps it for those who subscribe later"),
        "log": Flag(default=False, help="log the packets"),
        "timeout": Seconds(default=30.0, help="limit for all of it"),
    }
    examples = (
        'mqtt publish where broker = 10.0.0.5 and topic = plant/pump and message = "{""speed"": 7}"',
        "mqtt publish where broker = mqtts://broker.example and user = edge and password = !pass and topic = a/b"
        " and message = !reading and qos = 1",
        "mqtt publish where broker = local and topic = plant/pump and message = !reading",
    )
    index = ("mqtt", "message broker", "streaming")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 3, 26, 40, 81, 99, 175."""
        topic, message = options["topic"].strip(), options["message"].encode()
        fault = name_fault(topic) or ("it is too long" if len(topic.encode()) > LONGEST_TOPIC else "")
        if fault:
            raise AnyLogError(40, f"mqtt publish: '{topic}' is not a topic to publish to: {fault}")
        if options["broker"].lower() == "local":
            await publish_here(node, topic, message, options["qos"], options["retain"])
        else:
            access = access_of(options["broker"], options, client_id=f"anylog-{node.home_id[:8]}-{node.token(6).hex()}")
            await publish_outside(
                topic,
                message,
                clock=node.clock,
                net=node.net,
                read=node.lanes.open("disk", 2).run,
                token=node.token,
                access=access,
                qos=options["qos"],
                retain=options["retain"],
                seconds=options["timeout"],
                debug=Debug(on=True) if options["log"] else node.mqtt_debug,
            )
        return Result(text="MQTT Publish: OK", data=PUBLISHED, format="json" if context.origin == "rest" else "text")


class SetMqttDebug(Command):
    """Log what passes between this node and message brokers, or stop that.

    Each packet that is sent to or received from outside brokers; each message that comes to a message client, and what
    became of it.
    """

    words = "set mqtt debug"
    operands = "[on/off]"
    least = most = 1
    examples = ("set mqtt debug on", "set mqtt debug off")
    index = ("mqtt", "debug", "message broker")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 175."""
        found = {"on": True, "off": False}.get(operands[0].lower())
        if found is None:
            raise AnyLogError(175, f"set mqtt debug: '{operands[0]}' is neither on nor off")
        node.mqtt_debug.on = node.msg_clients.door.debug = found
        return None


COMMANDS: tuple[type[Command], ...] = (MqttPublish, SetMqttDebug)

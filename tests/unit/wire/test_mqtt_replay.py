"""A log in short: the same state as the long one, whatever happened, and as much as makes sense of one with holes."""

from __future__ import annotations

import pytest
from hub_talk import Table, snapshot
from test_hub_keep import Watched, replayed, state

from anylog.wire.mqtt_packets import Publish, Will
from anylog.wire.mqtt_records import Came, Finished, Moved, Numbers, Opened, Record, Released, pack_message
from anylog.wire.mqtt_replay import Replay
from anylog.wire.mqtt_session import Message

NOW = 1_000_000.0


def short(records: list[Record], now: float = NOW) -> list[Record]:
    """The log in short; messages are read back by their place in the list."""
    replay: Replay[int] = Replay()
    for place, record in enumerate(records):
        assert replay.apply(record, place) == "", record
    return list(replay.records(lambda place: message(records, place), now))


def message(records: list[Record], place: int) -> bytes:
    record = records[place]
    assert isinstance(record, Came)
    return record.message


@pytest.mark.parametrize("seed", range(6))
def test_the_same_state(seed: int) -> None:
    """At any moment of a storm; also of a log that begins with a short one, and of who was sent what."""
    storm = Watched(seed)
    for device in storm.devices:
        storm.connect(device)
    for _ in range(900):
        storm.step()
    records = storm.all_records()
    assert len(records) > 100
    for number in range(0, len(records) + 1, 7):
        long, brief = replayed(records[:number], storm.now), replayed(short(records[:number]), storm.now)
        assert state(brief) == state(long), number
        sent = [[out.sent for out in session.out.values()] for session in long.sessions.values()]
        assert [[out.sent for out in session.out.values()] for session in brief.sessions.values()] == sent
        gone = [(session.gone, session.will_due, session.will) for session in long.sessions.values()]
        assert [(each.gone, each.will_due, each.will) for each in brief.sessions.values()] == gone
        assert brief.serial == long.serial
        if not number % 5:
            twice = [*short(records[:number]), *records[number:]]
            assert state(replayed(short(twice), storm.now)) == state(replayed(records, storm.now))


def test_wills_and_what_is_retained() -> None:
    """A will that waits, one that is settled, what is retained, and what is not retained any more."""
    table = Table()
    table.client("a", 5, session_expiry_interval=900, will=Will("w", b"bye", 1, will_delay_interval=600)).cut()
    table.client("b", 5, session_expiry_interval=900, will=Will("w", b"bye", 1)).cut()
    client = table.client("c", 5)
    client.publish("r/1", b"old", 1, 1, retain=True).publish("r/1", b"new", 1, 1, retain=True)
    client.publish("r/2", b"gone", 1, 1, retain=True).publish("r/2", b"", 1, 1, retain=True)
    client.publish("r/3", b"short", 1, 1, retain=True, message_expiry_interval=60)
    records = list(snapshot(table.hub))
    long = replayed([*records], table.now)
    assert state(replayed(short(records), table.now)) == state(long)
    assert long.sessions["a"].will_due == table.now + 600 and long.sessions["b"].will is None
    topics = [each.packet.topic for each in long.shelf.everything()]
    assert sorted(topics) == ["r/1", "r/3"]
    later = replayed(short(records, table.now + 60), table.now)
    assert [each.packet.topic for each in later.shelf.everything()] == ["r/1"], "it was too old"


def test_a_message_for_many_is_written_once() -> None:
    """However many have it in their queues."""
    table = Table()
    for name in ("a", "b", "c"):
        table.lasting(name).subscribe("t", qos=2)
    table.client("p").publish("t", b"m", 2, 1)
    records = short(list(snapshot(table.hub)))
    (came,) = [each for each in records if isinstance(each, Came)]
    assert [each[0] for each in came.to] == ["a", "b", "c"]


def test_a_log_with_holes() -> None:
    """What follows nothing is named, and the rest of it done: a receiver that is known has its message."""
    replay: Replay[int] = Replay()
    data = pack_message(Message(Publish("t", b"m", 1)))
    lost, known = ("lost", 1, 1, False, (), 7, ""), ("known", 1, 1, False, (), 8, "")
    assert replay.apply(Numbers(3, 4), 0) == ""
    assert replay.apply(Opened("known", 5, 100), 1) == ""
    assert "lost" in replay.apply(Came(data, (lost, known), True), 2)
    assert "known" in replay.apply(Finished("known", 9), 3)
    assert "lost" in replay.apply(Released("lost", 9), 4)
    assert "lost" in replay.apply(Moved("known", 1, lost), 5)
    assert "known" in replay.apply(Moved("known", 1, lost), 6)
    assert "lost" in replay.apply(Came(data, (), client_id="lost", packet_id=1, exchange=1), 7)
    assert replay.apply(Came(data, (known,)), 8) == ""
    with pytest.raises(ValueError):
        replay.apply(Came(b"\x91", (), True), 9)
    assert (replay.serial, replay.incarnation) == (8, 5)
    delivery = replayed(list(replay.records(lambda place: data, NOW)), NOW)
    assert state(delivery)["retained"] == [("t", b"m", None)]
    assert list(delivery.sessions["known"].out) == [1]

"""Who may connect to the message broker, publish and subscribe."""

from __future__ import annotations

import pytest
from broker_desk import Client, Desk, payloads

from anylog.network.broker_users import User, Users, covers, overlap
from anylog.wire.mqtt_packets import Connack, Connect, Filter, Puback, Publish, Reason, Suback, Subscribe
from anylog.wire.topics import matches

LEVELS = ("a", "b", "+", "#", "$x")


def filters() -> list[str]:
    """All of up to three levels."""
    found = [(level,) for level in LEVELS]
    found += [(*one, level) for one in found for level in LEVELS[:4] if one[-1] != "#"]
    found += [(*one, level) for one in found if len(one) == 2 for level in LEVELS[:4] if one[-1] != "#"]
    return sorted({"/".join(each) for each in found})


TOPICS = [each for each in filters() if not set(each) & set("+#")] + ["a/b/a/b", "a/c", "c", "c/c", "c/c/c", "$x/c/c"]


def test_patterns_against_all_topics() -> None:
    """`covers` and `overlap` say what matching every topic says; both are tried on every pair of filters."""
    matched = {each: {topic for topic in TOPICS if matches(each, topic)} for each in filters()}
    for pattern, mine in matched.items():
        for filter, yours in matched.items():
            assert overlap(pattern, filter) == bool(mine & yours), (pattern, filter)
            assert covers(pattern, filter) == (yours <= mine), (pattern, filter)


def user(name: str, password: str = "secret", **rules: tuple[str, ...]) -> User:
    """One with a password."""
    return User(name=name, proof=Users.proof(password.encode()), **rules)


def connect(
    desk: Desk, name: str | None, password: str | None = "secret", client_id: str = ""
) -> tuple[Client, Reason]:
    """Try to; the answer to a wrong password takes a second."""
    client = desk.open()
    client.send(Connect(client_id or f"c-{name}", user_name=name, password=password.encode() if password else None))
    desk.clock.advance(1.1)
    desk.turn()
    (answer,) = client.got()
    assert isinstance(answer, Connack)
    return client, answer.reason


@pytest.mark.parametrize(
    ("users", "admitted"),
    [
        (Users(), "nobody unknown wrong right"),
        (Users(known={"u": user("u")}, anonymous=False), "right"),
        (Users(known={"u": user("u")}), "nobody right"),
        (Users(anonymous=False), ""),
        (Users(known={"": User(deny=("x/#",))}), "nobody unknown wrong right"),
    ],
    ids=["open", "users", "users and others", "closed", "rules for all"],
)
def test_admitted(users: Users, admitted: str) -> None:
    """Who may connect; once somebody has a password a name needs one."""
    tried = {"nobody": (None, None), "unknown": ("v", "secret"), "wrong": ("u", "wrong"), "right": ("u", "secret")}
    desk = Desk(users=users)
    reasons = {name: connect(desk, *each)[1] for name, each in tried.items()}
    assert [name for name, reason in reasons.items() if not reason] == admitted.split()
    for name, reason in reasons.items():
        wrong = Reason.NOT_AUTHORIZED if name == "nobody" else Reason.BAD_USER_NAME_OR_PASSWORD
        assert reason in (Reason.SUCCESS, wrong)


def test_to_guess_takes_time() -> None:
    """A wrong password is answered after a second, the connection is closed, and it is counted."""
    desk = Desk(users=Users(known={"u": user("u")}, anonymous=False))
    client = desk.open()
    client.send(Connect("c", user_name="u", password=b"wrong"))
    desk.clock.advance(0.9)
    desk.turn()
    assert not client.got()
    desk.clock.advance(0.2)
    desk.turn()
    assert client.got() and client.wire.half_closed
    assert desk.broker.counts.last("logins refused") == "u from 10.0.0.7:40000"


RULES = user("pump", publish=("plant/%u/#", "all"), subscribe=("plant/+/state", "own/%c/#"), deny=("plant/pump/key",))


@pytest.mark.parametrize(
    ("action", "topic", "allowed"),
    [
        ("publish", "plant/pump/1", True),
        ("publish", "plant/pump", True),
        ("publish", "plant/other/1", False),
        ("publish", "all", True),
        ("publish", "plant/pump/key", False),
        ("publish", "else", False),
        ("subscribe", "plant/+/state", True),
        ("subscribe", "plant/x/state", True),
        ("subscribe", "plant/#", False),
        ("subscribe", "own/c-pump/a/#", True),
        ("subscribe", "own/c-other/a", False),
        ("subscribe", "$share/g/plant/+/state", True),
        ("subscribe", "$share/g/plant/#", False),
    ],
)
def test_rules(action: str, topic: str, allowed: bool) -> None:
    """Patterns with the names of user and client; what is denied is denied whatever is allowed."""
    desk = Desk(users=Users(known={"pump": RULES}, anonymous=False))
    client, reason = connect(desk, "pump")
    assert not reason
    if action == "publish":
        client.send(Publish(topic, b"", 1, packet_id=1))
        (answer,) = client.got()
        assert isinstance(answer, Puback)
        said = answer.reason
        assert (said is Reason.NOT_AUTHORIZED) == (not allowed)
    else:
        client.send(Subscribe(1, (Filter(topic, 1),)))
        (suback,) = client.got()
        assert isinstance(suback, Suback)
        assert suback.reasons == ((Reason.GRANTED_QOS_1 if allowed else Reason.NOT_AUTHORIZED),)


def test_names_that_would_be_patterns() -> None:
    """A client id with a wildcard or a slash fits no pattern with its name in it, and every denied one."""
    rules = User(publish=("own/%c/#",), deny=())
    assert rules.may("one", "publish", "own/one/x")
    for client_id in ("+", "#", "a/b", ""):
        assert not rules.may(client_id, "publish", f"own/{client_id}/x")
        assert not User(deny=("own/%c/#",)).may(client_id, "publish", "else")


def test_denied_topics_are_not_subscribed_to_by_a_wider_filter() -> None:
    """A filter that could bring one of them is refused."""
    denies = User(deny=("secret/#",))
    for filter, allowed in [("a/#", True), ("#", False), ("+/x", False), ("+", False), ("secret", False)]:
        assert denies.may("c", "subscribe", filter) == allowed, filter


@pytest.mark.parametrize("filter", ["$share/x", "$share//x", "$share/+/x", "$share/"])
def test_what_only_looks_like_a_shared_subscription(filter: str) -> None:
    """Of a client of 3.1.1 it is refused like any other that is not allowed; what follows it is answered."""
    desk = Desk(users=Users(known={"u": user("u", subscribe=("#",))}))
    client = desk.open(version=4)
    client.send(Connect("c", user_name="u", password=b"secret"))
    client.send(Subscribe(1, (Filter(filter),)), Subscribe(2, (Filter("a"),)))
    _, refused, granted = client.got()
    assert isinstance(refused, Suback) and refused.reasons == (Reason.UNSPECIFIED_ERROR,)
    assert isinstance(granted, Suback) and granted.reasons == (Reason.GRANTED_QOS_0,)


def test_guards() -> None:
    """Of topics that one of the node's own clients guards only its user may publish; until it leaves."""
    desk = Desk()
    before = desk.client("before")
    desk.broker.guard("own", "safe/#", "u", "secret")
    right, reason = connect(desk, "u")
    wrong, other = connect(desk, "u", "wrong", "other")
    assert not reason and not other
    watcher = desk.client("w", ("#", 0))
    for client, text in ((right, b"right"), (wrong, b"wrong"), (before, b"before")):
        client.send(Publish("safe/1", text), Publish("open", text))
    assert payloads(watcher.got()) == [b"right", b"right", b"wrong", b"before"]
    desk.broker.unsubscribe_local("own")
    wrong.send(Publish("safe/1", b"again"))
    assert payloads(watcher.got()) == [b"again"]

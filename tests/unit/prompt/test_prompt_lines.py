"""What is typed becomes commands, and commands find the node they are meant for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from anylog.prompt.lines import (
    Ask,
    Assign,
    Leave,
    Reader,
    SetKey,
    ShowHistory,
    action_of,
    assigned_to,
    commands_of,
    prompt,
    unfinished,
)


class ReaderTests(SynchronousTestCase):
    """Lines in, commands out."""

    def test_commands_of(self) -> None:
        """Blocks are joined by blanks, comments and empty lines dropped, `a & b` is two."""
        for text, expected in [
            ("get status", ["get status"]),
            ("  get status  # why not\n\n# nothing\n", ["get status"]),
            ("a & b", ["a", "b"]),
            ('print "a & b"', ['print "a & b"']),
            ("<x = {\n\n  1,\n 2}>", ["x = { 1, 2}"]),
            ("<print a>", ["print a"]),
            ("<print\r\nhello\r\nworld >\r\nget status", ["print hello world", "get status"]),
            ("<print\nnever closed", []),
            ("get a\nget b", ["get a", "get b"]),
            ('set policy p = {"a": ', ['set policy p = {"a":']),
            ("< >", []),
            ("", []),
        ]:
            self.assertEqual(commands_of(text), expected, text)

    def test_unfinished(self) -> None:
        """A block waits for a line that ends with `>`; a `>` in the middle of a line does not end it."""
        for text, expected in [
            ("<print", True),
            ("<print a > b", True),
            ("<print\n a>", False),
            ("if a < 5 then b", False),
            ("get status\n<print", True),
            ("", False),
        ]:
            self.assertEqual(unfinished(text), expected, text)

    def test_forget(self) -> None:
        """A block that was dropped leaves nothing behind."""
        reader = Reader()
        reader.feed("<print")
        reader.forget()
        self.assertEqual((reader.open, reader.feed("get status")), (False, ["get status"]))


class ActionTests(SynchronousTestCase):
    """What a command means in a session (cli-console.md 7, network.md 5.5)."""

    def test_assigned_to(self) -> None:
        """`run client` with nothing after the destination assigns; with a command it is a question."""
        for line, expected in [
            ("run client 10.0.0.78:7848", "10.0.0.78:7848"),
            ("run client 10.0.0.78 7848", "10.0.0.78:7848"),
            ("run client !ip !port", "!ip:!port"),
            ("RUN  Client (a:1, b:2)", "(a:1, b:2)"),
            ("run client (operator where name = ')' and x = y)", "(operator where name = ')' and x = y)"),
            ("run client ((operator, query) where a = b)", "((operator, query) where a = b)"),
            ("run client .", ""),
            ("run client (a:1) get status", None),
            ("run client !ip get", None),
            ("run client a:1 get status", None),
            ("run client (a:1", None),
            ("run clients", None),
            ("get status", None),
        ]:
            self.assertEqual(assigned_to(line), expected, line)

    def test_session_words(self) -> None:
        """These never reach the node."""
        for line, expected in [
            ("exit", Leave()),
            ("Exit  CLI", Leave()),
            ("quit", Leave()),
            ("history", ShowHistory()),
            ("run client (a:1)", Assign("(a:1)")),
            ("set function key F5 get processes", SetKey("f5", "get processes")),
        ]:
            self.assertEqual(action_of(line, "a:1"), expected, line)

    def test_unassigned(self) -> None:
        """The node gets what was typed; its end is asked about."""
        for line, expected in [
            ("get status", Ask("get status")),
            (". get status", Ask("get status")),
            ("x = get status", Ask("x = get status")),
            ("exit node", Ask("exit node", confirm="the node")),
            ("exit node force", Ask("exit node")),
            ("exit tcp", Ask("exit tcp")),
        ]:
            self.assertEqual(action_of(line), expected, line)

    def test_redirected(self) -> None:
        """While a destination is assigned commands go there, with their left side here; some words never do."""

        def known(text: str) -> bool:
            return text.startswith(("get ", "exit "))

        for line, expected in [
            ("get status", Ask("run client (a:1) get status")),
            ("x{} = get status", Ask("x{} = run client (a:1) get status")),
            ("x[] = get status", Ask("x[] = run client (a:1) get status")),
            ("exit node", Ask("run client (a:1) exit node", confirm="(a:1)")),
            (".get status", Ask("get status")),
            (". exit node", Ask("exit node", confirm="the node")),
            ("run client (b:2) get status", Ask("run client (b:2) get status")),
            ("help get", Ask("help get")),
            ("wait 5 for !x", Ask("wait 5 for !x")),
            ("ok = wait 5 for !x", Ask("ok = wait 5 for !x")),
            ("blockchain insert where policy = !p and local = true", None),
            ("!x", Ask("!x")),
            ("x = 5", Ask("x = 5")),
            ('x = "two words"', Ask('x = "two words"')),
            ("x = !a + !b", Ask("x = !a + !b")),
        ]:
            self.assertEqual(action_of(line, "(a:1)", known), expected or Ask(line), line)

    def test_prompt(self) -> None:
        """One row for each state of the prompt."""
        for name, destination, expected in [
            ("", "", "AL > "),
            ("Operator_3", "", "AL Operator_3 > "),
            ("", "10.0.0.78:7848", "AL > 10.0.0.78:7848 >> "),
            ("op2", "(blockchain get operator bring.ip_port)", "AL op2 > blockchain get operator bring.ip_port >> "),
            ("q", "()", "AL q > () >> "),
        ]:
            self.assertEqual(prompt(name, destination), expected)

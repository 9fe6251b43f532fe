"""Rows of examples for scripts, assignments and conditions (language.md 5, 7 to 9)."""

from __future__ import annotations

from typing import Any

from language_node import LanguageCase

from anylog.errors import AnyLogError

SCRIPTS: list[tuple[str, list[str]]] = [
    ("print a\ngoto b\nprint x\n:b:\nprint b", ["a", "b"]),
    ("n = 0\n:again:\nn = incr !n\nprint !n\nif !n.int < 3 then goto again\nprint end", ["1", "2", "3", "end"]),
    ("call b\nprint back\nend script\n:b:\nprint b\nreturn\nprint x", ["b", "back"]),
    ("call b\nprint back\nend script\n:b:\ncall c\nprint b\nreturn\n:c:\nprint c\nreturn", ["c", "b", "back"]),
    ("print a\nreturn\nprint x", ["a"]),
    ("print a\nend script\nprint x", ["a"]),
    ("print a\nend_script\nprint x", ["a"]),
    ("print a\nEND SCRIPT\nprint x", ["a"]),
    ("goto b\n:b: # note\nprint b", ["b"]),
    ("goto make-it\n:make-it\nprint b", ["b"]),
    ("goto b\nprint x\n:b;\nprint b", ["b"]),
    ("on error ignore\nbad line\nprint b", ["b"]),
    ("on error goto e\nbad line\nprint x\n:e:\nprint e", ["e"]),
    ("on error call e\nbad line\nprint back\nend script\n:e:\nprint e\nreturn", ["e", "back"]),
    ("on error call e\nbad 1\nbad 2\nend script\n:e:\nprint e\nreturn", ["e", "e"]),
    ("on error end script\nprint a\nbad line\nprint x", ["a"]),
    ("on error goto e\nbad 1\nprint x\n:e:\nprint e\ngoto m\n:m:\non error ignore\nbad 2\nprint m", ["e", "m"]),
    (
        "n = 0\non error goto e\nbad 1\n:e:\nn = incr !n\nif !n == 3 then end script\nprint e\ngoto m\n:m:\nbad 2",
        ["e", "e"],
    ),
    ("on error ignore\non error goto e\nbad\nprint x\n:e:\nprint e", ["e"]),
    ("on error goto e\nget status where format = !nope\n:e:\nprint e", ["e"]),
    ("on error ignore\nx = get !nope\nif not !x then print undefined", ["undefined"]),
    ("if !no then\ndo print a\nelse print b\nelse print c", ["b", "c"]),
    ("n = 1\nif !n then\ndo print a\n# note\n\n:l:\ndo print b\nelse print c", ["a", "b"]),
    ("n = 1\nif !n then print a\nelse print b", ["a"]),
    (
        "n = 2\nif !n == 1 then print 1\nelse if !n == 2 then print 2\nelse if !n == 3 then print 3\nelse print more",
        ["2"],
    ),
    ("n = 1\nif !n == 1 then print 1\nelse if !n == 1 then print 2\nelse print more", ["1"]),
    ("n = 9\nif !n == 1 then print 1\nelse if !n == 2 then print 2\nelse print more", ["more"]),
    ("n = 1\nif !n == 1 then print 1\nelse if !n == 2 then\ndo print x\nelse print y", ["1"]),
    (
        "n = 1\n"
        "if !n then\n"
        "do if !n == 1 then print a\n"
        "do else print b\n"
        "do if !n == 2 then print c\n"
        "do else print d\n"
        "do print e\n"
        "else print f",
        ["a", "d", "e"],
    ),
    ("if !n then\ndo if not !n then print a\ndo else print b\nelse print c", ["c"]),
    (
        "n = 1\nif !n then\ndo if !n == 2 then print a\ndo else if !n == 1 then print b\ndo else print c\ndo print d",
        ["b", "d"],
    ),
    ("n = 1\nif !n then\ndo if !n then\ndo do print a\ndo else print b\nelse print c", ["a"]),
    ("n = 1\nif !n then print a\nget error 0\ndo print b", ["a", "Success", "b"]),
    ("n = 1\n<if !n and\n  !n == 1 then\n  print a>\n<else\nprint b>", ["a"]),
    ("on error ignore\nn = 1\nif !n then print a\nif !n == then print x\ndo print y\nelse print z", ["a"]),
    ("on error goto e\nif !n then\nelse bad line\nprint x\n:e:\nprint e", ["e"]),
    ("n = 1\nif !n then goto b\nprint x\n:b:\nprint b", ["b"]),
    ("n = 1\nif !n then end script\nprint x", []),
    ("if !n\nn = 1\nif !n", ["False", "True"]),
    ("get node name\n!n\nn = 1\n!n", ["roof@10.0.0.1:32149", "1"]),
    ('p = {"a":\n  1}\nprint !p', ['{"a": 1}']),
    ("x = a & print !x", ["a"]),
    ("", []),
    ("# nothing\n", []),
]

VALUES: dict[str, Any] = {"a": "aa", "n": 7, "text": "hello world", "word": "get", "list": [1, 2], "me": "!me"}

ASSIGNED: list[tuple[str, str, Any]] = [
    ("x = 5", "x", "5"),
    ("x = true", "x", "true"),
    ("x=5", "x", "5"),
    ("name=my-cluster", "name", "my-cluster"),
    ("x = My Company", "x", "My Company"),
    ('x = "My  Company"', "x", "My  Company"),
    ("loc = 0.0, 0.0", "loc", "0.0, 0.0"),
    ("t = 30 seconds", "t", "30 seconds"),
    ("x = a & y = b", "x", "a"),
    ("x = a & y = b", "y", "b"),
    ('x = "a & b"', "x", "a & b"),
    ("x = it's & y = 2", "x", "it's"),
    ("< x = a,\n b >", "x", "a, b"),
    ("x = !n", "x", 7),
    ("x = !n.str", "x", "7"),
    ("x = !list", "x", [1, 2]),
    ("x = !nope", "x", None),
    ("a = !nope", "a", None),
    ('a = ""', "a", None),
    ("a = ''", "a", None),
    ('set a = ""', "a", None),
    ("a = !a + t", "a", "aat"),
    ("!a = new", "a", "new"),
    ("x = !me", "x", "!me"),
    ("x = !!a", "x", "!a"),
    ("x = GET Status", "x", "roof@10.0.0.1:32149 running"),
    ("set x = test", "x", "test"),
    ("set x = if", "x", "if"),
    ("x = test", "x", "test"),
    ("x = get", "x", "get"),
    ("x = exit", "x", "exit"),
    ("x = incr !n", "x", "8"),
    ("n = incr !n 3", "n", "10"),
    ("n = incr !a", "n", None),
    ("n = get !nope", "n", None),
    ("a = get !a", "a", "aa"),
    ("a = test process nosuch", "a", None),
    ("x = get error 112", "x", "Missing script file"),
    ("x = print hello", "x", None),
    ("x = if !n == 7", "x", "True"),
    ("x = if not !n", "x", "False"),
    ("x = wait 0 for !n == 8", "x", "False"),
    ("x = wait 0 for !n == 7", "x", "True"),
    ('x = !a + ":" + !n', "x", "aa:7"),
    ("x = !n + 1", "x", "71"),
    ("x = !n.int + !n.int", "x", "77"),
    ("x = !a + - + !n + -configs", "x", "aa-7-configs"),
    ("x = !nope + b", "x", "b"),
    ("x = get + b", "x", "getb"),
    ("x[k] = v", "x", {"k": "v"}),
    ("x[k 1] = v w", "x", {"k 1": "v w"}),
    ("x['k'] = v", "x", {"k": "v"}),
    ("x[!a] = !n", "x", {"aa": 7}),
    ("x[k] = {} & x[k][l] = !n", "x", {"k": {"l": 7}}),
    ("x[k] = [] & x[l] = 1", "x", {"k": [], "l": "1"}),
    ("x = {} & x[k] = 1", "x", {"k": "1"}),
    ('x[p] = {"a" : !n}', "x", {"p": {"a": 7}}),
]

OPERANDS: dict[str, Any] = {
    "t": "text",
    "zero_text": "0",
    "zero": 0,
    "five": 5,
    "five_text": "5",
    "ten": "10",
    "yes": True,
    "no": False,
    "false_text": "False",
    "empty": "",
    "list": [],
    "full": [1],
}

HOLDS = [
    ("!t", True),
    ("!nope", False),
    ("!empty", False),
    ("!zero", False),
    ("!zero_text", True),
    ("!zero_text.int", False),
    ("!yes", True),
    ("!no", False),
    ("!list", False),
    ("!full", True),
    ("$NOPE", False),
    ("not !nope", True),
    ("not !t", False),
    ("not !nope and !t", True),
    ("not !t and !nope", False),
    ("not (!t == other)", True),
    ("!nope and !t or !t", False),
    ("!t and !nope or !t", True),
    ("!t or !nope and !nope", True),
    ("!nope or !t and !nope", False),
    ("(!nope and !t) or !t", True),
    ("!t != operator and !t == true or !t == Text", True),
    ("!t == text and (!five == 4 or !five == 5)", True),
    ("((!t))", True),
    ("!five == 5", True),
    ("!five_text == 5.0", True),
    ("!five_text != 5.0", False),
    ("!ten > !five_text", True),
    ("!ten < 9", False),
    ("!five >= 5", True),
    ("!five <= 4.9", False),
    ("!five.int < 1e3", True),
    ("-1 < 0", True),
    ("!t == TEXT", True),
    ("!t == 'text'", True),
    ('!t == "text"', True),
    ("!t != other", True),
    ("!t < u", True),
    ("!t > 5", True),
    ("a10 < a9", True),
    ("!yes == true", True),
    ("!yes == True", True),
    ("!no.bool == false", True),
    ("!nope.bool == false", True),
    ("!nope == 5", False),
    ("!nope == text", False),
    ("!nope != 5", True),
    ("!nope < 5", False),
    ("!nope.int < 5", False),
    ("!nope == ''", True),
    ("!t contains EX", True),
    ("!t includes ex", True),
    ("!t contains x5", False),
    ("!t startswith TE", True),
    ("!t startwith te", True),
    ("!t endswith xt", True),
    ("/a/b/c childfrom /a/b/", True),
    ("/a/b/c/d childfrom /a/b/", False),
    ("/a/b/ childfrom /a/b/", False),
]


class ExampleTests(LanguageCase):
    """Each row on a dictionary of its own."""

    def start_with(self, values: dict[str, Any]) -> None:
        for key, _ in self.dictionary.items():
            self.dictionary.delete(key)
        for key, value in values.items():
            self.dictionary.set(key, value)
        self.context.frame = None

    def test_scripts(self) -> None:
        """What a script prints."""
        for script, expected in SCRIPTS:
            self.start_with({})
            self.assertEqual(self.run_script(script), expected, script)

    def test_assigned(self) -> None:
        """What a key holds after a line, typed; what fails leaves it undefined."""
        for line, key, expected in ASSIGNED:
            self.start_with(VALUES)
            self.interpreter.execute(line, self.context).addErrback(lambda failure: failure.trap(AnyLogError))
            value = self.dictionary.get(key)
            self.assertEqual((value, type(value)), (expected, type(expected)), line)

    def test_conditions(self) -> None:
        """What a condition comes out as."""
        self.start_with(OPERANDS)
        for condition, expected in HOLDS:
            self.assertEqual(self.text(f"if {condition}"), str(expected), condition)

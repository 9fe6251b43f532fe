"""Commands that scripts of today use and this build does not have: known by their words, they say so (commands.md 15).

A row of the table is one command. Whoever builds it takes the row out; the registry refuses words used twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.context import Context, Result

if TYPE_CHECKING:
    from anylog.node import Node

_ASKING = ("get ", "test ", "info ", "suggest ", "analyze ", "blockchain state")  # commands that only look

# What brings it -> (words, what it does, an example, other spellings).
LATER: Mapping[str, Sequence[tuple[str, ...]]] = {
    "authentication": (
        ("set local password", "unlock what is kept encrypted", "set local password = !local_password"),
        ("set private password", "unlock the private key", "set private password = !password in file"),
        ("set signatory", "sign with the key of another member", "set signatory where password = !p and keys_file = k"),
        ("reset signatory", "sign with the key of the node again", "reset signatory"),
        ("get signatory", "show whose key signs", "get signatory"),
        ("id create keys", "make a private and a public key", "id create keys for node where password = !password"),
        ("get private key", "show the private key", "get private key where keys_file = roof"),
        ("get private string", "show the private key without its frame", "get private string where keys_file = roof"),
        ("get public key", "show the public key", "get public key"),
        ("get public string", "show the public key without its frame", "get public string where keys_file = roof"),
        ("id sign", "sign a policy", "id sign !policy where key = !private_key and password = !password"),
        ("id authenticate", "check the signature of a policy", "id authenticate !policy"),
        ("id validate", "check whether a member may run a command", "id validate where key = !key and command = sql"),
        ("get permissions", "show what a member may do", "get permissions for member !public_key"),
        ("get member permissions", "show what a member may do", "get member permissions !public_key"),
        ("id encrypt", "encrypt a message for a member", "id encrypt !message !public_key"),
        ("id decrypt", "decrypt a message", "id decrypt !message where key = !private_key and password = !password"),
        ("id add user", "add somebody who may call by HTTP",
         "id add user where name = anna and password = !p", "add user"),
        ("id remove user", "remove somebody who may call by HTTP", "id remove user where name = anna"),
        ("id update user password", "change a password", "id update user password where name = anna and new = !p"),
        ("get users", "show who may call by HTTP", "get users"),
        ("id generate certificate", "make keys of an authority, or ask it for a certificate",
         'id generate certificate authority where country = US and org = "My Company"'),
        ("id sign certificate request", "sign what asks for a certificate",
         'id sign certificate request where ca_org = "My Company" and server_org = "My Company"'),
        ("tpm", "keep keys in a security module", "tpm get info"),
    ),
    "blobs": (
        ("run blobs archiver", "move images and other large values to a database or a directory of their own",
         "run blobs archiver where dbms = true and folder = true and compress = false"),
        ("get blobs archiver", "show what the archiver of images and other large values has done",
         "get blobs archiver"),
        ("file store", "keep a file in a database",
         "file store where dbms = blobs_town and table = video and source = a.mp4"),
        ("file retrieve", "take a file out of a database",
         "file retrieve where dbms = blobs_town and table = video and id = 7"),
        ("file remove", "remove a file from a database",
         "file remove where dbms = blobs_town and table = video and id = 7"),
        ("get files where", "list the files that a database keeps",
         "get files where dbms = blobs_town and table = video"),
        ("get files count", "count the files that a database keeps", "get files count where dbms = blobs_town"),
    ),
    "buckets": (
        ("bucket provider", "connect or disconnect an object store",
         "bucket provider connect where group = main and provider = s3 and id = !id and access_key = !key"),
        ("bucket create", "make a bucket", "bucket create where group = main and name = images"),
        ("bucket drop", "remove a bucket", "bucket drop where group = main and name = images"),
        ("bucket file", "upload, download or delete a file of a bucket",
         "bucket file upload where group = main and name = images and source_dir = !tmp_dir and file_name = a.png"),
        ("get bucket", "show groups, names, files or one file of object stores", "get bucket names where group = main"),
    ),
    "console": (
        ("set output table width", "set how wide the columns of tables may be", "set output table width 80"),
        ("set function key", "put a text on a function key", "set function key f5 get processes"),
        ("continuous", "repeat commands until a key is hit", "continuous 10 cpu, get operator summary"),
    ),
    "debugging": (
        ("trace method", "follow one method", "trace method on tcp in"),
        ("get trace info", "show what was followed", "get trace info where process = tcp"),
    ),
    "grpc": (
        ("run grpc client", "take data from a service",
         "run grpc client where name = kube and ip = 127.0.0.1 and port = 32767 and proto = kubearmor"),
        ("get grpc clients", "show from which services data is taken", "get grpc clients", "get grpc client"),
        ("get grpc services", "show what a service offers", "get grpc services where conn = 127.0.0.1:32767"),
        ("compile proto", "compile the description of a service", "compile proto where protocol_file = !proto_file"),
    ),
    "helpers": (
        ("helper", "give a command to a worker process", "helper operator 1 get status"),
        ("run helpers", "start worker processes", "run helpers where type = operator and count = 2"),
        ("get helpers", "show the worker processes", "get helpers"),
        ("get dynamic stats", "show numbers of a name", "get dynamic stats where name = operator.sql"),
        ("reset dynamic stats", "count numbers anew", "reset dynamic stats"),
    ),
    "historian": (
        ("pi sql", "ask a historian", 'pi sql text "select * from sensors"'),
        ("pi debug", "show what is asked of a historian", "pi debug on"),
    ),
    "industrial devices": (
        ("run plc client", "read values of industrial controllers from time to time",
         "run plc client where type = opcua and name = line1 and url = !opcua_url and frequency = 20"
         " and dbms = plant and table = line1", "run opcua client"),
        ("get plc clients", "show which controllers are read", "get plc clients", "get plc client", "get opcua clients",
         "get opcua client"),
        ("get opcua", "show names, structure or values of an OPC-UA server", "get opcua struct where url = !opcua_url"),
        ("get etherip", "show names or values of an EtherNet/IP controller",
         "get etherip struct where url = 127.0.0.1 and class = tag"),
        ("get modbus", "show values of a Modbus device", "get modbus values where url = 127.0.0.1 and node = 1"),
        ("get plc values", "show values of an industrial controller",
         "get plc values where type = etherip and url = !url"),
    ),
    "mail and messages": (
        ("run smtp client", "send mail by a server",
         "run smtp client where host = smtp.example.com and port = 587 and email = !from and password = !password"),
        ("email", "send a mail", 'email to ops@example.com where subject = "Disk" and message = "It is full"'),
        ("sms", "send a text message", "sms to 6508147334 where gateway = tmomail.net and message = full"),
    ),
    "mcp": (
        ("run mcp server", "serve as a tool of language models", "run mcp server"),
        ("set mcp client config", "write the settings of a client of language models", "set mcp client config"),
        ("get mcp status", "show who uses the node as a tool of language models", "get mcp status"),
    ),
    "monitored nodes": (
        ("monitor", "keep what a node tells of itself, by topic",
         "monitor operators where ip = 10.0.0.7 and info = !node_insight"),
        ("get monitored", "show what nodes told of themselves", "get monitored operators"),
        ("reset monitored", "forget what nodes told of themselves", "reset monitored operators"),
        ("set monitored nodes", "name nodes that have to tell of themselves",
         "set monitored nodes where topic = operators and nodes = (10.0.0.7:32148, 10.0.0.8:32148)"),
    ),
    "partitions": (
        ("partition", "divide a table by time", "partition town weather using timestamp by 1 day"),
        ("get partitions", "show how tables are divided", "get partitions where dbms = town and table = weather"),
        ("drop partition", "remove the oldest part of a table, or all but the last",
         "drop partition where dbms = town and table = weather and keep = 30"),
        ("backup table", "write a table to files",
         "backup table where dbms = town and table = weather and dest = !backup"),
        ("backup partition", "write a part of a table to files",
         "backup partition where dbms = town and table = weather and partition = !par_name and dest = !backup"),
    ),
    "platforms": (
        ("blockchain connect to", "connect to a blockchain platform",
         "blockchain connect to optimism where provider = !provider and chain_id = 11155420"),
        ("blockchain create account", "make an account at a blockchain platform",
         "blockchain create account optimism"),
        ("blockchain set account info", "say with which keys and contract a blockchain platform is used",
         "blockchain set account info where platform = optimism and contract = !contract"),
        ("blockchain deploy contract", "put the contract that holds the ledger on a blockchain platform",
         "blockchain deploy contract where platform = optimism and public_key = !public_key"),
        ("blockchain commit", "put a policy on a blockchain platform",
         "blockchain commit to optimism !new_policy", "blockchain commit to"),
        ("blockchain update to", "put another policy in the place of one on a blockchain platform",
         "blockchain update to optimism !policy_id !new_policy"),
        ("blockchain checkout", "fetch all policies from a blockchain platform",
         "blockchain checkout from optimism stdout", "blockchain checkout from"),
        ("blockchain state", "show the number that changes with the contract on a blockchain platform",
         "blockchain state where platform = optimism"),
        ("set relay", "let a master hand policies on to a blockchain platform",
         "set relay where platform = optimism and status = on"),
        ("get relay", "show to which blockchain platform a master hands policies on", "get relay"),
    ),
    "plug-in functions": (
        ("import function", "use a function of a library for values of readings",
         "import function where import_name = scale and lib = my_lib and method = scale"),
        ("set function params", "set values of such a function",
         "set function params where import_name = scale and by = 2"),
        ("reset function params", "forget values of such a function",
         "reset function params where import_name = scale"),
        ("get function params", "show values of such a function", "get function params where import_name = scale"),
        ("get imported functions", "show these functions", "get imported functions"),
    ),
    "profiler": (
        ("set profiler", "count where a service spends its time", "set profiler on where target = operator"),
        ("get profiler output", "show where a service spends its time", "get profiler output where target = operator"),
    ),
    "pulling": (
        ("run scheduled pull", "read logs of this machine, or devices, from time to time",
         "run scheduled pull where name = log and type = eventlog and frequency = 10 and dbms = town"),
        ("get scheduled pull", "show what is read from time to time", "get scheduled pull"),
    ),
    "scripts": (
        ("get script", "show a script of the node", "get script start.al"),
        ("set script", "write a script of the node", "set script start.al !text"),
    ),
    "tables": (
        ("set dbms config", "set options of a database", "set dbms config where dbms = town and max_connections = 5"),
        ("drop network table", "drop a table on all nodes",
         "drop network table where name = weather and dbms = town and master = !ledger_conn"),
        ("create view", "make a view of a table", "create view where dbms = town and table = weather and name = hot"),
        ("info view", "show a view", "info view town hot columns"),
        ("get views", "list the views of a database", "get views for dbms town"),
        ("suggest create", "show the table that a file of readings needs",
         "suggest create !prep_dir/town.weather.json"),
        ("generate insert from json", "show the insert statements of a file of readings",
         "generate insert from json where dbms = town and table = weather and file = !a_file"),
        ("get data distribution", "count the rows of a table that each operator has",
         "get data distribution where dbms = town and table = weather"),
        ("directory", "list a directory of another node", "directory !prep_dir get files"),
        ("file write", "write what other nodes send", "file write !prep_dir/a.json"),
    ),
    "test suites": (
        ("test case", "compare the answer of a query to the one it had", "test case where source = !test_dir/a.out"),
        ("test suite", "compare answers of many queries to those they had",
         "test suite where source = !test_dir/*.out"),
        ("analyze output", "compare two answers", "analyze output where file = !a_file and source = !other_file"),
    ),
    "video": (
        ("video connect", "connect a camera or a stream", "video connect where name = gate and interface = 0"),
        ("run video stream", "take pictures of a stream", "run video stream where name = gate"),
        ("video stream", "record, pause or continue a stream",
         "video stream where name = gate and set_recording = true"),
        ("exit video", "leave a stream", "exit video where name = gate"),
        ("get connected video", "show the cameras and streams", "get connected video"),
        ("get video streams stats", "show numbers of streams", "get video streams stats"),
    ),
}  # fmt: skip

# Topic -> why nothing will bring it, and what is here instead.
WITHOUT: Mapping[str, str] = {"platforms": "there are no blockchain platforms; use a master"}

# Words -> what does the like in this build.
INSTEAD: Mapping[str, str] = {
    "blockchain connect to": "Use a master instead: 'run blockchain sync where source = master and ...'.",
    "blockchain commit": "Use 'blockchain insert where policy = ... and master = [ip:port]' for a master,"
    " 'blockchain push' on the master.",
    "blockchain update to": "Use 'blockchain replace policy [id] with [policy]' on the master.",
    "blockchain checkout": "Use 'blockchain seed from [ip:port]' to fetch them from any node.",
    "blockchain state": "Use 'get metadata version' for what changes with the ledger.",
}


def not_here(what: str, topic: str) -> AnyLogError:
    """What is said of a command, or of a part of one, that is not in this build."""
    why = f": {WITHOUT[topic]}" if topic in WITHOUT else f" ({topic})"
    return AnyLogError(237, f"not in this build: {what}{why}")


class Later(Command):
    """Known by its words alone."""

    raw = literal = True
    operands = "[...]"

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 237; or 2 for a single word with nothing behind it, which in an assignment is a text."""
        if not operands and " " not in self.words:
            raise AnyLogError(2, f"{self.words}: something is missing; and it is not in this build: {self.later}")
        raise not_here(self.words, self.later)


def _made() -> Iterator[type[Command]]:
    for topic, rows in LATER.items():
        for words, does, example, *also in rows:
            asking = words.startswith(_ASKING)
            instead = f"\n\n{INSTEAD[words]}" if words in INSTEAD else ""
            yield type(
                "".join(word.capitalize() for word in words.split()),
                (Later,),
                {
                    "__doc__": f"Not in this build: {does}.{instead}",
                    "words": words,
                    "also": tuple(also),
                    "examples": (example,),
                    "index": ("not in this build", topic),
                    "later": topic,
                    "guarded": not asking,
                    "http": ("GET",) if asking else ("POST",),
                },
            )


COMMANDS: tuple[type[Command], ...] = tuple(_made())

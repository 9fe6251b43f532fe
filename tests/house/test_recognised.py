"""Every command that people know is recognised: it works, or it says that it is not in this build."""

from __future__ import annotations

import re
from itertools import product

import pytest

from anylog.errors import AnyLogError
from anylog.language.command import Command
from anylog.language.later import INSTEAD, LATER, WITHOUT, Later
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS
from anylog.plugins import find
from anylog.southbound.commands import commands

# A line is a command by its words; `a|b` stands for both.
KNOWN = """
set|if|else|do|print|echo|incr|wait|process|script|variables|goto|call|return|json|help
else if
get dictionary|error|status|processes|version|hostname|connections|databases|tables|columns|table|servers|synchronizer
get env var
get !key
on error ignore|goto|call
end script
exit scripts
process from table|dbms
event
random substr
get|set script
import function
set|reset|get function params
get imported functions
on error end script
trace level|method
get trace info
get stack trace
set node name
get node name|id|info|resources
set anylog home
create work directories
set cli
set output table width
set function key
continuous
get git version|info
get installed packages
get mcp status
get platform info
get timezone info
get datetime
get hardware id
exit
exit node|video|mqtt
exit msg client
exit msg client pool
set license
helper
run helpers
get helpers
get|reset dynamic stats
run mcp server
set mcp client config
run tcp|rest server
get rest server info
run message broker
get local broker
get broker
run operator|publisher|streamer
get operator|publisher|streaming|distributor|consumer
run blockchain sync
run scheduler
exit scheduler
get scheduler
schedule
task
run mqtt|msg client
run smtp client
flush buffers
run data distributor|consumer
set consumer mode
run blobs archiver
get blobs archiver
run kafka consumer
run grpc client
get grpc clients|services
compile proto
run plc|opcua client
get plc clients|values
get opcua|etherip|modbus
run scheduled pull
get scheduled pull
run uns streamer
video connect|stream
run video stream
get connected video
get video streams stats
test process|node|connection|network|table|case|suite
blockchain insert|get|read|add|push|test|wait
blockchain prepare|replace|delete|drop policy
blockchain pull to
blockchain update file|dbms
blockchain load|reload metadata
blockchain delete local file
blockchain seed from
seed from
blockchain switch network
blockchain wait for
blockchain test id|cluster
blockchain query metadata
blockchain get id
blockchain create|drop table
blockchain drop by host
blockchain connect to
blockchain create account
blockchain set account info
blockchain deploy contract
blockchain checkout from
blockchain state
create policy|table|view
get platforms|relay
set relay
get policies diff
get metadata version|info
get cluster info
get data nodes|monitored|distribution
get members status
get virtual|local tables
get tables for dbms
get network databases
get views
connect|disconnect|drop dbms
set dbms config
get database size
drop table|partition
drop network table
info table|view
partition
get partitions
backup table|partition
delete archive
get archived files
sql
suggest create
generate insert from json
get rows count
get files count
bucket provider|create|drop|file
get bucket
pi sql|debug
set buffer threshold
stream
set data distribution
get publisher distribution
set msg rule
get msg rules|client|clients|broker|brokers|pool
reset msg rule
mqtt publish
set msg client pool
set mqtt debug
set|get|reset streaming condition|conditions
data monitor
set aggregation|aggregations
set aggregation encoding|ingest|thresholds
set ingestion in aggregations
reset aggregations
get aggregation|aggregations
get aggregation config|configs|tables|ingest
get aggregation by time
get watch directories
get json file struct
file copy|get|move|delete|test|check|hash|compress|decompress|encode|decode|to|from|store|retrieve|remove|deliver|write
get files|directories|size|access
get files in|where
get file timestamp
directory
time file summary|errors|rename|tables|new|add|update|drop|delete|get|query
get tsd list|details|summary|errors|error|info
get tsd sync status
get ha cluster status
test ha|cluster setup
test cluster data|databases|partitions
test node cluster
test network clusters|table
set servers ping
run client
query status|destination|explain
job status|active|stop|run
get operator|query execution
get queries time
reset query timer
set query log|mode|pool
get query mode|pool
set threads pool
get increments params
set profiler
get profiler output
analyze output
get machine connections
set|reset|get reply ip
set|reset self ip
set internal ip
get nics|ip list
get dns name
set|get compression
set|get send pool
get tcp|rest|operator pool
get system threads
get unused tcp|rest|msg port
get rest calls
get rest
set rest timeout
set rest|streaming log
get|reset event|error|file|rest|streaming|query|msg log
get disk
get memory info
get cpu info|usage|temperature
get os process
get|reset stats
get inserts
monitor
reset monitored
set monitored nodes
email
sms
set authentication|encryption|signatory
set node|user authentication
get authentication|encryption|users|signatory|permissions
set local|private password
id create keys
get private|public key|string
id sign|authenticate|validate|encrypt|decrypt
reset signatory
get member permissions
id add|remove user
id update user password
id generate certificate
id sign certificate request
tpm
for loop start|end
end_script|end-script
on error end_script|end-script
thread|stop|next|continue
set debug
set|get|reset echo queue
get user threads
get threads
python|system|subprocess
set policy
set error|exception traceback
set traceback
config from policy
policy
get config policies
get global tables
get parked rows
time file error|info
set|get file access
get json file structure
show json file structure|struct
get root policies
get policy types
get waiting policies
blockchain commit|checkout
blockchain commit|update to
from
run telnet|syslog server
rest get|put|post|view|delete
get message pool
run synchronizer|consumer
run blockchain synchronizer
get watch
file retry
repair table
exit mqtt client
get msg rule
get southbound
set aggregations thresholds|encoding|ingest
set aggregation|aggregations encodeing
set ingestion in aggregation
reset aggregation
get aggregations by time
get aggregations config|configs|ingest|tables
add user
get grpc|plc client
get opcua client|clients
get monitored
raise error
set|get timezone
"""

EVERYTHING = (*ALL_COMMANDS, *commands(find().plugins.values()))


def rows() -> list[str]:
    """One command each."""
    lines = [line.split() for line in KNOWN.strip().splitlines()]
    return [" ".join(words) for line in lines for words in product(*(word.split("|") for word in line))]


@pytest.mark.parametrize("words", rows())
def test_recognised(words: str) -> None:
    """The words are a command of their own, not the beginning of another one with something behind it."""
    found = Words(EVERYTHING).match([*words.split(), "x"])
    assert found is not None, f"'{words}' is not recognised"
    command, eaten = found
    size = len(words.split())
    assert eaten == size, f"'{words}' is taken for '{command.words}'"


def test_all_words_stand_there() -> None:
    """A command that is missing above could be taken for another one without anybody seeing it."""
    known = set(rows())
    assert not [spelling for each in EVERYTHING for spelling in (each.words, *each.also) if spelling not in known]


def test_no_word_twice() -> None:
    """A line that stands twice would hide that another one is missing."""
    assert len(rows()) == len(set(rows()))


@pytest.mark.parametrize("topic", LATER)
def test_later(topic: str) -> None:
    """What is not in this build has its topic, and nothing that is in this build stands in the table."""
    for words, *_ in LATER[topic]:
        found = Words(EVERYTHING).match(words.split())
        assert found is not None
        command: type[Command] = found[0]
        assert issubclass(command, Later) and command.later == topic
        told, _, instead = command.explanation().partition("\n\n")
        assert re.fullmatch(r"Not in this build: [a-z].*[^.]\.", told), told
        assert instead == INSTEAD.get(words, ""), instead


def test_what_to_use_instead() -> None:
    """Advice is of commands and topics of the table, and the commands that it names are here."""
    assert set(WITHOUT) <= set(LATER)
    assert set(INSTEAD) <= {words for rows in LATER.values() for words, *_ in rows}
    for advice in (*INSTEAD.values(), *WITHOUT.values()):
        for named in re.findall(r"'([a-z][^']*)'", advice):
            found = Words(EVERYTHING).match(named.split())
            assert found is not None and not found[0].later, named


def test_platforms() -> None:
    """What nothing will bring says so, and what to use; who only looks may ask by GET."""
    for words, method in (("blockchain commit", "POST"), ("blockchain state", "GET"), ("get relay", "GET")):
        found = Words(EVERYTHING).match(words.split())
        assert found is not None and found[0].http == (method,)
        with pytest.raises(AnyLogError, match=f"{words}: there are no blockchain platforms; use a master"):
            found[0]().run(None, None, ("x",)).send(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [command for command in ALL_COMMANDS if command.later], ids=lambda each: each.words)
def test_answer(command: type[Command]) -> None:
    """Error 237 that names the command; a single word alone is error 2, so that it can be assigned as a text."""
    asked = command().run(None, None, ("x",))  # type: ignore[arg-type]
    with pytest.raises(AnyLogError) as refused:
        asked.send(None)
    assert refused.value.number == 237 and f"not in this build: {command.words}" in str(refused.value)
    if " " not in command.words:
        with pytest.raises(AnyLogError) as refused:
            command().run(None, None, ()).send(None)  # type: ignore[arg-type]
        assert refused.value.number == 2

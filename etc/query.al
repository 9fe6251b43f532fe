# A query node: keeps no readings, asks those who do, and puts their answers together. Any node can do that; one for
# that alone leaves operators their time.
#
#     anylog run --home anylog-query "ledger_conn = 10.0.0.7:32048" and "process etc/query.al"
#
# What is set in the first part holds only where nobody has said otherwise before, as ledger_conn above.

# --- Who this node is, and where it listens. Peers need to reach !ip, or !external_ip if that is another address.
hostname = get hostname
if not !company_name then company_name = New Company
if not !node_name then node_name = !hostname + -query
if not !tcp_port then tcp_port = 32348
if not !rest_port then rest_port = 32349

# false: listen on every interface of this machine; true: on !ip alone.
if not !tcp_bind then tcp_bind = false
if not !rest_bind then rest_bind = false

# Where the ledger is, and how long a change of it may go unnoticed if nobody tells of it.
if not !ledger_conn then ledger_conn = !ip + : + 32048
if not !blockchain_sync then blockchain_sync = 30 seconds

# Others find this node at policy_ip: at !ip if that is all it listens on.
policy_ip = !external_ip
if !tcp_bind == true then policy_ip = !ip

set node name !node_name
create work directories

# --- What operators answer is put together in this database; in memory, as it is needed for a moment only.
connect dbms system_query where type = sqlite and memory = true

# --- The door for other nodes, and what the network knows.
<run tcp server where
    external_ip = !external_ip and external_port = !tcp_port and
    internal_ip = !ip and internal_port = !tcp_port and
    bind = !tcp_bind and threads = 6>
run blockchain sync where source = master and time = !blockchain_sync and dest = file and connection = !ledger_conn

# --- The policy by which others know this node; one that is known already stays as it is.
<query_id = blockchain get query where
    name = !node_name and company = !company_name and ip = !policy_ip and port = !tcp_port bring.last [*][id]>
if !query_id then goto known

<new_policy = create policy query where
    name = !node_name and company = !company_name and
    ip = !policy_ip and local_ip = !ip and port = !tcp_port and rest_port = !rest_port>
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn

:known:
# --- Here is where to ask:  run client () sql DBMS "select ..."  or, over HTTP, with the header  destination: network
<run rest server where
    external_ip = !external_ip and external_port = !rest_port and
    internal_ip = !ip and internal_port = !rest_port and bind = !rest_bind>

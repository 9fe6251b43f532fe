# A publisher: a node that takes readings and keeps none. What comes by PUT, POST, messages and files is safe on its disk
# when it is answered, and is sent to the operators of the network as files. The master should be there.
#
#     anylog run --home anylog-publisher "ledger_conn = 10.0.0.7:32048" and "process etc/publisher.al"
#
# What is set in the first part holds only where nobody has said otherwise before, as ledger_conn above.

# --- Who this node is, and where it listens. Operators know it by !external_ip and !tcp_port.
hostname = get hostname
if not !company_name then company_name = New Company
if not !node_name then node_name = !hostname + -publisher
if not !tcp_port then tcp_port = 32248
if not !rest_port then rest_port = 32249

# false: listen on every interface of this machine; true: on !ip alone.
if not !tcp_bind then tcp_bind = false
if not !rest_bind then rest_bind = false

# Where the ledger is, and how long a change of it may go unnoticed if nobody tells of it.
if not !ledger_conn then ledger_conn = !ip + : + 32048
if not !blockchain_sync then blockchain_sync = 30 seconds

# Others find this node at policy_ip: at !ip if that is all it listens on.
policy_ip = !external_ip
if !tcp_bind == true then policy_ip = !ip

# Scripts made elsewhere read the port by this name.
anylog_server_port = !tcp_port

set node name !node_name
create work directories

# --- 1. The door for other nodes.
<run tcp server where
    external_ip = !external_ip and external_port = !tcp_port and
    internal_ip = !ip and internal_port = !tcp_port and
    bind = !tcp_bind and threads = 6>

# What the network knows already is fetched first: who holds which table.
run blockchain sync where source = master and time = !blockchain_sync and dest = file and connection = !ledger_conn

# --- 2. The publisher policy: operators take files of nodes that the ledger knows.
publisher_id = blockchain get publisher where name = !node_name and ip = !policy_ip and port = !tcp_port bring.last [*][id]
if !publisher_id then goto publisher-known
<new_policy = create policy publisher where
    name = !node_name and
    company = !company_name and
    ip = !policy_ip and
    local_ip = !ip and
    port = !tcp_port and
    rest_port = !rest_port>
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn

:publisher-known:
# --- 3. From when on a run of readings becomes a file, and is sent.
set buffer threshold where time = 10 seconds and volume = 100KB
run streamer

# --- 4. Files go to the operators that hold their table. What was sent is not kept here: the operators have it.
<run publisher where
    company = !company_name and
    delete_json = true and delete_sql = true and
    master_node = !ledger_conn and
    dbms_name = file_name[0] and table_name = file_name[1]>

# --- Senders put their readings here.
<run rest server where
    external_ip = !external_ip and external_port = !rest_port and
    internal_ip = !ip and internal_port = !rest_port and bind = !rest_bind>

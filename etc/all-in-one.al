# A whole network in one node: it keeps the ledger, keeps readings, and answers for the network. Others may join later:
# they name this node as their ledger_conn.
#
#     anylog run --home anylog-data process etc/all-in-one.al
#
# What is set in the first part holds only where nobody has said otherwise before, for instance
#
#     anylog run --home anylog-data "company_name = My Company" and "process etc/all-in-one.al"

# --- Who this node is, and where it listens. Peers need to reach !ip, or !external_ip if that is another address.
hostname = get hostname
if not !company_name then company_name = New Company
if not !node_name then node_name = !hostname + -node
if not !cluster_name then cluster_name = !company_name.name + -cluster- + !hostname
if not !default_dbms then default_dbms = !company_name.name
if not !tcp_port then tcp_port = 32148
if not !rest_port then rest_port = 32149

# false: listen on every interface of this machine; true: on !ip alone.
if not !tcp_bind then tcp_bind = false
if not !rest_bind then rest_bind = false

# How long a change of the ledger may go unnoticed if nobody tells of it; and where the ledger is: here.
if not !blockchain_sync then blockchain_sync = 30 seconds
ledger_conn = !ip + : + !tcp_port

# Others find this node at policy_ip: at !ip if that is all it listens on.
policy_ip = !external_ip
if !tcp_bind == true then policy_ip = !ip

set node name !node_name
create work directories

# --- Databases: the ledger, the readings, the files that were taken in, and a place to put answers together.
connect dbms blockchain where type = sqlite
create table ledger where dbms = blockchain
connect dbms !default_dbms where type = sqlite
connect dbms almgm where type = sqlite
create table tsd_info where dbms = almgm
connect dbms system_query where type = sqlite and memory = true

# --- The door for other nodes, and the copy of the ledger, fetched from this very node.
<run tcp server where
    external_ip = !external_ip and external_port = !tcp_port and
    internal_ip = !ip and internal_port = !tcp_port and
    bind = !tcp_bind and threads = 6>
run blockchain sync where source = master and time = !blockchain_sync and dest = file and connection = !ledger_conn

# --- A cluster with this node as its operator. Policies that are known already stay as they are.
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]
if !cluster_id then goto cluster-known

<new_policy = create policy cluster where name = !cluster_name and company = !company_name>
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]

:cluster-known:
<operator_id = blockchain get operator where
    cluster = !cluster_id and name = !node_name and company = !company_name and
    ip = !policy_ip and port = !tcp_port bring.last [*][id]>
if !operator_id then goto operator-known

<new_policy = create policy operator where
    name = !node_name and company = !company_name and cluster = !cluster_id and
    ip = !policy_ip and local_ip = !ip and port = !tcp_port and rest_port = !rest_port>
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn
operator_id = blockchain get operator where cluster = !cluster_id and name = !node_name bring.last [*][id]

:operator-known:
# --- Readings are taken in, and this node takes its place in the network.
run streamer
<run operator where
    create_table = true and update_tsd_info = true and
    master_node = !ledger_conn and policy = !operator_id and
    threads = 6>

# --- For senders, people and programs.
<run rest server where
    external_ip = !external_ip and external_port = !rest_port and
    internal_ip = !ip and internal_port = !rest_port and bind = !rest_bind>

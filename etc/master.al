# A master: the node that keeps the ledger of a network. Start it first.
#
#     anylog run --home anylog-master process etc/master.al
#
# What is set in the first part holds only where nobody has said otherwise before, for instance
#
#     anylog run --home anylog-master "company_name = My Company" and "ip = 10.0.0.7" and "process etc/master.al"

# --- Who this node is, and where it listens. Peers need to reach !ip, or !external_ip if that is another address.
if not !node_name then node_name = master
if not !company_name then company_name = New Company
if not !tcp_port then tcp_port = 32048
if not !rest_port then rest_port = 32049

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

# --- The ledger: a database by the name of 'blockchain' with a table 'ledger'. A table that is there stays.
connect dbms blockchain where type = sqlite
create table ledger where dbms = blockchain

# --- The door for other nodes.
<run tcp server where
    external_ip = !external_ip and external_port = !tcp_port and
    internal_ip = !ip and internal_port = !tcp_port and
    bind = !tcp_bind and threads = 6>

# --- Like every node the master works from a copy of the ledger, fetched from itself.
run blockchain sync where source = master and time = !blockchain_sync and dest = file and connection = !ledger_conn

# --- The policy by which others know it; one that is known already stays as it is.
<master_id = blockchain get master where
    name = !node_name and company = !company_name and ip = !policy_ip and port = !tcp_port bring.last [*][id]>
if !master_id then goto known

<new_policy = create policy master where
    name = !node_name and company = !company_name and
    ip = !policy_ip and local_ip = !ip and port = !tcp_port and rest_port = !rest_port>
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn

:known:
# --- For people and programs: commands over HTTP.
<run rest server where
    external_ip = !external_ip and external_port = !rest_port and
    internal_ip = !ip and internal_port = !rest_port and bind = !rest_bind>

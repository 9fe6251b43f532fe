# An operator: a node that keeps readings and answers for them. The master of its network should be there.
#
#     anylog run --home anylog-operator "ledger_conn = 10.0.0.7:32048" and "process etc/operator.al"
#
# What is set in the first part holds only where nobody has said otherwise before, as ledger_conn above. Operators that
# are to keep copies of the same data say the same cluster_name; others leave each its own.

# --- Who this node is, and where it listens. Peers need to reach !ip, or !external_ip if that is another address.
hostname = get hostname
if not !company_name then company_name = New Company
if not !node_name then node_name = !hostname + -operator
if not !cluster_name then cluster_name = !company_name.name + -cluster- + !hostname
if not !tcp_port then tcp_port = 32148
if not !rest_port then rest_port = 32149

# false: listen on every interface of this machine; true: on !ip alone.
if not !tcp_bind then tcp_bind = false
if not !rest_bind then rest_bind = false

# Where the ledger is, and how long a change of it may go unnoticed if nobody tells of it.
if not !ledger_conn then ledger_conn = !ip + : + 32048
if not !blockchain_sync then blockchain_sync = 30 seconds

# The database of the readings. Senders name it, and may name others, if those are connected, too.
if not !default_dbms then default_dbms = !company_name.name

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

# What the network knows already is fetched first. If the master is away the copy of last time is used, and what is
# inserted below waits for it.
run blockchain sync where source = master and time = !blockchain_sync and dest = file and connection = !ledger_conn

# --- 2. The cluster: a name under which operators keep the same data. One that is known already stays as it is.
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]
if !cluster_id then goto cluster-known

<new_policy = create policy cluster where
    name = !cluster_name and
    company = !company_name>
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn

# --- 3. The operator policy: this node in that cluster. A name that is taken at another address is refused by the
#        master: it stands here once, with the address for which it was made.
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]

:cluster-known:
<operator_id = blockchain get operator where
    cluster = !cluster_id and name = !node_name and company = !company_name and
    ip = !policy_ip and port = !tcp_port bring.last [*][id]>
if !operator_id then goto operator-known
if !tcp_bind == true then goto bound-policy

<new_policy = create policy operator where
    name = !node_name and
    company = !company_name and
    cluster = !cluster_id and
    ip = !external_ip and
    local_ip = !ip and
    port = !tcp_port and
    rest_port = !rest_port>
goto insert-policy

:bound-policy:
<new_policy = create policy operator where
    name = !node_name and
    company = !company_name and
    cluster = !cluster_id and
    ip = !ip and
    port = !tcp_port and
    rest_port = !rest_port>

:insert-policy:
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn
operator_id = blockchain get operator where cluster = !cluster_id and name = !node_name bring.last [*][id]

:operator-known:
# --- 4. A table that says which files of readings were taken in.
connect dbms almgm where type = sqlite
create table tsd_info where dbms = almgm

# --- 5. The database of the readings. Its tables are made from the readings.
connect dbms !default_dbms where type = sqlite

# --- 6. and 7. Images in a store of their own, and copies for the other operators of the cluster. Their time comes:
#        this version answers these commands by name.
# run blobs archiver where dbms = false and folder = true and compress = true and reuse_blobs = true
# run data distributor
# run data consumer where start_date = "-30"

# --- 8. The operator takes its place: from now on it answers for its cluster.
run streamer
<run operator where
    create_table = true and update_tsd_info = true and
    compress_json = true and compress_sql = true and
    archive_json = true and archive_sql = true and
    master_node = !ledger_conn and policy = !operator_id and
    threads = 6>

# --- Senders put their readings here; people and programs ask here.
<run rest server where
    external_ip = !external_ip and external_port = !rest_port and
    internal_ip = !ip and internal_port = !rest_port and bind = !rest_bind>

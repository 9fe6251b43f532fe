# The policy by which others know this node, of the type that is given. One that is known stays as it is; the same name
# at another address is another node, or this one after it has moved: somebody has to say which.
variables (declared_type)

known_address = blockchain get !declared_type where name = !node_name and company = !company_name bring.first [ip]:[port]
<if !known_address and !known_address != !own_address then
    raise error "the" !declared_type !node_name "of" !company_name "is at" !known_address "and this node at" !own_address>
if !known_address then end script

new_policy = ""
<set policy new_policy [!declared_type] = {} and
    [!declared_type][name] = !node_name and
    [!declared_type][company] = !company_name and
    [!declared_type][hostname] = !hostname and
    [!declared_type][ip] = !policy_ip and
    [!declared_type][local_ip] = !policy_local_ip and
    [!declared_type][port] = !anylog_server_port.int and
    [!declared_type][rest_port] = !anylog_rest_port.int>
if !anylog_broker_port then set policy new_policy [!declared_type][broker_port] = !anylog_broker_port.int
if !loc then set policy new_policy [!declared_type][loc] = !loc
if !country then set policy new_policy [!declared_type][country] = !country
if !state then set policy new_policy [!declared_type][state] = !state
if !city then set policy new_policy [!declared_type][city] = !city
if !branch then set policy new_policy [!declared_type][branch] = !branch
if !dept then set policy new_policy [!declared_type][dept] = !dept
if !declared_type != operator then goto insert

# --- Of an operator. The first one of a cluster is the one that is asked first.
set policy new_policy [operator][cluster] = !cluster_id
if !member then set policy new_policy [operator][member] = !member.int
set declared_main = !is_main
first_id = blockchain get operator where cluster = !cluster_id bring.first [*][id]
if not !declared_main and !first_id then set declared_main = false
if not !declared_main then set declared_main = true
set policy new_policy [operator][main] = !declared_main.bool

:insert:
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn

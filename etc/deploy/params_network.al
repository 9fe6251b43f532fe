# Where the node listens, how others reach it, and where the ledger is.

if $NIC_TYPE then set internal ip with $NIC_TYPE
do set external_ip = !ip

# --- Ports, by the type of the node.
set anylog_server_port = 32548
set anylog_rest_port = 32549
if !policy_type == master then set anylog_server_port = 32048
do set anylog_rest_port = 32049
if !policy_type == operator then set anylog_server_port = 32148
do set anylog_rest_port = 32149
if !policy_type == publisher then set anylog_server_port = 32248
do set anylog_rest_port = 32249
if !policy_type == query then set anylog_server_port = 32348
do set anylog_rest_port = 32349
if $ANYLOG_SERVER_PORT then set anylog_server_port = $ANYLOG_SERVER_PORT
if $ANYLOG_REST_PORT then set anylog_rest_port = $ANYLOG_REST_PORT
if $ANYLOG_BROKER_PORT then set anylog_broker_port = $ANYLOG_BROKER_PORT

set tcp_bind = false
set rest_bind = false
set broker_bind = false
if $TCP_BIND == true then set tcp_bind = true
if $REST_BIND == true then set rest_bind = true
if $BROKER_BIND == true then set broker_bind = true

set tcp_threads = 6
set rest_threads = 6
set broker_threads = 6
set rest_timeout = 30
if $TCP_THREADS then set tcp_threads = $TCP_THREADS
if $REST_THREADS then set rest_threads = $REST_THREADS
if $BROKER_THREADS then set broker_threads = $BROKER_THREADS
if $REST_TIMEOUT then set rest_timeout = $REST_TIMEOUT

# --- Others find this node at policy_ip: at its own address if that is all it listens on.
if $OVERLAY_IP then set overlay_ip = $OVERLAY_IP
set policy_ip = !external_ip
if !overlay_ip then set policy_ip = !overlay_ip
if !overlay_ip and !tcp_bind == true then set ip = !overlay_ip
if !tcp_bind == true then set policy_ip = !ip
set policy_local_ip = !ip

set enable_dns = false
if $DNS_DOMAIN then dns = !hostname + "." + $DNS_DOMAIN
if $DNS then set dns = $DNS
if $EXTERNAL_DNS then set external_dns = $EXTERNAL_DNS
if $ENABLE_DNS == true then set enable_dns = true
else goto names-settled
if !dns then set policy_local_ip = !dns
do set policy_ip = !dns
if !external_dns then set policy_ip = !external_dns
if not !dns and not !external_dns then raise error "ENABLE_DNS is true: DNS, DNS_DOMAIN or EXTERNAL_DNS is missing"

:names-settled:
# --- The master: this node, if it holds the ledger.
own_address = !policy_ip + ":" + !anylog_server_port
if $LEDGER_CONN then set ledger_conn = $LEDGER_CONN
else if !master_configs == true then set ledger_conn = !own_address
else ledger_conn = !policy_ip + ":32048"

if $CONFIG_NAME then set config_name = $CONFIG_NAME
else if !anylog_broker_port then config_name = !node_type + "-" + !company_name.name + "-configs-broker"
else config_name = !node_type + "-" + !company_name.name + "-configs"

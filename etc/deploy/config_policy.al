# The config policy of this type of node: its doors, then the commands that make it what it is. All values are references
# to keys, so that every node of the type finds its own settings, and one policy serves them all. A node that is hidden
# uses the same policy and tells nobody of it.

config_id = blockchain get config where name = !config_name and company = !company_name bring.first [*][id]
if !config_id then goto configure

new_policy = ""
<set policy new_policy [config] = {} and [config][name] = !config_name and [config][company] = !company_name and
    [config][node_type] = !node_type and
    [config][ip] = '!policy_ip' and [config][local_ip] = '!ip' and
    [config][port] = '!anylog_server_port' and
    [config][tcp_bind] = '!tcp_bind' and [config][tcp_threads] = '!tcp_threads' and
    [config][rest_port] = '!anylog_rest_port' and [config][rest_bind] = '!rest_bind' and
    [config][rest_threads] = '!rest_threads' and [config][rest_timeout] = '!rest_timeout'>
if !anylog_broker_port then
<do set policy new_policy [config][broker_port] = '!anylog_broker_port' and
    [config][broker_bind] = '!broker_bind' and [config][broker_threads] = '!broker_threads'>

<set policy new_policy [config][script] = [] and
    [config][script] + 'set node name !node_name' and
    [config][script] + 'process connect_databases.al' and
    [config][script] + 'run blockchain sync where source = master and time = !blockchain_sync and dest = !blockchain_destination and connection = !ledger_conn' and
    [config][script] + 'if !is_hidden != true then process node_policies.al' and
    [config][script] + 'set query pool !query_pool' and
    [config][script] + 'run scheduler 1'>

if !policy_type == operator then
<do set policy new_policy
    [config][script] + 'set buffer threshold where time = !threshold_time and volume = !threshold_volume and write_immediate = !write_immediate' and
    [config][script] + 'run streamer' and
    [config][script] + 'if !enable_ha == true then run data distributor' and
    [config][script] + 'if !enable_ha == true then run data consumer where start_date = !start_date' and
    [config][script] + 'run operator where create_table = !create_table and update_tsd_info = !update_tsd_info and archive_json = !archive and archive_sql = !archive_sql and compress_json = !compress_file and compress_sql = !compress_sql and threads = !operator_threads and master_node = !ledger_conn and policy = !operator_id'>

if !policy_type == publisher then
<do set policy new_policy
    [config][script] + 'set buffer threshold where time = !threshold_time and volume = !threshold_volume' and
    [config][script] + 'run streamer' and
    [config][script] + 'run publisher where company = !company_name and compress_json = !compress_file and compress_sql = !compress_sql and delete_json = true and delete_sql = true and master_node = !ledger_conn and dbms_name = !dbms_file_location and table_name = !table_file_location'>

if !is_hidden == true then goto tell-nobody
blockchain insert where policy = !new_policy and local = true
config_id = blockchain get config where name = !config_name and company = !company_name bring.first [*][id]

:configure:
config from policy where id = !config_id
end script

:tell-nobody:
blockchain prepare policy !new_policy
config from policy where policy = !new_policy

# What a node does besides, if it is asked for; and what was asked for and is not in this build. The marks in the
# dictionary tell what this life of the node has done already.

if !policy_type != operator or !archive_task then goto aggregations
schedule time = 1 day and name = "delete old archive" task delete archive where days = !archive_delete
archive_task = declared

:aggregations:
if !enable_aggregations != true then goto messages
if !aggregations_table == "*" then
<do set aggregation where dbms = !aggregations_dbms and intervals = !aggregations_intervals and
    time = !aggregations_time and time_column = !aggregation_time_column and value_column = !aggregation_value_column>
<else set aggregation where dbms = !aggregations_dbms and table = !aggregations_table and
    intervals = !aggregations_intervals and time = !aggregations_time and
    time_column = !aggregation_time_column and value_column = !aggregation_value_column>

:messages:
if !enable_mqtt != true or !msg_subscription then goto left-out
<run msg client where broker = !mqtt_broker and port = !mqtt_port and user = !mqtt_user and password = !mqtt_passwd and
    log = !msg_log and topic = (name = !msg_topic and dbms = !msg_dbms and table = !msg_table and
    column.timestamp.timestamp = !msg_timestamp_column and
    column.value = (type = !msg_value_column_type and value = !msg_value_column))>
msg_subscription = declared

:left-out:
if !policy_type == operator and !enable_partitions == true then print "ENABLE_PARTITIONS: partitions are not in this build: tables stay whole"
environment = get env var where format = json
<parts = [
    {"variable": "NOSQL_TYPE", "what": "databases of large values"},
    {"variable": "BLOBS_STORAGE", "what": "the archiver of images and other large values"},
    {"variable": "BLOB_STORAGE_TYPE", "what": "databases of large values"},
    {"variable": "BUCKET_GROUP", "what": "object stores"},
    {"variable": "NODE_MONITORING", "what": "the collection of figures of nodes"},
    {"variable": "SYSLOG_MONITORING", "what": "the collection of system logs"},
    {"variable": "DOCKER_MONITORING", "what": "the collection of figures of containers"},
    {"variable": "STORE_MONITORING", "what": "the collection of figures of nodes"},
    {"variable": "ENABLE_OPCUA", "what": "OPC-UA"},
    {"variable": "ENABLE_ETHERIP", "what": "EtherNet/IP"},
    {"variable": "ENABLE_AUTH", "what": "authentication"},
    {"variable": "ENABLE_MCP", "what": "MCP"},
    {"variable": "ENABLE_VIDEO_STREAMING", "what": "video"}]>
for loop start where list = !parts
    part_variable = !parts.variable[+]
    set part_value = !environment[!part_variable]
    part_name = !parts.what[+]
    if !part_value and !part_value != false then print !part_variable + ": not in this build, left out: " + !part_name
for loop end
environment = ""
parts = ""

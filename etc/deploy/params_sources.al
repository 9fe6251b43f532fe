# Where readings come from, beside REST and other nodes.

# --- One subscription to a message broker: this node's own unless another one is named.
set enable_mqtt = false
if $ENABLE_MQTT == true then set enable_mqtt = true
set mqtt_broker = local
set mqtt_port = 1883
set mqtt_user = unused
set mqtt_passwd = unused
set msg_log = false
if $MQTT_BROKER then set mqtt_broker = $MQTT_BROKER
if $MQTT_PORT then set mqtt_port = $MQTT_PORT
if $MQTT_USER then set mqtt_user = $MQTT_USER
if $MQTT_PASSWD then set mqtt_passwd = $MQTT_PASSWD
if $MQTT_LOG == true then set msg_log = true

set msg_topic = "#"
set msg_dbms = "bring [dbms]"
set msg_table = "bring [table]"
set msg_timestamp_column = "bring [timestamp]"
set msg_value_column = "bring [value]"
set msg_value_column_type = float
if $MSG_TOPIC then set msg_topic = $MSG_TOPIC
if $MSG_DBMS then set msg_dbms = $MSG_DBMS
if $MSG_TABLE then set msg_table = $MSG_TABLE
if $MSG_TIMESTAMP_COLUMN then set msg_timestamp_column = $MSG_TIMESTAMP_COLUMN
if $MSG_VALUE_COLUMN then set msg_value_column = $MSG_VALUE_COLUMN
if $MSG_VALUE_COLUMN_TYPE then set msg_value_column_type = $MSG_VALUE_COLUMN_TYPE

# --- Count, minimum, maximum and average of a column of what passes.
set enable_aggregations = false
if $ENABLE_AGGREGATIONS == true then set enable_aggregations = true
set aggregations_dbms = !default_dbms
set aggregations_table = *
set aggregations_intervals = 10
aggregations_time = 1 minute
set aggregation_time_column = insert_timestamp
set aggregation_value_column = value
if $AGGREGATIONS_DBMS then set aggregations_dbms = $AGGREGATIONS_DBMS
if $AGGREGATIONS_TABLE then set aggregations_table = $AGGREGATIONS_TABLE
if $AGGREGATIONS_INTERVALS then set aggregations_intervals = $AGGREGATIONS_INTERVALS
if $AGGREGATIONS_TIME then set aggregations_time = $AGGREGATIONS_TIME
if $AGGREGATION_TIME_COLUMN then set aggregation_time_column = $AGGREGATION_TIME_COLUMN
if $AGGREGATION_VALUE_COLUMN then set aggregation_value_column = $AGGREGATION_VALUE_COLUMN

# --- Kept for scripts of one's own, see optional_parts.al.
set node_monitoring = false
if $NODE_MONITORING == true then set node_monitoring = true
set syslog_monitoring = false
if $SYSLOG_MONITORING == true then set syslog_monitoring = true
set docker_monitoring = false
if $DOCKER_MONITORING == true then set docker_monitoring = true
set store_monitoring = false
if $STORE_MONITORING == true then set store_monitoring = true
set enable_opcua = false
if $ENABLE_OPCUA == true then set enable_opcua = true
set enable_etherip = false
if $ENABLE_ETHERIP == true then set enable_etherip = true
set enable_auth = false
if $ENABLE_AUTH == true then set enable_auth = true
set enable_mcp = false
if $ENABLE_MCP == true then set enable_mcp = true
set enable_video_streaming = false
if $ENABLE_VIDEO_STREAMING == true then set enable_video_streaming = true
monitoring_frequency = 30 seconds
if $MONITORING_FREQUENCY then set monitoring_frequency = $MONITORING_FREQUENCY
if $STORE_MONITORING_DEST then set store_monitoring_dest = $STORE_MONITORING_DEST
if $VIEW_MONITORING_DEST then set view_monitoring_dest = $VIEW_MONITORING_DEST

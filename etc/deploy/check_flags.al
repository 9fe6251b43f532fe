# Variables that are true or false: anything else is a mistake that should not be guessed about.

environment = get env var where format = json
<flags = ["DISABLE_CLI", "DEPLOY_LOCAL_SCRIPT", "ENABLE_TRACEBACK", "TCP_BIND", "REST_BIND", "BROKER_BIND", "ENABLE_DNS",
    "IS_HIDDEN", "AUTOCOMMIT", "SYSTEM_QUERY", "MEMORY", "BLOBS_STORAGE", "BLOBS_FOLDER", "BLOBS_COMPRESS",
    "BLOBS_REUSE", "IS_MAIN", "ENABLE_PARTITIONS", "ENABLE_HA", "CREATE_TABLE", "UPDATE_TSD_INFO", "ARCHIVE",
    "ARCHIVE_SQL", "COMPRESS_FILE", "COMPRESS_SQL", "WRITE_IMMEDIATE", "ENABLE_MQTT", "MQTT_LOG", "NODE_MONITORING",
    "SYSLOG_MONITORING", "DOCKER_MONITORING", "STORE_MONITORING", "ENABLE_OPCUA", "ENABLE_ETHERIP",
    "ENABLE_AGGREGATIONS", "ENABLE_AUTH", "ENABLE_MCP", "ENABLE_VIDEO_STREAMING"]>

for loop start where list = !flags
    flag_name = !flags[+]
    set flag_value = !environment[!flag_name]
    if !flag_value and !flag_value != true and !flag_value != false then goto odd
for loop end
environment = ""
end script

:odd:
environment = ""
raise error !flag_name "is" !flag_value "and should be true or false"

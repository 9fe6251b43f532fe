# What operators and publishers do.

cluster_name = !company_name.name + "-cluster-" + !hostname
if $CLUSTER_NAME then set cluster_name = $CLUSTER_NAME
if $MEMBER then set member = $MEMBER
if $IS_MAIN == true then set is_main = true
if $IS_MAIN == false then set is_main = false

# --- Copies for the other operators of the cluster. A bare number is so many days.
set enable_ha = false
if $ENABLE_HA == true then set enable_ha = true
set start_date = -30d
if $START_DATE then set start_date = $START_DATE
set start_days = !start_date.int
if !start_days and !start_days > 0 then start_date = "-" + !start_days + "d"

set create_table = true
set update_tsd_info = true
set archive = true
set archive_sql = false
set compress_file = true
set compress_sql = true
set operator_threads = 1
set archive_delete = 30
if $CREATE_TABLE == false then set create_table = false
if $UPDATE_TSD_INFO == false then set update_tsd_info = false
if $ARCHIVE == false then set archive = false
if $ARCHIVE_SQL == true then set archive_sql = true
if $COMPRESS_FILE == false then set compress_file = false
if $COMPRESS_SQL == false then set compress_sql = false
if $OPERATOR_THREADS then set operator_threads = $OPERATOR_THREADS
if $ARCHIVE_DELETE then set archive_delete = $ARCHIVE_DELETE

# --- When a run of readings becomes a file, and whether rows are loaded before.
threshold_time = 60 seconds
set threshold_volume = 10KB
set write_immediate = true
if $THRESHOLD_TIME then set threshold_time = $THRESHOLD_TIME
if $THRESHOLD_VOLUME then set threshold_volume = $THRESHOLD_VOLUME
if $WRITE_IMMEDIATE == false then set write_immediate = false

# --- Which parts of the name of a file are database and table.
set dbms_file_location = file_name[0]
set table_file_location = file_name[1]
if $DBMS_FILE_LOCATION then set dbms_file_location = $DBMS_FILE_LOCATION
if $TABLE_FILE_LOCATION then set table_file_location = $TABLE_FILE_LOCATION

set query_pool = 6
if $QUERY_POOL then set query_pool = $QUERY_POOL

# --- Kept for scripts of one's own, see optional_parts.al.
set enable_partitions = true
if $ENABLE_PARTITIONS == false then set enable_partitions = false
set table_name = *
set partition_column = insert_timestamp
partition_interval = 14 days
set partition_keep = 3
partition_sync = 1 day
if $TABLE_NAME then set table_name = $TABLE_NAME
if $PARTITION_COLUMN then set partition_column = $PARTITION_COLUMN
if $PARTITION_INTERVAL then set partition_interval = $PARTITION_INTERVAL
if $PARTITION_KEEP then set partition_keep = $PARTITION_KEEP
if $PARTITION_SYNC then set partition_sync = $PARTITION_SYNC

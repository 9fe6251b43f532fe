# Databases, and how the copy of the ledger is kept up.

set db_type = sqlite
if $DB_TYPE then set db_type = $DB_TYPE
if !db_type == psql then print "DB_TYPE: PostgreSQL (psql) is not in this build: the databases of this node are SQLite"
do set db_type = sqlite
if !db_type != sqlite then raise error "DB_TYPE is" !db_type "and should be sqlite or psql"
if $DB_USER then set db_user = $DB_USER
if $DB_PASSWD then set db_passwd = $DB_PASSWD
if $DB_IP then set db_ip = $DB_IP
if $DB_PORT then set db_port = $DB_PORT
set autocommit = true
if $AUTOCOMMIT == false then set autocommit = false

set default_dbms = !company_name.name
if $DEFAULT_DBMS then set default_dbms = $DEFAULT_DBMS

# --- Where answers of the network are put together.
set system_query = false
if !policy_type == query then set system_query = true
if $SYSTEM_QUERY == true then set system_query = true
if $SYSTEM_QUERY == false then set system_query = false
set system_query_db = sqlite
if $SYSTEM_QUERY_DB then set system_query_db = $SYSTEM_QUERY_DB
if !system_query_db == psql then print "SYSTEM_QUERY_DB: PostgreSQL (psql) is not in this build: it is SQLite"
do set system_query_db = sqlite
if !system_query_db != sqlite then raise error "SYSTEM_QUERY_DB is" !system_query_db "and should be sqlite or psql"
set memory = true
if $MEMORY == false then set memory = false

# --- The ledger.
blockchain_sync = 30 seconds
if $BLOCKCHAIN_SYNC then set blockchain_sync = $BLOCKCHAIN_SYNC
set blockchain_source = master
if $BLOCKCHAIN_SOURCE then set blockchain_source = $BLOCKCHAIN_SOURCE
if !blockchain_source != master then print "BLOCKCHAIN_SOURCE: platforms such as" !blockchain_source "are not in this build: the ledger is that of the master at" !ledger_conn
do set blockchain_source = master
set blockchain_destination = file
if $DESTINATION then set blockchain_destination = $DESTINATION
if $PROVIDER then set provider = $PROVIDER
if $CHAIN_ID then set chain_id = $CHAIN_ID
if $CONTRACT then set contract = $CONTRACT
if $BLOCKCHAIN_PUBLIC_KEY then set blockchain_public_key = $BLOCKCHAIN_PUBLIC_KEY
if $BLOCKCHAIN_PRIVATE_KEY then set blockchain_private_key = $BLOCKCHAIN_PRIVATE_KEY

# --- Images and other large values: kept for scripts of one's own, see optional_parts.al.
set blobs_storage = false
if $BLOBS_STORAGE == true then set blobs_storage = true
if $NOSQL_TYPE then set nosql_type = $NOSQL_TYPE
set blobs_folder = true
if $BLOBS_FOLDER == false then set blobs_folder = false
set blobs_compress = true
if $BLOBS_COMPRESS == false then set blobs_compress = false
set blobs_reuse = true
if $BLOBS_REUSE == false then set blobs_reuse = false
if $BLOB_STORAGE_TYPE then set blob_storage_type = $BLOB_STORAGE_TYPE
if $BLOB_STORAGE_IP then set blob_storage_ip = $BLOB_STORAGE_IP
if $BLOB_STORAGE_PORT then set blob_storage_port = $BLOB_STORAGE_PORT
if $BLOB_STORAGE_USER then set blob_storage_user = $BLOB_STORAGE_USER
if $BLOB_STORAGE_PASSWORD then set blob_storage_password = $BLOB_STORAGE_PASSWORD
if $BUCKET_GROUP then set bucket_group = $BUCKET_GROUP
if $BUCKET_ID then set bucket_id = $BUCKET_ID
if $BUCKET_ACCESS_KEY then set bucket_access_key = $BUCKET_ACCESS_KEY
if $BUCKET_SECRETE_KEY then set bucket_secrete_key = $BUCKET_SECRETE_KEY
if $BUCKET_REGION then set bucket_region = $BUCKET_REGION

# Who the node is.

if not $NODE_TYPE then raise error "NODE_TYPE is missing: generic, master, operator, query, publisher, master-operator or master-publisher"
set node_type = $NODE_TYPE
set node_type = !node_type.name

# The type of its policy, and whether it holds the ledger.
set policy_type = !node_type
set master_configs = false
if !node_type == master or !node_type == master-operator or !node_type == master-publisher then set master_configs = true
if !node_type == master-operator then set policy_type = operator
if !node_type == master-publisher then set policy_type = publisher

<if !policy_type != generic and !policy_type != master and !policy_type != operator and
    !policy_type != query and !policy_type != publisher then
    raise error "NODE_TYPE is" !node_type "and should be generic, master, operator, query, publisher, master-operator or master-publisher">

hostname = get hostname
if $COMPANY_NAME then set company_name = $COMPANY_NAME
else company_name = New Company
if $NODE_NAME then set node_name = $NODE_NAME
else if not !node_name then node_name = !hostname + " " + !node_type
if $LICENSE_KEY then set license_key = $LICENSE_KEY

# --- Where it keeps its files, and where scripts lie.
if $EDGELAKE_PATH then set anylog_path = $EDGELAKE_PATH
if $ANYLOG_PATH then set anylog_path = $ANYLOG_PATH
if $EDGELAKE_PATH or $ANYLOG_PATH then process move_home.al
if $LOCAL_SCRIPTS then set local_scripts = $LOCAL_SCRIPTS
if $TEST_DIR then set test_dir = $TEST_DIR

# --- Where it stands, if that is told: nobody is asked.
if $LOCATION then set loc = $LOCATION
if $COUNTRY then set country = $COUNTRY
if $STATE then set state = $STATE
if $CITY then set city = $CITY
if $BRANCH then set branch = $BRANCH
if $DEPT then set dept = $DEPT

set deploy_local_script = false
if $DEPLOY_LOCAL_SCRIPT == true then set deploy_local_script = true
set disable_cli = false
if $DISABLE_CLI == true then set disable_cli = true
set is_hidden = false
if $IS_HIDDEN == true then set is_hidden = true
if !is_hidden == true and !policy_type == operator then print "IS_HIDDEN: an operator cannot be hidden, its policy is published"
do set is_hidden = false

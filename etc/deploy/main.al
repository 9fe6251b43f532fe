# A node from environment variables: what it is, where it listens and whom it knows stands in a file of them.
#
#     anylog run --home anylog-operator --env operator.env process etc/deploy/main.al
#
# docs/deploy.rst lists the variables, examples/ has the files of a network of five nodes. Each variable becomes a key of
# the dictionary, which the scripts beside this one read, and one of your own (DEPLOY_LOCAL_SCRIPT), too. The script may
# run again on the same home, and in the same node: policies that are known stay as they are.

if $TRACE_LEVEL and $TRACE_LEVEL != 0 then set debug on
if $ENABLE_TRACEBACK == true then set exception traceback on
do set error traceback on

# --- 1. Parameters.
process check_flags.al
process params_node.al
process params_network.al
process params_databases.al
process params_roles.al
process params_sources.al

# --- 2. Directories.
create work directories

# --- 3. to 7. The doors, the databases, the ledger, the policies of this node, its processes: by its config policy.
process config_policy.al

# --- 8. What else was asked for, at last by the owner of the node.
process optional_parts.al
if !deploy_local_script == true then process !local_scripts/local_script.al

# --- 9. What runs now. Consoles are closed at the very end, so that what went wrong before can be looked at.
get processes
if !disable_cli == true then set cli off

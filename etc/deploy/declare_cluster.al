# The cluster of an operator: a name under which operators keep the same data. An operator stays in the one it joined.

joined_id = blockchain get operator where name = !node_name and company = !company_name bring.first [*][cluster]
if not !joined_id then goto look
cluster_id = !joined_id
joined_name = blockchain get cluster where id = !joined_id bring.first [*][name]
<if !joined_name and !joined_name != !cluster_name then
    raise error "the operator" !node_name "is in the cluster" !joined_name "and CLUSTER_NAME is" !cluster_name>
end script

:look:
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]
if !cluster_id then end script

new_policy = ""
set policy new_policy [cluster] = {} and [cluster][name] = !cluster_name and [cluster][company] = !company_name
process declare_or_wait.al
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]
if !cluster_id then end script

# Nobody else has declared it: say why it is refused.
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn
cluster_id = blockchain get cluster where name = !cluster_name and company = !company_name bring.first [*][id]

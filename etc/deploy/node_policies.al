# What the network is told of this node. Policies that are known already stay as they are.

operator_id = ""
if !master_configs == true then process declare_node.al master
if !policy_type == operator then process declare_cluster.al
if !policy_type != master then process declare_node.al !policy_type
if !policy_type == operator then operator_id = blockchain get operator where name = !node_name and company = !company_name bring.first [*][id]

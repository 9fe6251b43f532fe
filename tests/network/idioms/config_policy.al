# A policy whose script is run on the node that reads it: its references stay as they are written until then.

set policy new_config [config] = {}
set policy new_config [config][name] = !config_name
set policy new_config [config][company] = !company_name
set policy new_config [config][ip] = '!external_ip'
set policy new_config [config][port] = '!anylog_server_port.int'
set policy new_config [config][threads] = !threads.int
set policy new_config [config][script] = []
<set policy new_config [config][script] + "set node name !node_name" and
    [config][script] + 'process !local_scripts/settings.al' and
    [config][script] + 'if !enable_sync == true then run blockchain sync'>
on error ignore
set policy new_config [config][unfinished]
on error goto failed
blockchain insert where policy = !new_config and local = true
steps = from !new_config bring.json [config][script]
for loop start where list = !new_config[config][script]
print !new_config[config][script][+]
for loop end
end script

:failed:
print the policy was refused

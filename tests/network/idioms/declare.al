# Declares the device of this node unless it is known, then looks again: it goes on only when the policy is there.

on error goto failed
create_policy = false

:check:
device_id = blockchain get device where name = !device_name bring.first [*][id]
if !device_id then goto known
if !create_policy == true then goto not-declared

:declare:
<new_policy = create policy device where
    name = !device_name and
    port = !device_port.int and
    company = !company_name>
if not !new_policy then goto failed
blockchain insert where policy = !new_policy and local = true
create_policy = true
goto check

:known:
print device !device_name is known
if !create_policy == true then print it was declared here
end script

:not-declared:
print "device" !device_name "was not declared"
exit scripts

:failed:
echo the device could not be declared
exit scripts

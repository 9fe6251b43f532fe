# What a script ran into is handed back in a key, so that who called it decides.

error_code = 0
process check_ports.al !first_port !last_port
if !error_code.int == 1 then
do print ports are the wrong way round
do goto ports
else if !error_code.int == 2 then goto too-many
else print ports are good
do print never
goto databases

:too-many:
print too many ports

:ports:
print first phase: !error_code

:databases:
on error ignore
process nothere.al
process failing.al
print end
end script

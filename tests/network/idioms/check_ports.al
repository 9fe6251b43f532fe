variables (from_port, to_port)
on error goto wrong
if !from_port.int > !to_port.int then error_code = 1
do end script
span = python !to_port.int - !from_port.int
if !span > 100 then error_code = 2
end script

:wrong:
error_code = 9
end script

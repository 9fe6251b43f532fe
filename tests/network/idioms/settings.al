# From the environment to the dictionary, with what was meant by true in all its spellings.

on error ignore
node_name = north
enable_sync = false
threads = 3

if $NODE_NAME then node_name = $NODE_NAME
if $ENABLE_SYNC == true or $ENABLE_SYNC == True or $ENABLE_SYNC == TRUE then enable_sync = true
if $THREADS and $THREADS.int > 0 then threads = $THREADS
if not $COMPANY_NAME then goto missing-company
set company_name = $COMPANY_NAME
default_dbms = !company_name.name
if $DBMS_NAME then set default_dbms = $DBMS_NAME

if !enable_sync == true and (!threads == 1 or !threads.int > 5) then
do print sync with !threads threads
else if !enable_sync == true then print sync
else print no sync

if $LOCATION then
do loc = $LOCATION
do if !loc contains , then print location is a pair: !loc
do else print location is a name: !loc
else loc = 0.0, 0.0
!loc
end script

:missing-company:
print "Missing": COMPANY_NAME
exit scripts

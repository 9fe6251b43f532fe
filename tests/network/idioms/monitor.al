# Gathers what is to be known of this node every so often, and sends it to the one that watches.

variables (watcher, pause)
count = 0

:again:
report[node] = !node_name
count = incr !count
report[count] = !count
report[threads] = !threads.int
on error ignore
run client (!watcher) echo report !report
on error goto again
wait !pause
if !count.int < 1000 then goto again

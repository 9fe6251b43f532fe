# Another operator may declare the same cluster at this moment: then that one counts, and is here soon.

on error goto wait
blockchain insert where policy = !new_policy and local = true and master = !ledger_conn
end script

:wait:
on error ignore
run blockchain sync
wait 15 for sync

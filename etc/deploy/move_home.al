# The work directories are elsewhere: the copy of the ledger that lies there is the one to go on with.

set anylog home !anylog_path
create work directories
on error ignore
blockchain reload metadata

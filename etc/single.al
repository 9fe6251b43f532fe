# One node by itself: what `make run` starts, with comments and with what one may want to add.
#
#     anylog run --home anylog-data process etc/single.al
#
# Lines are commands; '#' starts a comment. 'help' lists the commands, 'help run rest server' explains one.

# The directories below the home; those that exist stay as they are.
create work directories

# Readings are kept in a file of SQLite named 'town'. A sender names the database and the table; the table
# and its columns are made from the first readings.
connect dbms town where type = sqlite

# Takes readings from memory's doorstep to the tables. They are safe on disk before a sender hears "yes".
run streamer

# HTTP for senders and for those who ask, on every interface of this machine. 'bind = true' would listen on
# internal_ip alone.
run rest server where internal_ip = 127.0.0.1 and internal_port = 32149 and bind = false

# A console for a person on this machine: telnet 127.0.0.1 7852
# run telnet server where internal_ip = 127.0.0.1 and internal_port = 7852

# The ledger of a master; the list of files of an operator or publisher; the readings; a place to put answers together.

if !master_configs == true then connect dbms blockchain where type = !db_type and autocommit = !autocommit
do create table ledger where dbms = blockchain

if !policy_type == operator or !policy_type == publisher then connect dbms almgm where type = !db_type and autocommit = !autocommit
do create table tsd_info where dbms = almgm

if !policy_type == operator then connect dbms !default_dbms where type = !db_type and autocommit = !autocommit

if !system_query == true then connect dbms system_query where type = !system_query_db and memory = !memory

"""The southbounds that come with the package, shown by the same door as a stranger's."""

from anylog.plugins import Southbound

kafka = Southbound("kafka", "anylog.network.southbound.kafka")
syslog = Southbound("syslog", "anylog.network.southbound.syslog")

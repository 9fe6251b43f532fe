"""`anylog cli`: a person at the `AL >` prompt, over the REST door of a node."""

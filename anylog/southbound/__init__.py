"""What joins southbound plug-ins to a node: their commands, and the doors they are given."""

"""Ways for readings to come in that are plug-ins (architecture.md 6): each module has an object `plugin`."""

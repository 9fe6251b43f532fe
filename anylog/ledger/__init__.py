"""What the nodes of a network know of each other and of their data: policies, and where they come from."""

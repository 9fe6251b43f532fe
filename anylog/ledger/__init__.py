"""What the network agreed on: policies, the local copy of them, and what follows from them."""

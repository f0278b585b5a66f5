"""What runs in the peers' own environments: it needs msgspec, uvloop and the peer, and nothing of ours but its load."""

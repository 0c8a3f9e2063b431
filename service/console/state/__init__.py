"""State: what the service says of itself."""

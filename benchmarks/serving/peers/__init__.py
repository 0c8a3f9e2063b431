"""Peers: the same ranking by other servers. Each file runs in an environment of its own, without Fulcrum."""

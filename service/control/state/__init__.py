"""Desired state: a document in a file or in Redis, which all workers follow."""

"""What a ranking call costs, against the bare network and other servers: `python -m benchmarks.serving`."""

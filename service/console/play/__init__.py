"""Play: what other weights would change, while they are changed."""

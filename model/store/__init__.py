"""Store: encoded users and items at rest, packed into files or Redis."""

"""Publishing: encoded users and items into a feature store."""

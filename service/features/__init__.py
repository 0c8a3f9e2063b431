"""The feature stores: where encoded users and items come from."""

"""Ranking: the life of a request. `ranker` reads like it, top to bottom."""

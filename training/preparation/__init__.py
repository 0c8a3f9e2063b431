"""Preparation: a log and its tables to rows that can be trained on, and to users and items."""

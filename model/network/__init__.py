"""The networks that learn all tasks at once.

`config` needs no torch and is safe to import anywhere; every other module here does need it.
"""

"""The console: pages for people who change the fusion of a service. Knows it by its HTTP contract alone.

A process of its own: it ranks nothing, slows no ranking, and may do what a token may do over HTTP.
"""

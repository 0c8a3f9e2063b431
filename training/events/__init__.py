"""Events: the log of what was shown and what came of it, joined to rows, checked, sealed and forgotten.

Reads what the service wrote (`model.events`). Knows neither how the rows are trained on nor the terminal.
"""

"""Pictures: what the report shows, each with a caption that says how to read it and a table of its numbers.

From `report.json` to SVG, one kind a module. Knows neither runs nor how a page is put together.
"""

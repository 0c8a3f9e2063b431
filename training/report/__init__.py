"""The report: networks trained over seeds at matched budgets, and what may be said of their differences."""

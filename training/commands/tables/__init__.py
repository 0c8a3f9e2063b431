"""Tables: reports as people read them on a terminal. Know the reports' keys alone."""

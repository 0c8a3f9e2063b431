"""HTTP: the application, its routes, and everything around them. Decides nothing about ranking."""

"""Formulas: how predictions and a length become one score. A formula a module: its settings and its terms."""

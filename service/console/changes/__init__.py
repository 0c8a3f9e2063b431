"""Changes: what is proposed, activated and rolled back, and what was."""

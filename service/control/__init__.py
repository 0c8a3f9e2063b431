"""What is active right now: the fusion config in force. Knows no HTTP."""

"""A caller of the service. Knows only the HTTP contract, and prints nothing."""

from model.client.connection import ask, connections, refusal, send_feedback, shown_address

__all__ = ["ask", "connections", "refusal", "send_feedback", "shown_address"]

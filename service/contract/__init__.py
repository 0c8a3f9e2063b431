"""The contract: what requests may hold, what answers hold, what can go wrong. No framework in here."""

"""Pseudonyms: ids of users as a log keeps them where nobody shall read who they are."""

from __future__ import annotations

import hashlib
import hmac


def pseudonym(user: str, key: str) -> str:
    """The id of a user under a secret key: 32 hexadecimal digits, the first half of its HMAC-SHA256."""
    message = user.encode("utf-8", "surrogatepass")
    return hmac.new(key.encode("utf-8", "surrogatepass"), message, hashlib.sha256).hexdigest()[:32]

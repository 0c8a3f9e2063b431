"""Routes: from a request to what answers it, and back."""

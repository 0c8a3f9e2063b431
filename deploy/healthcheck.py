"""Health of a container of the service: exit status 0 where /readyz says ready, else 1 and why.

Knows the port alone. No proxy of the environment comes in between, as it may with urllib.
"""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT_S = 2.0


def main() -> int:
    """Ask once."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ.get("FULCRUM_PORT", "8000")), timeout=_TIMEOUT_S
    )
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = answer.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{answer.status} {said}\n")
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())

"""Bodies: what routes that read JSON share. Knows no JSON."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.contract.errors import MediaTypeError

JSON = b"application/json"


async def whole_body(receive: Receive) -> bytes:
    """A request's body; `service.http.edge` bounds its size and its time.

    Raises:
        ClientDisconnect: the caller left before it was whole.
    """
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def refuse_other_than_json(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """A body without a media type is taken for JSON; one that claims to be something else is not.

    Raises:
        MediaTypeError: it is of another media type.
    """
    given = next((value for name, value in headers if name == b"content-type"), JSON)
    if given == JSON:
        return
    media_type = given.decode("latin-1").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise MediaTypeError(
            f"send the header `content-type: application/json` (found {media_type or 'nothing'}), or none"
        )

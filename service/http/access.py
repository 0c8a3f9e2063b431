"""Access: who asks, by the bearer token of a request."""

from __future__ import annotations

from fastapi import Request

from service.contract.errors import ForbiddenError, UnauthorizedError
from service.control.actors import ANYBODY, Actor, Actors, Scope

_SEND = "send a token as `Authorization: Bearer TOKEN`"


def actor_of(request: Request, actors: Actors) -> Actor:
    """Who asks; anybody where there is no token.

    Raises:
        UnauthorizedError: the token is nobody's.
    """
    given = request.headers.get("authorization")
    if given is None:
        return ANYBODY
    scheme, _, token = given.partition(" ")
    actor = actors.of(token.strip()) if scheme.lower() == "bearer" else None
    if actor is None:
        raise UnauthorizedError(f"the token is nobody's, or no longer; {_SEND}")
    return actor


def actor_with(request: Request, actors: Actors, scope: Scope) -> Actor:
    """Who asks, if they may do this.

    Raises:
        UnauthorizedError: there is no token, or it is nobody's.
        ForbiddenError: nobody may change anything here, or this actor may not do this.
    """
    if not actors.known:
        raise ForbiddenError(
            "nobody may do this here: set FULCRUM_ADMIN_TOKEN or FULCRUM_TOKENS, and send a bearer token"
        )
    actor = actor_of(request, actors)
    if actor.name is None:
        raise UnauthorizedError(f"this needs a token with the scope {scope}; {_SEND}")
    if not actor.may(scope):
        has = ", ".join(sorted(actor.scopes))
        raise ForbiddenError(f"this needs the scope {scope}; {actor.name} has {has}")
    return actor

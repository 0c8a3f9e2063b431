"""`fulcrum publish`: users and items into a feature store."""

from __future__ import annotations

from typing import Annotated

import typer

from model.terminal import BundlePath, Data, answer, extra
from training.commands.rendering import Rendered


def publish(
    bundle: BundlePath,
    to: Annotated[str, typer.Option("--to", help="The feature store: a folder, or redis://...")],
    data: Data = None,
) -> None:
    """Encode all users and items of a data set into a feature store, atomically."""
    with extra("training"):
        from training.publishing.publish import publish as publish_rows
    from model.bundle import load_bundle
    from model.redis_url import folder_or_redis

    with Rendered() as observer:
        published = publish_rows(load_bundle(bundle), data, to, observer)
    answer.print(
        f"published {published.users:,} users and {published.items:,} items to {folder_or_redis(to)}",
        soft_wrap=True,
    )

"""What the service's tests use, for behaviour that no single module has."""

from __future__ import annotations

from tests.service.conftest import fusion_config, redis_process, redis_server, serve, served, world

__all__ = ["fusion_config", "redis_process", "redis_server", "serve", "served", "world"]

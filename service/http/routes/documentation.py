"""The interactive documentation: a page that needs no other host, and works behind any prefix of paths.

All it names is relative to its own address, so it needs no word of the proxy in front. Knows no contract.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse

from service.contract.errors import NotFoundError

router = APIRouter(include_in_schema=False)

_FOLDER = Path(str(files("fastapi_offline"))) / "static"
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/docs")
async def docs() -> Response:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Fulcrum",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """What the page is made of."""
    if name not in _MEDIA_TYPES:
        raise NotFoundError(f"the documentation has no {name}; see /docs")
    return FileResponse(_FOLDER / name, media_type=_MEDIA_TYPES[name])

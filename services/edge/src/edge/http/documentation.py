"""The page that shows the OpenAPI document, with its scripts served from here: it works where there is no way out."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline

from edge.http.surface.security_headers import page_policy

_FILES = "/static-offline-docs"


def create_fastapi(title: str, version: str, description: str, *, has_docs: bool) -> FastAPI:
    """Return an application without endpoints, with `/docs` and `/openapi.json` or without them."""
    about: dict[str, Any] = {"title": title, "version": version, "description": description}
    if not has_docs:
        return FastAPI(**about, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app = FastAPIOffline(**about, docs_url=None, redoc_url=None, redirect_slashes=False, static_url=_FILES)
    written = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{title} - Swagger UI",
        swagger_js_url=f"{_FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{_FILES}/swagger-ui.css",
        swagger_favicon_url=f"{_FILES}/favicon.png",
    )
    html = bytes(written.body).decode()
    policy = page_policy(html)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(html, headers=policy)

    return app

"""The application factory. Importing this module builds nothing and never imports torch."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from threading import Thread

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from geoanomaly import __version__
from geoanomaly.access.store import KeyStore
from geoanomaly.budget import set_limits
from geoanomaly.jobs import JobStore
from geoanomaly.logs import configure
from geoanomaly.sandbox.supervisor import sandbox
from geoanomaly.settings import Settings
from web.access import Guard
from web.assets import STATIC
from web.headers import SecurityHeaders
from web.problems import add_problem_handlers
from web.routes import (
    areas,
    events,
    exports,
    jobs,
    judgements,
    landing,
    metrics,
    pages,
    processes,
    results,
    scenes,
    session,
)
from web.routes.tiles import tiles_router
from web.service import Check, Ring, Service, check_spec, ring_worker

DESCRIPTION = """Anomaly and change heatmaps from satellite and drone rasters.

Shaped by OGC API - Processes 1.0. Errors are problem documents (RFC 7807); `field`
names the input at fault."""


def create_app(
    settings: Settings | None = None, *, check: Check = check_spec, ring: Ring = ring_worker
) -> FastAPI:
    """The service as an ASGI application; `settings` default to the environment."""
    chosen = settings or Settings()
    set_limits(chosen)
    if settings is None:
        # A process of its own; tests and other applications log as they like.
        configure(chosen)
    store = JobStore(chosen.database)
    keys = KeyStore(store.database)
    service = Service(chosen, store, check, ring, keys)
    app = FastAPI(
        title="geoanomaly", version=__version__, description=DESCRIPTION, lifespan=_lifespan,
        # FastAPI's own pages load scripts from the internet.
        openapi_url=None, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.service = service
    # The last one added is the outermost.
    app.add_middleware(Guard, settings=chosen, keys=keys)
    app.add_middleware(SecurityHeaders)
    add_problem_handlers(app)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    for module in (
        landing, session, metrics, processes, jobs, events, scenes, areas, pages, results,
        judgements, exports,
    ):  # fmt: skip
        app.include_router(module.router)
    app.include_router(tiles_router())
    app.add_api_route("/api", _openapi, name="openapi", include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _openapi(request: Request) -> JSONResponse:
    media = "application/vnd.oai.openapi+json;version=3.0"
    return JSONResponse(request.app.openapi(), media_type=media)


def _prepare() -> None:
    """Beside the first requests."""
    # What the first result would wait for: it imports pandas too, most of a second.
    import_module("pyogrio")
    # Modules stay as long as the process does: the collector need not go through half a million
    # objects of theirs again and again, while all requests wait.
    gc.freeze()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = app.state.service.settings
    # What the first upload would wait for: seconds of imports, in another process.
    sandbox(settings).start()
    Thread(target=_prepare, daemon=True).start()
    yield
    app.state.service.store.close()

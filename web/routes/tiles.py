"""`/jobs/{id}/tiles/{layer}/...`: titiler, on the files of a job and nothing else."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import morecantile
import numpy as np
import rasterio
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from morecantile.defaults import TileMatrixSets
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from titiler.core.dependencies import (
    BidxParams,
    ColorMapParams,
    DefaultDependency,
    ImageRenderingParams,
)
from titiler.core.factory import TilerFactory
from titiler.core.resources.enums import ImageType
from titiler.core.utils import render_image
from titiler.extensions.wmts import wmtsExtension

from geoanomaly import __version__
from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.results.legend import LEVELS, coloured_png
from geoanomaly.results.legend import colormap as surprise_ramp
from web.layers import (
    PERCENTILES,
    Facts,
    Layer,
    Style,
    facts,
    layer_path,
    percentiles,
    styles,
)
from web.pictures import DEEPEST, SPECK
from web.routes.jobs import finished
from web.service import Parts

log = logging.getLogger(__name__)

_RESULTS = (Layer.HEATMAP, Layer.SURPRISE, Layer.MASK)
_LOOKS = {Layer.SURPRISE: ((0.0, 255 / LEVELS),)}
PREFIX = "/jobs/{job_id}/tiles/{layer}"
MAX_SIDE = 2048
KEEP = "private, max-age=600, must-revalidate"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
SURPRISE_RAMP = surprise_ramp()
MASK_COLOURS = {0: (0, 0, 0, 0), 1: (222, 45, 138, 190), 255: (0, 0, 0, 0)}


@dataclass(frozen=True)
class Source:
    """What a tile is cut from. style: of a scene; None for results, which have a fixed look."""

    path: str
    layer: Layer
    facts: Facts
    style: Style | None


def source(request: Request, parts: Parts, job_id: str, layer: Layer) -> Source:
    _check_sides(request.query_params)
    job = parts.store.get(job_id)
    if layer in _RESULTS:
        finished(job)
    path = layer_path(parts, job, layer)
    _check_fresh(request, path)
    style = next(iter(styles(job, layer, path)), None) if layer not in _RESULTS else None
    return Source(str(path), layer, facts(path), style)


Drawn = Annotated[Source, Depends(source)]


def _check_fresh(request: Request, path: Path) -> None:
    """Name this answer; NotModifiedError when the browser has it already."""
    found = path.stat()
    seed = (
        f"{__version__} {request.url.path}?{request.url.query} {found.st_mtime_ns} {found.st_size}"
    )
    request.state.etag = f'"{hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()}"'
    if request.state.etag in request.headers.get("if-none-match", ""):
        raise NotModifiedError


class NotModifiedError(Exception):
    """The browser's copy is still good."""


UNUSABLE = (ArithmeticError, IndexError, TypeError, ValueError, CPLE_BaseError)
"""What titiler, numpy and GDAL make of numbers that are no place, no size or no rank. titiler has
dozens of parameters, and checks few of them."""


class KeptRoute(APIRoute):
    """A route whose good answers a browser may keep, and asks for again by their ETag."""

    def get_route_handler(self) -> Handler:
        answer = super().get_route_handler()

        async def kept(request: Request) -> Response:
            try:
                response = await answer(request)
            except NotModifiedError:
                response = Response(status_code=304)
            except UNUSABLE as error:
                log.warning("Refused to draw %s: %r", request.url.path, error)
                raise ParameterError(
                    f"The numbers of this request cannot be used together ({error}).",
                    field="request",
                ) from error
            if tag := getattr(request.state, "etag", None):
                response.headers["ETag"] = tag
                response.headers["Cache-Control"] = KEEP
            return response

        return kept


def _check_sides(query: Mapping[str, str]) -> None:
    """titiler has no upper limit: one request could ask for a picture of any size, or for the
    tiles of a thousand zoom levels."""
    sides = ("tilesize", "width", "height", "max_size", "buffer", "padding")
    limits = dict.fromkeys(sides, MAX_SIDE) | {"minzoom": DEEPEST, "maxzoom": DEEPEST}
    for name, limit in limits.items():
        value = query.get(name, "")
        if value.removeprefix("-").isdecimal() and not 0 <= int(value) <= limit:
            raise ParameterError(f"{name} is {value}; it may be 0 to {limit}.", field=name)


def path(source: Drawn) -> str:
    """What titiler opens; it fails without a word on a raster that lies nowhere."""
    if not source.facts.placed:
        raise SceneError(
            f"The layer {source.layer.value!r} has no CRS, so it has no place on a map. "
            "preview.png beside this address shows it, /files has it whole.",
            field="layer",
        )
    return source.path


@dataclass(init=False)
class Bands(DefaultDependency):
    """`bidx` of the request, else the default bands of the layer. No band arithmetic."""

    indexes: list[int] | None

    def __init__(self, source: Drawn, asked: Annotated[BidxParams, Depends()]) -> None:
        default = list(source.style.bands) if source.style else [1]
        self.indexes = asked.indexes or default
        for index in self.indexes:
            if not 1 <= index <= source.facts.bands:
                raise ParameterError(
                    f"There is no band {index}; the layer has bands 1 to {source.facts.bands}.",
                    field="bidx",
                )


@dataclass(init=False)
class Rendering(DefaultDependency):
    """`rescale` of the request, else the fixed stretch of the layer."""

    rescale: Any
    color_formula: str | None
    add_mask: bool | None

    def __init__(
        self,
        source: Drawn,
        bands: Annotated[BidxParams, Depends()],
        asked: Annotated[ImageRenderingParams, Depends()],
    ) -> None:
        fixed = source.style.stretch if source.style else _LOOKS.get(source.layer)
        default = fixed if not bands.indexes else None
        self.rescale = asked.rescale or default
        self.color_formula, self.add_mask = asked.color_formula, asked.add_mask


def colours(source: Drawn, asked: Annotated[Any, Depends(ColorMapParams)]) -> Any:
    defaults = {Layer.HEATMAP: SURPRISE_RAMP, Layer.MASK: MASK_COLOURS}
    return asked or defaults.get(source.layer)


def no_algorithm() -> None:
    """titiler's terrain algorithms have no meaning here."""


def gdal_environment() -> dict[str, Any]:
    # Only the file itself is read: no sidecar, no listing of its folder for each tile.
    return {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}


def draw(image: Any, output_format: ImageType | None = None, **options: Any) -> tuple[bytes, str]:
    """titiler's drawing, with the lightest PNG compression: a third less time a tile."""
    chosen = output_format or ImageType.png
    stretched = options.get("rescale") or options.get("color_formula")
    masked = options.get("add_mask") is not False
    ramp = options.get("colormap") is SURPRISE_RAMP and masked and not stretched
    if chosen is ImageType.png and ramp:
        return coloured_png(image.array[0].filled(np.nan)), chosen.mediatype
    if chosen is ImageType.png:
        options["zlevel"] = 1
    if options.get("rescale") and image.array.dtype.kind == "f":
        # Masked pixels may be NaN, which has no level of grey.
        known = np.nan_to_num(image.array.data, posinf=0, neginf=0)
        image.array = np.ma.array(known, mask=image.array.mask)
    return render_image(image, output_format=chosen, **options)


class Careful(Reader):
    """Refuses tiles on which the raster would be a speck.

    Without overviews GDAL would warp the whole tile at the raster's own pixel size.
    """

    def tile(self, tile_x: int, tile_y: int, tile_z: int, *options: Any, **more: Any) -> ImageData:
        path = str(self.input)
        least = _least_zoom(path, Path(path).stat().st_mtime_ns)
        if tile_z < least - SPECK:
            raise TileOutsideBounds(
                f"At zoom {tile_z} the raster is a speck; ask from zoom {least} on."
            )
        return super().tile(tile_x, tile_y, tile_z, *options, **more)


@lru_cache(maxsize=1024)
def _least_zoom(path: str, _changed: int) -> int:
    """At which the raster fills a tile; it takes a tenth of a tile's time to find out."""
    with Reader(path) as reader:
        return int(reader.minzoom)


def preview(
    source: Drawn,
    bands: Annotated[Bands, Depends()],
    rendering: Annotated[Rendering, Depends()],
    colormap: Annotated[Any, Depends(colours)],
    max_size: Annotated[int, Query(ge=1, le=MAX_SIDE)] = 1024,
) -> Response:
    """The whole layer as one small picture, on its own grid; titiler's own needs a CRS."""
    with rasterio.Env(**gdal_environment()), Reader(source.path) as reader:
        image = reader.preview(max_size=max_size, **bands.as_dict())
    content, media = draw(image, colormap=colormap, **rendering.as_dict())
    return Response(content, media_type=media)


Bounds = Annotated[str, Query(description="minx,miny,maxx,maxy in the CRS of the heatmap.")]


def chip(
    source: Drawn,
    parts: Parts,
    job_id: str,
    bounds: Bounds,
    bands: Annotated[Bands, Depends()],
    rendering: Annotated[Rendering, Depends()],
    colormap: Annotated[Any, Depends(colours)],
    size: Annotated[int, Query(ge=16, le=512)] = 160,
) -> Response:
    """A small square picture of a place, alike for all layers: on the axes of the heatmap."""
    box = _box(bounds)
    heatmap = layer_path(parts, parts.store.get(job_id), Layer.HEATMAP)
    with (
        rasterio.Env(**gdal_environment()),
        rasterio.open(heatmap) as grid,
        Reader(source.path) as reader,
    ):
        if grid.crs and source.facts.placed:
            image = reader.part(
                box, dst_crs=grid.crs, bounds_crs=grid.crs, width=size, height=size,
                **bands.as_dict(),
            )  # fmt: skip
        else:
            window = Window(box[0], box[1], box[2] - box[0], box[3] - box[1])
            image = reader.read(window=window, width=size, height=size, **bands.as_dict())
    content, media = draw(image, colormap=colormap, **rendering.as_dict())
    return Response(content, media_type=media)


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        left, bottom, right, top = (float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError("bounds must be four numbers.", field="bounds") from None
    if not (isfinite(right - left) and isfinite(top - bottom) and left < right and bottom < top):
        raise ParameterError("bounds are empty.", field="bounds")
    return left, bottom, right, top


def ranges(source: Drawn, bands: Annotated[Bands, Depends()]) -> dict[str, Any]:
    """Percentiles of bands over the whole scene, to stretch them by."""
    found = percentiles(Path(source.path), bands.indexes or ())
    return {"percentiles": list(PERCENTILES), "bands": found}


def tiles_router() -> APIRouter:
    web_mercator = {"WebMercatorQuad": morecantile.tms.get("WebMercatorQuad")}
    factory = TilerFactory(
        router=APIRouter(route_class=KeptRoute),
        router_prefix=PREFIX,
        supported_tms=TileMatrixSets(web_mercator),
        reader=Careful,
        path_dependency=path,
        layer_dependency=Bands,
        render_dependency=Rendering,
        colormap_dependency=colours,
        process_dependency=no_algorithm,
        environment_dependency=gdal_environment,
        render_func=draw,
        add_preview=False,
        add_part=False,
        add_viewer=False,
        # The extension can only ask dependencies that need nothing but the query.
        extensions=[
            wmtsExtension(tile_dependencies=[BidxParams, ColorMapParams, ImageRenderingParams])
        ],
    )
    router = APIRouter(route_class=KeptRoute)
    router.add_api_route(f"{PREFIX}/preview.png", preview, response_class=Response, tags=["tiles"])
    router.add_api_route(f"{PREFIX}/chip.png", chip, response_class=Response, tags=["tiles"])
    router.add_api_route(f"{PREFIX}/ranges", ranges, tags=["tiles"])
    router.include_router(factory.router, prefix=PREFIX, tags=["tiles"])
    return router

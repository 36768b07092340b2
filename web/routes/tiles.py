"""`/jobs/{id}/tiles/{layer}/...`: titiler, on the files of a job and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import morecantile
import rasterio
from fastapi import APIRouter, Depends, Query, Request, Response
from morecantile.defaults import TileMatrixSets
from rio_tiler.io import Reader
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

from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.legend import colormap as surprise_ramp
from web.layers import Facts, Layer, Style, facts, layer_path, styles
from web.routes.jobs import finished
from web.service import Parts

_RESULTS = (Layer.HEATMAP, Layer.MASK)
PREFIX = "/jobs/{job_id}/tiles/{layer}"
MAX_SIDE = 2048
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
    style = next(iter(styles(job, layer, path)), None) if layer not in _RESULTS else None
    return Source(str(path), layer, facts(path), style)


Drawn = Annotated[Source, Depends(source)]


def _check_sides(query: Mapping[str, str]) -> None:
    """titiler has no upper limit: one request could ask for a picture of any size."""
    for name in ("tilesize", "width", "height", "max_size", "buffer", "padding"):
        value = query.get(name, "")
        if value.isdigit() and int(value) > MAX_SIDE:
            raise ParameterError(f"{name} is {value}; the limit is {MAX_SIDE}.", field=name)


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
        default = source.style.stretch if source.style and not bands.indexes else None
        self.rescale = asked.rescale or default
        self.color_formula, self.add_mask = asked.color_formula, asked.add_mask


def colours(source: Drawn, asked: Annotated[Any, Depends(ColorMapParams)]) -> Any:
    defaults = {Layer.HEATMAP: surprise_ramp(), Layer.MASK: MASK_COLOURS}
    return asked or defaults.get(source.layer)


def no_algorithm() -> None:
    """titiler's terrain algorithms have no meaning here."""


def gdal_environment() -> dict[str, Any]:
    # Only the file itself is read: no sidecar, no listing of its folder for each tile.
    return {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": 200}


def draw(image: Any, output_format: ImageType | None = None, **options: Any) -> tuple[bytes, str]:
    """titiler's drawing, with the lightest PNG compression: a third less time a tile."""
    chosen = output_format or ImageType.png
    if chosen is ImageType.png:
        options["zlevel"] = 1
    return render_image(image, output_format=chosen, **options)


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


def tiles_router() -> APIRouter:
    web_mercator = {"WebMercatorQuad": morecantile.tms.get("WebMercatorQuad")}
    factory = TilerFactory(
        router_prefix=PREFIX,
        supported_tms=TileMatrixSets(web_mercator),
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
    router = APIRouter()
    router.add_api_route(f"{PREFIX}/preview.png", preview, response_class=Response, tags=["tiles"])
    router.include_router(factory.router, prefix=PREFIX, tags=["tiles"])
    return router

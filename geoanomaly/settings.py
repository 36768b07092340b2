"""Every setting in one place, read from `GEOANOMALY_*` variables when asked, never at import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """How this process runs. `Settings()` reads the environment; tests pass values instead."""

    model_config = SettingsConfigDict(env_prefix="GEOANOMALY_", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("geoanomaly"),
        description="Jobs, scenes, models, the embedded database and broker live below it.",
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; default SQLite in data_dir."
    )
    broker_url: str | None = Field(None, description="Celery URL; default the embedded Valkey.")
    dask_scheduler: str | None = Field(None, description="tcp://HOST:PORT; default threads here.")
    scratch_url: str | None = Field(
        None,
        description="s3://BUCKET/FOLDER for unfinished tiles, where a cluster's workers share no "
        "folder; default below data_dir.",
    )
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="The one budget that Dask, torch, OpenMP and GDAL share in a process.",
    )
    cache_mib: int = Field(
        128, ge=16, description="Memory for blocks of rasters that neighbouring tiles share."
    )
    tile_size: int = Field(
        512, ge=32, le=4096, multiple_of=32, description="Core of a tile in pixels."
    )
    max_pixels: int = Field(2_000_000_000, description="Largest job that is accepted.")
    max_upload_bytes: int = Field(8 * 2**30, description="Largest scene that can be uploaded.")
    scene_roots: tuple[Path, ...] = Field(
        (), description="Folders whose rasters a request may name by path, beside uploads."
    )
    access: bool | None = Field(
        None,
        description="Whether requests need an API key; by default those from other machines do.",
    )
    public_hosts: tuple[str, ...] = Field(
        (),
        description="Names by which the service may be called, beside those of this machine; "
        "empty: any, where keys are needed.",
    )
    tenant: str = Field("", description="Whose models are meant; the service sets it for a job.")
    quota_jobs: int = Field(50, description="Jobs that an owner may have waiting or running.")
    quota_pixels: int = Field(
        20_000_000_000, description="Pixels that an owner may have worked on in 24 hours."
    )
    quota_bytes: int = Field(
        200 * 2**30, description="Bytes of scenes and results that are kept for an owner."
    )
    log_format: Literal["text", "json"] = Field("text", description="How log lines look.")
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts from which a request may have scenes fetched by https; `.example.com` "
        "stands for all names below it.",
    )
    fetch_seconds: float = Field(300.0, description="How long such a fetch may take.")
    raster_drivers: tuple[str, ...] = Field(
        ("GTiff", "JP2OpenJPEG"), description="Of GDAL, that may open a raster sent to us."
    )
    sandbox_mib: int = Field(
        352, ge=128, description="Memory that the reading of one such raster may take."
    )
    lease_seconds: float = Field(
        30.0, description="A worker that is silent for so long has lost its job."
    )
    max_attempts: int = Field(3, description="Leases that a job may use up before it fails.")
    sweep_seconds: float = Field(5.0, description="How often lost jobs are looked for.")

    @property
    def jobs_dir(self) -> Path:
        """Published files, one folder a job."""
        return self.data_dir / "jobs"

    @property
    def scratch_dir(self) -> Path:
        """Unfinished work, one folder a job; on a cluster every worker must see it."""
        return self.data_dir / "scratch"

    @property
    def scenes_dir(self) -> Path:
        return self.data_dir / "scenes"

    @property
    def exports_dir(self) -> Path:
        """Exports that were made lately; all of it may be deleted at any time."""
        return self.data_dir / "exports"

    @property
    def taken_dir(self) -> Path:
        """Clean copies of scenes that requests named by path or address."""
        return self.data_dir / "taken"

    @property
    def models_dir(self) -> Path:
        """One folder a model. Tenants have their own, so that no name meets another's."""
        if self.tenant:
            return self.data_dir / "tenants" / self.tenant / "models"
        return self.data_dir / "models"

    def of_tenant(self, tenant: str) -> Settings:
        return self if tenant == self.tenant else self.model_copy(update={"tenant": tenant})

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'geoanomaly.db'}"

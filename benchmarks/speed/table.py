"""The figures as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

AIMS = {
    "efficiency": ("whole job against the network alone", 0.85, "at least"),
    "vs_best_peer": ("faster than the fastest peer, times", 3.0, "at least"),
    "peak_rss_gib_large": ("peak memory on the largest scene, GiB", 1.5, "at most"),
    "rss_ratio_large_small": ("of that on a tenth of the scene", 1.1, "at most"),
    "cost_ratio_400_4": ("cost of a megapixel, largest to smallest scene", 1.1, "at most"),
    "dask_speedup_2": ("two Dask workers against one", 1.7, "at least"),
}


def markdown(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{results['form']} form, detector `{results['detector']}`, {results['date']}, "
        f"load before {machine['load_before']:.1f}.",
        "",
        "| figure | measured | aim | reached |",
        "|---|---:|---:|---|",
    ]
    for key, (meaning, aim, sense) in AIMS.items():
        value = results[key]
        reached = "yes" if (value >= aim) == (sense == "at least") else "no"
        lines.append(f"| {meaning} (`{key}`) | {value:.2f} | {sense} {aim:g} | {reached} |")
    parts = [lines, _peers(results), _memory(results), _jobs(results)]
    return "\n\n".join("\n".join(part) for part in parts if part)


def insert(page: Path, results: Mapping[str, Any]) -> None:
    """Between the marks of a page."""
    begin, end = "<!-- bench -->", "<!-- /bench -->"
    text = page.read_text()
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n{markdown(results)}\n{end}{after}")


def _peers(results: Mapping[str, Any]) -> list[str]:
    raw, size = results["raw"], results["sizes"]["peer"]
    pixels = size["side"] ** 2 / 1e6
    rows = {"geoanomaly detect": raw["peer_scene"], **raw["peers"]}
    network, limit = raw["network"], raw["peer_scene"]["network"]["megapixels_per_second"]
    lines = [
        f"The same network on the same scene of {pixels:,.1f} MP:",
        "",
        "| | MP/s | of the network's own speed | peak memory, GiB |",
        "|---|---:|---:|---:|",
        f"| network alone ({network['kflop_per_pixel']:.0f} kFLOP a pixel), tiles in memory | "
        f"{limit:.2f} | 1 | |",
    ]
    for name, run in rows.items():
        rate = pixels / run["seconds"]
        lines.append(f"| {name} | {rate:.2f} | {rate / limit:.2f} | {run['peak_gib']:.2f} |")
    return lines


def _memory(results: Mapping[str, Any]) -> list[str]:
    """Empty where it was not measured."""
    raw, size = results["raw"], results["sizes"]["large"]
    if "peers_large" not in raw:
        return []
    own = raw["large"]["peak_gib"]
    lines = [
        f"On the largest scene ({size['side']:,}², {size['bands']} bands), the peers without the "
        "network, with which they need no less:",
        "",
        "| | peak memory, GiB | geoanomaly's share of it |",
        "|---|---:|---:|",
        f"| geoanomaly detect | {own:.2f} | 1 |",
    ]
    for name, run in raw["peers_large"].items():
        lines.append(f"| {name} | {run['peak_gib']:.2f} | {own / run['peak_gib']:.2f} |")
    return lines


def _jobs(results: Mapping[str, Any]) -> list[str]:
    raw, sizes = results["raw"], results["sizes"]
    rows = [
        ("whole job", sizes["job"], raw["own"]),
        ("small", sizes["cheap"], raw["cheap"]),
        ("large", sizes["dear"], raw["dear"]),
        ("memory, small", sizes["small"], raw["small"]),
        ("memory, large", sizes["large"], raw["large"]),
    ]
    for turn in raw["cluster"]:
        rows += [
            ("one Dask worker", sizes["cluster"], turn["1"]),
            ("two Dask workers", sizes["cluster"], turn["2"]),
        ]
    lines = [
        "| job | pixels | bands | valid | seconds | scoring | writing | peak memory, GiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, size, run in rows:
        steps = run["steps"]
        lines.append(
            f"| {name} | {size['side']:,}² | {size['bands']} | {size['share']:.0%} | "
            f"{run['seconds']:.1f} | {steps['scoring']:.1f} | {steps['writing']:.1f} | "
            f"{run['peak_gib']:.2f} |"
        )
    return lines

"""Where hashbench keeps things: what can be computed again in a cache, results beside the work."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir, user_data_dir


def cache_dir() -> Path:
    """``$HASHBENCH_CACHE``, else the system's cache folder for hashbench. Not made here."""
    chosen = os.environ.get("HASHBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(user_cache_dir("hashbench", appauthor=False))


def data_dir() -> Path:
    """``$HASHBENCH_DATA``, else the system's data folder for hashbench: what is prepared and imported."""
    chosen = os.environ.get("HASHBENCH_DATA")
    return Path(chosen).expanduser() if chosen else Path(user_data_dir("hashbench", appauthor=False))


def results_dir() -> Path:
    """``$HASHBENCH_RESULTS``, else ``results`` in the working directory. Not made here."""
    return Path(os.environ.get("HASHBENCH_RESULTS") or "results").expanduser()

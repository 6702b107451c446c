"""Connecting to Ray: the cluster that RAY_ADDRESS names, or a local one made for this run."""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

LOCAL_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_worker_niceness": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""Set before Ray starts, so that every Ray process inherits it: cheaper than a runtime environment per worker.

Ray's own niceness of 15 lets its workers lose to whatever else runs: on two cores, an eighth of their speed.
"""

OBJECT_STORE_BYTES = 512 * 2**20
LOGICAL_CPUS_PER_CORE = 4


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def connect(*, dashboard: bool = False) -> None:
    """Make sure that Ray runs, once per process; with its dashboard where its State API is needed.

    A local Ray gets more logical CPUs than there are cores: train workers hold theirs for minutes, and Ray Data would
    wait for ever for one. How much really runs at a time is set where the work is started.
    """
    import ray

    if ray.is_initialized():
        return
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING)
        return
    with _known_address() if dashboard else nullcontext():
        _start_local(dashboard)
    _protect_token()


def _start_local(dashboard: bool) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=max(8, LOGICAL_CPUS_PER_CORE * cores()),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=dashboard,
        logging_level=logging.WARNING,
    )


@contextmanager
def _known_address() -> Iterator[None]:
    """Let Ray's processes inherit the address of what is started here.

    Those that use the State API look for it on this machine, and give up where another Ray runs as well.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"}
    os.environ.update(inherited)
    try:
        yield
    finally:
        for name in inherited:
            os.environ.pop(name, None)


def _protect_token() -> None:
    """Ray writes its authentication token without narrowing the file's mode."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if token.is_file():
        token.chmod(stat.S_IRUSR | stat.S_IWUSR)


def data_context() -> None:
    """Settings of Ray Data: no progress bars of its own, and errors of our functions as they were raised."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True


def disconnect() -> None:
    """Stop the local Ray, or leave the cluster."""
    import ray

    if ray.is_initialized():
        ray.shutdown()

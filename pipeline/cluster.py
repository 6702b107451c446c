"""Ray: the cluster that RAY_ADDRESS names, or a local one made for this run; and what a run needs of a cluster."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.failures import UserError
from pipeline.sandbox import UNSAFE_EXEC

WORKER_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""What workers need on whatever node they run."""

LOCAL_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    **WORKER_ENVIRONMENT,
}
"""Set before Ray starts, so that every Ray process inherits it: cheaper than a runtime environment per worker.

Ray's own niceness of 15 lets its workers lose to whatever else runs: on two cores, an eighth of their speed.

Workers start when something needs them. Ray would start some for the first driver and let that wait for all of them,
for ever where one dies before it is there (https://github.com/ray-project/ray/issues/40131).
"""

TOO_BUSY = "timed out during startup"
"""What Ray says when its processes were too slow to start."""

ADDRESS = "RAY_ADDRESS"
OBJECT_STORE_BYTES = 512 * 2**20
LOGICAL_CPUS_PER_CORE = 4
TURNS = "turns"
"""A custom resource of a local Ray: each task of a stage takes its share of it."""
KNOCK_SECONDS = 10
PROBE_SECONDS = 180
"""A node that has just joined first fetches the job's files and starts a worker."""

GPU_LOCK = "gpu_lock"
"""A custom resource. Where a cluster has one, stages that use GPUs take turns: see `gpu_turn`."""


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def is_local() -> bool:
    """Whether Ray is, or will be, one of our own on this machine."""
    return os.environ.get(ADDRESS, "") in ("", "local")


def width(wanted: int | None) -> int | None:
    """How many tasks to run at a time: as asked, else one for each core here, or what a cluster has room for."""
    return wanted or (cores() if is_local() else None)


def connect(*, dashboard: bool = False) -> None:
    """Make sure that Ray runs, once per process; a local one with its dashboard where its State API is needed."""
    import ray

    if ray.is_initialized():
        return
    inherited = dict(os.environ)
    for name, value in LOCAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _signals_kept():
        if is_local():
            _start_local(dashboard)
        else:
            _join(inherited)


def _start_local(dashboard: bool) -> None:
    """A Ray of our own.

    It gets more logical CPUs than there are cores: train workers hold theirs for minutes, and Ray Data would wait for
    ever for one. How much really runs at a time is set where the work is started.
    """
    import ray

    with _known_address() if dashboard else nullcontext(), _told_if_too_busy():
        ray.init(
            address="local",
            num_cpus=max(8, LOGICAL_CPUS_PER_CORE * cores()),
            resources={TURNS: 1},
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=dashboard,
            logging_level=logging.WARNING,
        )
    _protect_token()


@contextmanager
def _told_if_too_busy() -> Iterator[None]:
    """Ray gives its processes half a minute to start, which no setting changes, and raises a bare Exception."""
    try:
        yield
    except Exception as error:
        if TOO_BUSY not in str(error):
            raise
        what = "Ray did not start in the half minute that it gives itself."
        hint = "The machine is very busy: run the same command again when less runs beside it. What was made is kept."
        raise UserError("environment", what, hint=hint) from error


@contextmanager
def _known_address() -> Iterator[None]:
    """Let Ray's processes inherit the address of what is started here.

    Those that use the State API look for it on this machine, and give up where another Ray runs as well.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {"RAY_GCS_SERVER_PORT": str(port), ADDRESS: f"127.0.0.1:{port}"}
    os.environ.update(inherited)
    try:
        yield
    finally:
        for name in inherited:
            os.environ.pop(name, None)


def _join(inherited: Mapping[str, str]) -> None:
    """Join a running cluster. Its processes do not inherit our environment, so workers are given what they need.

    What the job's own runtime environment says, and this process has therefore inherited, stands: Ray refuses two.
    """
    import ray

    missing = {name: value for name, value in WORKER_ENVIRONMENT.items() if name not in inherited}
    if os.environ.get(UNSAFE_EXEC) == "1":
        missing[UNSAFE_EXEC] = "1"
    try:
        _knock(os.environ[ADDRESS])
        ray.init(logging_level=logging.WARNING, runtime_env={"env_vars": missing})
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(
            "environment",
            f"cannot join the Ray cluster: {reason}.",
            f"{ADDRESS}={os.environ[ADDRESS]}",
            "From outside of a cluster, send the experiment there: kintsugi submit CONFIG --address http://HEAD:8265. "
            "On a node of it, use RAY_ADDRESS=auto, and RAY_AUTH_MODE=token with its own token if it has one. "
            "Unset RAY_ADDRESS to run on this machine alone.",
        ) from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray answers SIGTERM by leaving on the spot; who started this program decides how it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _knock(address: str) -> None:
    """Fail at once where nothing listens: Ray itself would go on trying for minutes."""
    if address.startswith(("http://", "https://")):
        raise ValueError("this is where a cluster takes jobs, not where nodes join")
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _protect_token() -> None:
    """Ray writes its authentication token without narrowing the file's mode."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if token.is_file():
        token.chmod(stat.S_IRUSR | stat.S_IWUSR)


def data_context() -> None:
    """Settings of Ray Data: no progress bars of its own, and errors of our functions as they were raised.

    Tasks pass on paths and counts alone. So none waits for room in the object store, as all but the first would until
    it is known how much that one put there.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    context.op_resource_reservation_enabled = False


def disconnect() -> None:
    """Stop the local Ray, or leave the cluster."""
    import ray

    if ray.is_initialized():
        ray.shutdown()


@dataclass
class SharedStore:
    """Sees to it that all nodes of a cluster have one store, by asking each node to read and write there.

    No list of file systems could tell: NFS, EFS and cluster file systems have many names, and a local disk may be
    mounted at the same path everywhere. Nodes that answered once are not asked again.
    """

    root: Path
    _known: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Raise an environment error where a node of the cluster does not see the store, or sees it late."""
        if is_local():
            return
        connect()
        import ray

        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        new = {node: address for node, address in nodes.items() if node not in self._known}
        if len(nodes) > 1 and new:
            _refuse_unshared(self.root, _ask(self.root, new))
            self._known |= set(new)


@dataclass(frozen=True)
class Sight:
    """How one node sees the store: whether it read what we wrote, and whether we at once saw its answer."""

    address: str
    reads: bool
    answer_seen: bool


def _ask(root: Path, nodes: Mapping[str, str]) -> list[Sight]:
    """Let every node read a fresh file in the store and write another beside it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    folder = root / f".probe-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        question = secrets.token_hex(16)
        (folder / "question").write_text(question, encoding="utf-8")
        # Look before there are answers, as a run does for its files: a mount that caches this goes on saying "no".
        early = {node for node in nodes if (folder / node).exists()}
        assert not early, f"{folder} is fresh, but has {early}"
        task: Any = ray.remote(num_cpus=0, max_retries=0)(_answer)
        asked = [
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(folder, node)
            for node in nodes
        ]
        read = _answers(asked, list(nodes.values()))
        return [
            Sight(address, answer == question, (folder / node).exists())
            for (node, address), answer in zip(nodes.items(), read, strict=True)
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answer(folder: Path, name: str) -> str:
    """Runs on the node that is asked: what it reads in the store, empty where there is nothing."""
    try:
        read = (folder / "question").read_text(encoding="utf-8")
        (folder / name).write_text(read, encoding="utf-8")
    except OSError:
        return ""
    return read


def _answers(asked: list[Any], addresses: list[str]) -> list[str]:
    import ray

    try:
        return list(ray.get(asked, timeout=PROBE_SECONDS))
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(
            "environment",
            f"a node of the cluster cannot work for this run: {reason}",
            f"nodes {', '.join(addresses)}",
            "Every node needs this Python environment and Kintsugi itself: `kintsugi submit`, or `ray job submit "
            "--working-dir .` from a checkout, sends it along.",
        ) from error


def _refuse_unshared(root: Path, sights: list[Sight]) -> None:
    blind = [sight.address for sight in sights if not sight.reads]
    if blind:
        raise UserError(
            "environment",
            f"the store is not shared: what is written here is not seen on {', '.join(blind)}.",
            str(root),
            "On more than one node the store must be a directory that all of them have: mount NFS, EFS or a "
            "ReadWriteMany volume at one path everywhere and give it with --store or KINTSUGI_STORE. A store on a "
            "local disk does on a single node.",
        )
    late = [sight.address for sight in sights if not sight.answer_seen]
    if late:
        raise UserError(
            "environment",
            f"the store lags: what {', '.join(late)} wrote is not seen here at once.",
            str(root),
            "The mount caches what it did not find. For NFS, add the mount options lookupcache=none,actimeo=0.",
        )


@contextmanager
def gpu_turn(waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the cluster's GPU lock, where it has one; `waiting` is called once when another run holds it.

    Ray frees it when this process ends, however it ends.
    """
    connect()
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    if not ray.cluster_resources().get(GPU_LOCK):
        yield
        return
    turn = placement_group([{GPU_LOCK: 1}])
    try:
        if not turn.wait(2):
            waiting()
            while not turn.wait(60):
                pass
        yield
    finally:
        remove_placement_group(turn)

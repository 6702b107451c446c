#!/usr/bin/env bash
# Prepares one node of cluster.yaml: `node.sh cpu` or `node.sh gpu`. Running it again changes nothing.
set -euo pipefail
kind=$1
here=$(cd "$(dirname "$0")/.." && pwd)
lock=$here/requirements/$kind.lock
store=/mnt/kintsugi

# The environment of Ray, and so of every job. The token itself stays in ~/.ray/auth_token.
cat > ~/kintsugi-env <<ENV
export PATH="$HOME/venv/bin:\$PATH"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export KINTSUGI_STORE=$store/store KINTSUGI_RUNS=$store/runs
ENV
chmod 600 ~/.ray/auth_token
grep -qs kintsugi-env ~/.bashrc || echo '. ~/kintsugi-env' >> ~/.bashrc

# One store for all nodes. Without lookupcache=none and actimeo=0 a node goes on missing what another has just written.
if ! mountpoint -q "$store"; then
    command -v mount.nfs4 > /dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq nfs-common; }
    sudo mkdir -p "$store"
    sudo mount -t nfs4 -o nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,lookupcache=none,actimeo=0 \
        "$(cat ~/kintsugi-efs):/" "$store"
    sudo chown "$(id -u):$(id -g)" "$store"
fi

# Compilers for what libraries build at first use.
command -v g++ > /dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq g++; }

# Python 3.11 and the lock, once for each version of the lock.
if ! cmp -s "$lock" ~/venv/installed.lock; then
    python3 -m pip install --quiet --user uv==0.13.8
    rm -rf ~/venv
    ~/.local/bin/uv venv --quiet --seed --python 3.11 ~/venv
    if [ "$kind" = cpu ]; then # PyPI has no CPU build of torch
        ~/venv/bin/python -m pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' "$lock")"
    fi
    ~/venv/bin/python -m pip install --quiet --no-deps -r "$lock"
    cp "$lock" ~/venv/installed.lock
fi

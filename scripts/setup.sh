#!/usr/bin/env bash
# Makes the virtual environment $1 (default .venv) with Python $2 (default: scripts/python.sh) exactly as requirements.lock says.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${2:-}
pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --no-deps)

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    [ -n "$python" ] || python=$(scripts/python.sh)
    echo "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

# uv itself comes from the lock too, its block cut out so that pip checks its hashes
if ! grep -q "^uv==$("$venv/bin/uv" --version 2>/dev/null | cut -d' ' -f2) " requirements.lock; then
    "$venv/bin/python" -m ensurepip >/dev/null 2>&1 || true
    block=$(mktemp)
    trap 'rm -f "$block"' EXIT
    awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock >"$block"
    "${pip[@]}" -r "$block"
fi

# the system's certificates, as pip uses them: a company's proxy is trusted there and not in uv's own list
export UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=${UV_LINK_MODE:-copy} VIRTUAL_ENV=$PWD/$venv
if ! "$venv/bin/uv" pip sync -q --require-hashes requirements.lock; then
    echo "uv could not install; trying pip, which knows this machine's pip settings"
    "${pip[@]}" -r requirements.lock
fi
"$venv/bin/uv" pip install -q --no-deps --no-build-isolation --editable .
touch "$venv/.installed"

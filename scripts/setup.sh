#!/usr/bin/env bash
# Makes the virtual environment $1 (default .venv) with Python $2 (default: scripts/python.sh) exactly as requirements.lock says.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${2:-}

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    [ -n "$python" ] || python=$(scripts/python.sh)
    echo "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

# uv itself comes from the lock too, its block cut out so that pip checks its hashes
if ! grep -q "^uv==$("$venv/bin/uv" --version 2>/dev/null | cut -d' ' -f2) " requirements.lock; then
    "$venv/bin/python" -m ensurepip -q >/dev/null 2>&1 || true
    block=$(mktemp)
    trap 'rm -f "$block"' EXIT
    awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock >"$block"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r "$block"
fi

export UV_PROJECT_ENVIRONMENT=$venv VIRTUAL_ENV=$PWD/$venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=${UV_LINK_MODE:-copy}
"$venv/bin/uv" pip sync -q --require-hashes requirements.lock
"$venv/bin/uv" pip install -q --no-deps --no-build-isolation --editable .
touch "$venv/.installed"

#!/usr/bin/env bash
# Prints a Python of at least 3.11 that can make virtual environments: python3 of the PATH if it will do, else a newer one.
set -u
for name in "$@" python3 python3.13 python3.12 python3.11; do
    path=$(command -v "$name") || continue
    if "$path" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$path"
        exit 0
    fi
done
echo "tether needs Python 3.11 or newer with the venv module (Debian: apt-get install python3 python3-venv)" >&2
exit 1

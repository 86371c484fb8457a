#!/usr/bin/env bash
# Prints a Python that can make virtual environments: of exactly the version $1 (such as 3.13), or else of at least 3.11, python3 first.
set -u
wanted=${1:-}

works() { # works PROGRAM: whether it is the version wanted and has the venv module
    "$1" -c 'import ensurepip, sys, venv
version, wanted = sys.version_info[:2], sys.argv[1]
sys.exit(version < (3, 11) if not wanted else "%d.%d" % version != wanted)' "$wanted" 2>/dev/null
}

for name in ${wanted:+python$wanted} python3 python3.13 python3.12 python3.11 "$HOME"/.pyenv/versions/"${wanted:-3.1}"*/bin/python3; do
    path=$(command -v "$name") && works "$path" && echo "$path" && exit 0
done
echo "no Python ${wanted:-3.11 or newer} with the venv module was found (Debian: apt-get install python3 python3-venv)" >&2
exit 1

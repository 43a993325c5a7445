#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Make a virtual environment, or say in one line what this machine lacks for it.
#
# Usage: scripts/setup_venv.sh VENV [PYTHON]
set -euo pipefail

venv=${1:?usage: scripts/setup_venv.sh VENV [PYTHON]}
python=${2:-python3}

fail() { echo "error: $*" >&2; exit 1; }

command -v "$python" >/dev/null ||
    fail "there is no '$python' on this machine. Install Python 3.10 or newer, or name it: make PYTHON=/path/to/python3.12 ..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old, 3.10 or newer is needed. Name another one: make PYTHON=/path/to/python3.12 ..."
[ -x "$venv/bin/python" ] && exit 0

echo "Making $venv with $("$python" --version)"
"$python" -m venv "$venv" || {
    rm -rf "$venv"
    fail "'$python -m venv' failed. On Debian and Ubuntu: apt install python3-venv"
}

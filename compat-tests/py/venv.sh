#!/bin/bash
# Prints the Python of a virtual environment that holds what FOLDER/requirements.txt names:  venv.sh FOLDER
set -euo pipefail
venv=$COMPAT_CACHE/venv-$(basename "$1")
if ! cmp -s "$1/requirements.txt" "$venv/installed.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q -r "$1/requirements.txt" >&2
  cp "$1/requirements.txt" "$venv/installed.txt"
fi
echo "$venv/bin/python"

#!/bin/sh
# install-clients.sh DIRECTORY: what the examples need, exactly as their lock files say, into DIRECTORY/python and
# DIRECTORY/node, where the programs of examples/node are copied to: Node.js looks for libraries beside the program.
# Does nothing that is already done.
set -eu

examples=$(cd "$(dirname "$0")/../examples" && pwd)
mkdir -p "$1/node"
cd "$1"

# One at a time.
exec 9>lock
flock 9

wanted=$examples/python/requirements.txt
if ! cmp -s "$wanted" python/installed || ! python/bin/python -c 'import redis' 2>/dev/null; then
    rm -rf python
    python3 -m venv python
    python/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$wanted"
    cp "$wanted" python/installed
fi

wanted=$examples/node/package-lock.json
cp "$examples"/node/*.mjs "$examples"/node/package*.json node/
if ! cmp -s "$wanted" node/installed; then
    (cd node && npm ci --no-audit --no-fund --loglevel=error)
    cp "$wanted" node/installed
fi

#!/bin/sh
# Runs the tests that need a server against the installed one and against every one that scripts/fetch-servers.sh
# has fetched; one line of result for each. REDIS_GEO_MODULE: the module. Arguments: how to run cargo test.
set -eu

cd "$(dirname "$0")/.."
logs=$(pwd)/target/servers
mkdir -p "$logs"
"$@" --no-run

total=0
for server in "$(command -v redis-server)" "$logs"/*/redis-server; do
    [ -x "$server" ] || continue
    name=$(basename "$(dirname "$server")")
    [ "$server" = "$logs/$name/redis-server" ] || name=installed
    log=$logs/$name.log
    if REDIS_GEO_SERVER=$server "$@" --no-fail-fast >"$log" 2>&1; then result=ok; else
        result=FAILED
        total=1
    fi
    version=$("$server" --version | sed -n 's/^\([A-Za-z]*\) server v=\([^ ]*\).*/\1 \2/p')
    counts=$(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0 " passed, " failed + 0 " failed" }' "$log")
    echo "$name ($version): $result, $counts"
    sed -n 's/^test \(.*\) \.\.\. FAILED$/    \1/p' "$log"
    [ "$result" = ok ] || echo "    see $log"
done
exit "$total"

#!/bin/sh
# Fetches servers other than the installed one, for `make test-matrix`: the packages of other Debian suites, unpacked
# beside each other and run with their own loader and libraries. Nothing is installed, no right is needed.
# Each ends as target/servers/NAME/redis-server and redis-check-aof, which run like the commands of these names. What is
# there stays.
#
# usage: scripts/fetch-servers.sh [NAME...]       without a name: all
set -eu

# NAME                   SUITE                PACKAGE
servers="
redis-trixie             trixie               redis-server
valkey-trixie            trixie               valkey-server
valkey-sid               sid                  valkey-server
valkey-backports         bookworm-backports   valkey-server
"

root=$(cd "$(dirname "$0")/.." && pwd)
target=$root/target/servers

fail() {
    echo "fetch-servers: $*" >&2
    exit 1
}

# The archive that this machine's own apt uses for Debian.
archive() {
    apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Label: Debian' 2>/dev/null | sort -u | head -n 1
}

# apt with a state of its own, in which nothing is installed: it fetches every library, too.
apt() {
    state=$1
    shift
    apt-get -q -q -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" \
        -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::PreferencesParts=/dev/null -o "APT::Sandbox::User=$(id -un)" -o APT::Install-Recommends=false \
        -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# Unpacks a suite's package and what it needs, and writes the command that runs it.
fetch() {
    suite=$1 package=$2 place=$3
    state=$place/apt
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    echo "deb [signed-by=$keys] $(archive) $suite main" >"$state/sources.list"
    # Backports need their base for libraries.
    case $suite in
    *-backports) echo "deb [signed-by=$keys] $(archive) ${suite%-backports} main" >>"$state/sources.list" ;;
    esac
    apt "$state" update || fail "no package list of $suite"
    apt "$state" -y --download-only -t "$suite" install "$package" >"$state/log" 2>&1 || {
        tail -n 5 "$state/log" >&2
        fail "$package of $suite cannot be fetched"
    }
    # The server and libraries, not what would only set up a system.
    cd "$state/cache/archives"
    for archived in $(ls | grep -E '^(redis|valkey|lib).*\.deb$'); do
        dpkg-deb -x "$archived" "$place/root"
    done
    cd "$root"
    rm -rf "$state"
    write_command "$place" redis-server valkey-server
    write_command "$place" redis-check-aof valkey-check-aof
    "$place/redis-server" --version >/dev/null || fail "the server in $place does not run"
}

# The binary has one name or the other; the command has the first.
write_command() {
    place=$1 tool=$2 other=$3
    loader=$(cd "$place" && find root -name 'ld-linux*.so.*' -type f | head -n 1)
    binary=$(cd "$place" && find root -path '*/bin/*' \( -name "$tool" -o -name "$other" \) | head -n 1)
    [ -n "$loader" ] && [ -n "$binary" ] || fail "no $tool in $place"
    libraries=$(cd "$place" && find root -type d -path '*/lib/*-linux-gnu' -prune | sed 's|^|$here/|' | paste -s -d :)
    cat >"$place/$tool" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/$loader" --argv0 ${binary##*/} --library-path "$libraries" "\$here/$binary" "\$@"
END
    chmod +x "$place/$tool"
}

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "apt and dpkg are needed: this is for Debian"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || fail "$keys is missing: apt-get install debian-archive-keyring"
[ -n "$(archive)" ] || fail "apt has no Debian sources: run apt-get update"
for name in "$@"; do
    echo "$servers" | grep -q "^$name " || fail "no server is called $name:$servers"
done
mkdir -p "$target"

echo "$servers" | while read -r name suite package; do
    [ -n "$name" ] || continue
    case " $* " in "  " | *" $name "*) ;; *) continue ;; esac
    if [ ! -x "$target/$name/redis-server" ] || [ ! -x "$target/$name/redis-check-aof" ]; then
        rm -rf "$target/$name.part"
        fetch "$suite" "$package" "$target/$name.part"
        rm -rf "$target/$name"
        mv "$target/$name.part" "$target/$name"
    fi
    echo "$name: $("$target/$name/redis-server" --version)"
done

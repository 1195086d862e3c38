# shellcheck shell=bash disable=SC2034
# What cluster/up, cluster/test, cluster/down and .ci/run share. Sourced, never run.

# The top of the source tree, whatever directory the caller stands in.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*"; }

# fail MESSAGE: one line on standard error, then out.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# require_swift: puts `swift` on PATH, or says in one line what is missing.
require_swift() {
    local place
    if ! command -v swift >/dev/null 2>&1; then
        for place in /opt/swift/usr/bin /usr/local/swift/usr/bin "$HOME/.local/share/swiftly/bin"; do
            if [ -x "$place/swift" ]; then
                PATH=$place:$PATH
                export PATH
                return
            fi
        done
        fail 'swift is not on PATH; install Swift 6.2 or newer (https://www.swift.org/install/linux) and run this again'
    fi
}

# installed PACKAGE: whether what PACKAGE brings is here, wherever it came from.
installed() {
    case $1 in
        postgresql) [ -n "$(postgresql_programs)" ] ;;
        redis-server) command -v redis-server >/dev/null ;;
        g++) compgen -G '/usr/include/c++/*/vector' >/dev/null ;;
        git | curl) command -v "$1" >/dev/null ;;
        pkg-config) command -v pkg-config >/dev/null ;;
        python3-venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 ;;
        *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    esac
}

# postgresql_programs: the directory of initdb and postgres, version 15 or newer; empty when there is none.
postgresql_programs() {
    local place
    # Newest first: the directories are named after the major version.
    for place in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr); do
        if [ -x "$place/initdb" ] && [ "$(basename "$(dirname "$place")")" -ge 15 ]; then
            printf '%s\n' "$place"
            return
        fi
    done
}

# install_missing PACKAGE...: as root with apt-get, else through sudo, else names the packages and stops.
install_missing() {
    local missing=() package privilege=()
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "please install: ${missing[*]} (there is no apt-get here to do it)"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "please install as root: apt-get install ${missing[*]}"
        privilege=(sudo)
        # Nobody is there to type a password.
        [ -t 0 ] || privilege=(sudo -n)
    fi
    say "installing: ${missing[*]}"
    {
        "${privilege[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
            "${privilege[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -q --no-install-recommends "${missing[@]}"
    } >&2 </dev/null || fail "please install as root: apt-get install ${missing[*]}"
}

# What the build links against and what a development cluster runs beside the nodes.
build_packages=(
    ca-certificates git g++ pkg-config libssl-dev libpq-dev libhiredis-dev libnghttp2-dev libjemalloc-dev zlib1g-dev
)
service_packages=(postgresql redis-server)
# What only tests run: clients of other people.
test_packages=(python3-venv openssl nghttp2-client etcd-client redis-tools ccache)

# absolute PATH: PATH seen from the caller's directory, without asking that it exists.
absolute() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$PWD" "$1" ;;
    esac
}

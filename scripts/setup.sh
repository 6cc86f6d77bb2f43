#!/usr/bin/env bash
# Installs what building and testing Weir needs beside Rust, where it is missing. Safe to run again.
# `setup.sh bench` also installs the poolers that Weir is measured beside, and what measures; `setup.sh release` what
# scripts/release.sh needs.
set -euo pipefail
cd "$(dirname "$0")/.."

# Build tools and libclang are for PostgreSQL's parser (libpg_query), Python for a driver that the tests use.
packages=(build-essential libclang-dev python3 python3-venv)
[ "${1:-}" != bench ] || packages+=(pgbouncer haproxy valgrind strace)
wants_profdata=$([ "${1:-}" = release ] && printf yes || printf no)

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

check_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "cargo was not found." \
        "Install Rust $wanted or newer, for example with https://rustup.rs, and run this again."
    have=$(cargo --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] || fail \
        "cargo $have is too old: Weir needs Rust $wanted or newer." "With rustup: rustup update stable"
}

is_installed() {
    [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The servers of tests and demo; any version from any source will do.
has_postgresql() {
    [ -x "${WEIR_PG_BIN:-/nonexistent}/initdb" ] || command -v initdb >/dev/null ||
        compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

# What merges the compiler's counts; of LLVM 19 or newer.
has_profdata() {
    [ -x "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata" ] ||
        compgen -c llvm-profdata- | grep -Eq '^llvm-profdata-(19|[2-9][0-9])$'
}

missing_packages() {
    local package
    [ "$wants_profdata" = no ] || has_profdata ||
        apt-cache pkgnames llvm- | grep -E '^llvm-[0-9]+$' | sort -V | tail -n 1
    has_postgresql || printf 'postgresql\n'
    for package in "${packages[@]}"; do
        is_installed "$package" || printf '%s\n' "$package"
    done
}

# The programs themselves, for systems where this script cannot install packages.
missing_programs() {
    local program
    for program in cc python3; do
        command -v "$program" >/dev/null || printf '%s\n' "$program"
    done
    has_postgresql || printf 'initdb (PostgreSQL server)\n'
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo: $*"
    fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# Debian's package would otherwise create a cluster and start it on port 5432. The setting must be there before the
# server's package, and comes with a package of its own.
keep_postgresql_from_starting() {
    local file=/etc/postgresql-common/createcluster.conf
    apt_install postgresql-common
    grep -q '^create_main_cluster' "$file" || printf 'create_main_cluster = false\n' | as_root tee -a "$file" >/dev/null
}

# Debian's packages start their services; PgBouncer's would take port 6432. This is how an administrator says no.
keep_services_from_starting() {
    local file=/usr/sbin/policy-rc.d
    [ ! -e "$file" ] || return 0
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$file" >/dev/null
    as_root chmod 755 "$file"
    trap "as_root rm -f $file" EXIT
}

install_packages() {
    printf 'setup: installing with apt-get: %s\n' "$*"
    as_root apt-get update -q
    has_postgresql || keep_postgresql_from_starting
    keep_services_from_starting
    apt_install "$@"
}

# The Python drivers that the tests use, in a directory of the project's own; nothing to do when they are there.
install_drivers() {
    local wanted=tests/drivers/requirements.txt
    cmp -s "$wanted" .venv/requirements.txt && return
    printf 'setup: installing the Python drivers of %s into .venv\n' "$wanted"
    python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" .venv/requirements.txt
}

main() {
    check_rust
    if ! command -v apt-get >/dev/null; then
        local programs
        programs=$(missing_programs)
        [ -z "$programs" ] || fail "this is not Debian or Ubuntu; please install:" "$programs" \
            "and libclang with its headers. \$WEIR_PG_BIN may name the directory of PostgreSQL's programs."
        install_drivers
        return
    fi
    local missing
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" = 0 ] || install_packages "${missing[@]}"
    install_drivers
}

main

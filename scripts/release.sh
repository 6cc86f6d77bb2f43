#!/usr/bin/env bash
# Builds Weir optimised for what it executes most (profile-guided optimisation), as target/release-pgo/weir: a build that
# counts, a load of the benches over real servers, and a build that knows the counts. Takes two release builds and a minute.
# `setup.sh release` installs what it needs, llvm-profdata among it: of rustup's component llvm-tools, or of LLVM 19 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."

out=target/release-pgo
host=$(rustc -vV | sed -n 's/^host: //p')

fail() {
    printf 'release: %s\n' "$@" >&2
    exit 1
}

say() {
    printf '[%s] release: %s\n' "$(date +%T)" "$*"
}

# The newest llvm-profdata that is there.
find_profdata() {
    local own
    own="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata"
    [ ! -x "$own" ] || { printf '%s\n' "$own"; return; }
    compgen -c llvm-profdata | grep -E '^llvm-profdata(-[0-9]+)?$' | sort -Vu | tail -n 1
}

# Arguments: what rustc is to do beyond a release build. Naming the target keeps build scripts and macros out of it.
build() {
    RUSTFLAGS="${RUSTFLAGS:-} $1" cargo build --locked --release --target "$host" --target-dir "$out/build-$2"
}

# The load: one-shard transactions in every mode, logins, large results, and rows of several shards.
train() {
    local weir
    weir=$(realpath "$out/build-counting/$host/release/weir")
    benches/pool.py --weir "training=$weir:1" --without direct --without haproxy --without pgbouncer \
        --rounds 1 --seconds 3 --scale 1 --parts transactions,connects,streams >"$out/training.log"
    benches/shards.py --weir "$weir" --rows 200000 >>"$out/training.log"
}

profdata=$(find_profdata)
[ -n "$profdata" ] || fail "llvm-profdata was not found." \
    "With rustup: rustup component add llvm-tools. On Debian: apt-get install llvm-19."
counts=$(realpath -m "$out/counts")
rm -rf "$counts"
mkdir -p "$counts"
# The benches run servers as another user where they are started as root, since PostgreSQL demands that.
chmod 777 "$counts"

say "building what counts"
build "-Cprofile-generate=$counts" counting
say "running the load"
train
compgen -G "$counts/*.profraw" >/dev/null || fail "the load left no counts; $out/training.log may say why"
"$profdata" merge --output "$out/weir.profdata" "$counts"/*.profraw ||
    fail "$profdata is older than the compiler's LLVM ($(rustc -vV | sed -n 's/^LLVM version: //p'))"
say "building what is optimised"
build "-Cprofile-use=$(realpath "$out/weir.profdata")" optimized
cp "$out/build-optimized/$host/release/weir" "$out/weir"
say "done: $out/weir"

#!/bin/sh
# Makes rust/vendor.tar.xz: the source of every crate that Cargo.lock names, for builds without a network.
#
#   tools/vendor.sh           make the archive anew (needs the registry)
#   tools/vendor.sh --check   fail when the archive does not match Cargo.lock (needs no registry)
#
# inst/AUTHORS goes with it: who wrote the crates that are compiled into the package, and under which licence.
#
# Crates that the package's library and binary need on the platforms below come with their source. The others
# (for tests and benchmarks, or for other platforms) come as stubs: their manifest, so that cargo can resolve
# Cargo.lock unchanged, and an empty library. `.stubs` in the archive lists them.
set -eu
export LC_ALL=C

PLATFORMS="x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-musl \
x86_64-apple-darwin aarch64-apple-darwin"
PACKAGES="-p mirai-rbridge -p mirai-launcher"
# Left out of the crates that are kept: nothing in them is compiled.
UNUSED="tests benches examples fuzz ci .github"
# Likewise, inside the C library of one of them.
UNUSED_TLS="data_files docs history psasim scripts tests util"
LIMIT_MB=12

top=$(cd "$(dirname "$0")/.." && pwd)
archive=$top/rust/vendor.tar.xz
authors=$top/inst/AUTHORS
work=$(mktemp -d "${TMPDIR:-/tmp}/mirai-vendor.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# name-version of every third-party crate in Cargo.lock, with its checksum.
locked() {
  awk -F'"' '/^\[\[package\]\]/ { name = version = "" }
    /^name = /     { name = $2 }
    /^version = /  { version = $2 }
    /^checksum = / { print name "-" version " " $2 }' "$top/Cargo.lock" | sort
}

# The same of a folder of vendored crates.
vendored() {
  for crate in "$1"/*/; do
    sum=$(sed -n 's/.*"package":"\([0-9a-f]*\)".*/\1/p' "$crate/.cargo-checksum.json")
    echo "$(basename "$crate") $sum"
  done | sort
}

# name-version of the crates whose source the package needs, with cargo reading the registry or, with
# arguments, the folder they configure.
needed() {
  : >"$work/crates"
  for platform in $PLATFORMS; do
    # shellcheck disable=SC2086
    cargo tree --manifest-path "$top/Cargo.toml" --locked "$@" --target "$platform" -e normal,build \
      $PACKAGES --prefix none --format '{p}' >"$work/tree"
    sed -nE '/\(\//d; s/^([^ ]+) v([^ ]+).*/\1-\2/p' "$work/tree" >>"$work/crates"
  done
  sort -u "$work/crates"
}

from_folder() {
  printf '%s\n' --offline --config 'source.crates-io.replace-with="vendored"' \
    --config "source.vendored.directory=\"$1\""
}

# A crate's manifest and an empty library; the checksum of the package stays, those of its files go.
stub() {
  find "$1" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -name .cargo-checksum.json -exec rm -rf {} +
  mkdir "$1/src" && : >"$1/src/lib.rs"
  forget_files "$1"
}

prune() {
  for unused in $UNUSED; do
    rm -rf "${1:?}/$unused"
  done
  for unused in $UNUSED_TLS; do
    rm -rf "${1:?}"/mbedtls-*/framework/"$unused"
  done
  forget_files "$1"
}

forget_files() {
  sed -E 's/"files":\{[^}]*\}/"files":{}/' "$1/.cargo-checksum.json" >"$work/checksum"
  cat "$work/checksum" >"$1/.cargo-checksum.json"
}

make_archive() {
  cargo vendor --quiet --manifest-path "$top/Cargo.toml" --locked --versioned-dirs "$work/vendor" >/dev/null
  needed >"$work/needed"
  : >"$work/vendor/.stubs"
  for crate in "$work"/vendor/*/; do
    name=$(basename "$crate")
    if grep -qxF "$name" "$work/needed"; then
      prune "$crate"
    else
      stub "$crate"
      echo "$name" >>"$work/vendor/.stubs"
    fi
  done
  # The same crates give the same bytes: sorted, and without times and owners.
  find "$work/vendor" -exec touch -h -d @0 {} + 2>/dev/null || true
  tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode='u+rw,go=rX' -cf - vendor |
    xz -9e -T1 >"$work/vendor.tar.xz"
  mv "$work/vendor.tar.xz" "$archive"
}

# Who wrote the crates in the folder $1 that come whole, as their manifests say.
list_authors() {
  cat <<'END'
The compiled part of this package has the code of these crates in it, whose source comes in rust/vendor.tar.xz with their licence
texts. nng-c-sys brings the C libraries NNG (Staysail Systems, Inc., Capitar IT Group BV and others; MIT) and Mbed TLS (The Mbed TLS
Contributors; Apache-2.0 OR GPL-2.0-or-later), ring the parts of BoringSSL that it is made from (see its LICENSE).

END
  for crate in "$1"/*/; do
    grep -qxF "$(basename "$crate")" "$1/.stubs" && continue
    awk '
      function value(line) { sub(/^[^=]*= */, "", line); gsub(/^"|"$/, "", line); return line }
      /^\[/ { package = $0 == "[package]"; list = 0 }
      !package { next }
      /^name = /    { name = value($0) }
      /^version = / { version = value($0) }
      /^license = / { licence = value($0) }
      /^license-file = / { licence = "see its file " value($0) }
      /^authors = / { list = 1; people = $0; sub(/^authors = */, "", people) }
      list && !/^authors = / { people = people " " $0 }
      list && /\]/ { list = 0 }
      END {
        gsub(/ *<[^>]*>/, "", people); gsub(/[\[\]"]/, "", people); gsub(/, *$/, "", people)
        gsub(/ +/, " ", people); sub(/^ /, "", people); sub(/,? *$/, "", people)
        printf "%s %s (%s)%s\n", name, version, licence == "" ? "see its files" : licence, people == "" ? "" : ": " people
      }' "$crate/Cargo.toml"
  done
}

check_archive() {
  test -f "$archive" || fail "rust/vendor.tar.xz is missing"
  bytes=$(wc -c <"$archive")
  test "$bytes" -le $((LIMIT_MB * 1024 * 1024)) || fail "rust/vendor.tar.xz has $bytes bytes, more than $LIMIT_MB MB"
  rm -rf "$work/vendor"
  xz -dc "$archive" | tar -C "$work" -xf -
  locked >"$work/locked"
  vendored "$work/vendor" >"$work/found"
  compare "$work/locked" "$work/found" "does not hold the crates of Cargo.lock"
  list_authors "$work/vendor" >"$work/authors"
  compare "$work/authors" "$authors" "has other crates than inst/AUTHORS"
  set -f
  IFS='
'
  # shellcheck disable=SC2046
  set -- $(from_folder "$work/vendor")
  unset IFS
  needed "$@" >"$work/needed"
  cut -d' ' -f1 "$work/locked" | grep -vxFf "$work/vendor/.stubs" >"$work/whole"
  compare "$work/needed" "$work/whole" "does not hold the source of the crates that the package needs"
  echo "rust/vendor.tar.xz matches Cargo.lock: $(wc -l <"$work/locked") crates," \
    "$(wc -l <"$work/vendor/.stubs") of them stubs, $bytes bytes"
}

compare() {
  diff "$1" "$2" >"$work/diff" && return 0
  echo "Wanted (<) and found (>):" >&2
  cat "$work/diff" >&2
  fail "rust/vendor.tar.xz $3: run tools/vendor.sh and commit it"
}

fail() {
  echo "vendor: $1" >&2
  exit 1
}

case "${1-}" in
  --check) check_archive ;;
  '')
    make_archive
    list_authors "$work/vendor" >"$authors"
    check_archive
    ;;
  *) fail "unknown argument '$1' (known: --check)" ;;
esac

#!/bin/sh
# Builds the static library and the worker binary in one run of cargo and puts them into src/. Called there by
# make, with what configure found:
#   RUST_BIN  folder of cargo and rustc       TARGET  cargo's target folder
#   CRATES    vendored or registry            BINARY  yes or no
#   TRIPLE    platform to build for, empty for this one
set -eu

src=$(pwd)
cd ..
PATH=$RUST_BIN:$PATH
export PATH
# The variables that R's make was called with are not for the makes that crates run.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CARGO_BUILD_TARGET CARGO_TARGET_DIR || true

# As in .cargo/config.toml: locks for Mbed TLS.
CFLAGS="${CFLAGS:-} -DMBEDTLS_THREADING_C -DMBEDTLS_THREADING_PTHREAD"
export CFLAGS
# Where the installer for macOS puts cmake.
PATH=$PATH:/Applications/CMake.app/Contents/bin

# Two jobs, as the policy of CRAN asks.
set -- build --release --locked -j 2 --target-dir "$TARGET" -p mirai-rbridge --lib
test "$BINARY" = no || set -- "$@" -p mirai-launcher --bin mirai-daemon
test -z "$TRIPLE" || set -- "$@" --target "$TRIPLE"

if test "$CRATES" = vendored; then
  # The name holds the archive's checksum: a new archive is unpacked anew, also in a folder that is kept. It appears
  # under that name only when complete.
  vendor=$TARGET/vendor-$(cksum <rust/vendor.tar.xz | tr ' ' '-')
  if ! test -d "$vendor"; then
    mkdir -p "$TARGET"
    unpacked=$(mktemp -d "$TARGET/unpack.XXXXXX")
    xz -dc rust/vendor.tar.xz | (cd "$unpacked" && tar -xf -)
    mv "$unpacked/vendor" "$vendor" 2>/dev/null || test -d "$vendor"
    rm -rf "$unpacked"
    for old in "$TARGET"/vendor-*; do test "$old" = "$vendor" || rm -rf "$old"; done
  fi
  CARGO_HOME=$TARGET/cargo-home
  export CARGO_HOME
  mkdir -p "$CARGO_HOME"
  set -- "$@" --offline --config 'source.crates-io.replace-with="vendored"' \
    --config "source.vendored.directory='$vendor'"
fi

cargo "$@"

built=$TARGET/${TRIPLE:+$TRIPLE/}release
rm -f "$src/libmirai.a" "$src/mirai-daemon"
# A link where the file system allows it: the library is large.
ln "$built/libmirai.a" "$src/libmirai.a" 2>/dev/null || cp "$built/libmirai.a" "$src/libmirai.a"
test "$BINARY" = no || cp "$built/mirai-daemon" "$src/mirai-daemon"

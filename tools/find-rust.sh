#!/bin/sh
# Prints the folder of a cargo and a rustc that are new enough for Cargo.toml (rust-version): the ones on the path,
# else a rustup's, else the system's. If there is none, prints what it saw on the way to stderr and fails.
set -eu
cd "$(dirname "$0")/.."
home=${HOME:-/root}
wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml)

# Is version $1 (like 1.95.0) at least $2 (like 1.88)?
at_least() {
  awk -v has="$1" -v wants="$2" 'BEGIN {
    n = split(wants, w, "."); split(has, h, ".")
    for (i = 1; i <= n; i++) if (h[i] + 0 != w[i] + 0) exit !(h[i] + 0 > w[i] + 0)
  }'
}

on_path=$(command -v cargo 2>/dev/null) || on_path=/usr/bin/cargo
seen=
for folder in "$(dirname "$on_path")" "${CARGO_HOME:-$home/.cargo}/bin" "$home/.cargo/bin" \
  /usr/local/bin /opt/homebrew/bin /usr/bin; do
  test -x "$folder/cargo" && test -x "$folder/rustc" || continue
  version=$("$folder/rustc" --version 2>/dev/null | awk '{ print $2 }') || version=
  if test -n "$version" && at_least "$version" "$wanted"; then
    echo "$folder"
    exit 0
  fi
  case "$seen" in *" $folder/"*) ;; *) seen="$seen $folder/rustc (${version:-does not run})" ;; esac
done
echo "mirai is built with Rust $wanted or newer (cargo and rustc), and there is none." >&2
test -z "$seen" || echo "Found only:$seen" >&2
exit 1

#!/bin/sh
# Installs the package from this checkout into the library $1, quietly unless it fails.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
library=$1
mkdir -p "$library" "$top/target"
log=$top/target/install.log
echo "Building mirai into ${library#"$top"/} (the first time takes a minute or two) ..."
if ! R CMD INSTALL --no-multiarch --library="$library" "$top" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi

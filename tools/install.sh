#!/bin/sh
# Installs the package from this checkout, quietly unless it fails.
#
#   tools/install.sh <library>  there, without its articles: for demo, tests and benchmarks
#   tools/install.sh            into your own R library, with its articles where they can be built
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$top/target"
log=$top/target/install.log

run() {
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
}

# R CMD build copies the whole folder before it leaves anything out, so it is given a copy without what has been built.
build() {
  rm -rf "$top/target/install"
  mkdir -p "$top/target/install/mirai"
  (cd "$top" && tar --exclude=./target --exclude=./.Rlib --exclude=./.git -cf - .) | tar -x -C "$top/target/install/mirai" -f -
  cd "$top/target/install"
  echo "Building mirai and its articles (the first time takes some minutes) ..."
  run R CMD build mirai
}

can_build_articles() {
  Rscript --vanilla -e 'ok <- requireNamespace("knitr", quietly = TRUE) && requireNamespace("rmarkdown", quietly = TRUE)' \
    -e 'quit("no", status = if (ok && rmarkdown::pandoc_available("1.12.3")) 0L else 1L)' >/dev/null 2>&1
}

if test $# -gt 0; then
  library=$1
  mkdir -p "$library"
  echo "Building mirai into ${library#"$top"/} (the first time takes a minute or two) ..."
  run R CMD INSTALL --no-multiarch --library="$library" "$top"
  exit 0
fi

"$top/tools/setup.sh" install || true
if can_build_articles; then
  build
  run R CMD INSTALL "$top"/target/install/mirai_*.tar.gz
  rm -rf "$top/target/install"
  echo 'Installed. To begin with: vignette("mirai") in R.'
else
  echo "Building mirai without its articles, which take the R packages knitr and rmarkdown, and pandoc ..."
  run R CMD INSTALL "$top"
  echo "Installed."
fi

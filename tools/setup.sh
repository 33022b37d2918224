#!/bin/sh
# Installs what building and testing mirai needs and this machine lacks: R, build tools, Rust, R packages for the
# tests. Through apt, as root or by sudo; asks nothing, and does nothing where nothing is missing.
#
#   tools/setup.sh       for `make demo`
#   tools/setup.sh install  for `make install`: what builds the package and its articles
#   tools/setup.sh test  also what some tests of `make test` need, which are skipped without: Shiny and a browser
#   tools/setup.sh ci    also what .ci/run needs
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
r_packages="cli rlang later promises testthat knitr rmarkdown future"
test "${1-}" != install || r_packages="knitr rmarkdown"

missing=
lacks() { missing="$missing $*"; }
has() { command -v "$1" >/dev/null 2>&1; }

look() {
  missing=
  has gcc && has g++ && has make && has ar || lacks build-essential
  has cmake || lacks cmake
  has xz || lacks xz-utils
  has git || lacks git
  "$top/tools/find-rust.sh" >/dev/null 2>&1 || lacks rustc-web cargo-web
  if has R; then
    # Headers and compilers as R wants them; it says so by its own means.
    test -f "$(R --no-echo --vanilla -e 'cat(R.home("include"))' 2>/dev/null)/R.h" || lacks r-base-dev
    absent=$(R --no-echo --vanilla -e \
      'for (p in commandArgs(TRUE)) if (!nzchar(system.file(package = p))) cat(p, "")' --args $r_packages)
  else
    lacks r-base-core r-base-dev
    absent=$r_packages
  fi
  for package in $absent; do lacks "r-cran-$package"; done
  case "${1-}" in install | ci) has pandoc || lacks pandoc ;; esac
  if test "${1-}" = ci; then
    has unshare || lacks util-linux
    # For tools/testing-suite.sh, which only root can use.
    test "$(id -u)" != 0 || ! has apt-get || has debootstrap || lacks debootstrap
    has rustfmt || "$("$top/tools/find-rust.sh" 2>/dev/null)/cargo" fmt --version >/dev/null 2>&1 || lacks rustfmt-web
  fi
}

give_up() {
  echo "setup: $1" >&2
  echo "setup: wanted, by Debian's names:$missing" >&2
  exit 1
}

# What tests can do without is installed where that is possible, and else not mentioned: the tests say it themselves.
install_wishes() {
  wished=
  has chromium || has chromium-browser || has google-chrome || wished="$wished chromium"
  has chromedriver || wished="$wished chromium-driver"
  # Debian's names are in lower case.
  absent=$(R --no-echo --vanilla -e \
    'for (p in c("shiny", "plumber", "foreach", "doParallel")) if (!nzchar(system.file(package = p))) cat(tolower(p), "")')
  for package in $absent; do wished="$wished r-cran-$package"; done
  test -n "$wished" && has apt-get || return 0
  as_root=
  test "$(id -u)" = 0 || as_root="sudo -n"
  $as_root true 2>/dev/null || return 0
  echo "Installing:$wished"
  # shellcheck disable=SC2086
  { apt update && apt install --no-install-recommends $wished; } </dev/null >"$log" 2>&1 ||
    echo "setup: apt-get could not install it, so some tests will be skipped (all of its output: target/setup.log)."
}

done_with() {
  case "$1" in '' | install) ;; *) install_wishes ;; esac
  exit 0
}

apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 "$@"; }
mkdir -p "$top/target"
log=$top/target/setup.log

look "${1-}"
test -n "$missing" || done_with "${1-}"

has apt-get || give_up "this machine has no apt-get; install what is missing by its own means, then try again."
as_root=
if test "$(id -u)" != 0; then
  has sudo && sudo -n true 2>/dev/null ||
    give_up "not root, and sudo is missing or would ask for a password: as root, run apt-get install for the following."
  as_root="sudo -n"
fi

echo "Installing:$missing"
{
  apt update
  # shellcheck disable=SC2086
  apt install --no-install-recommends $missing
} </dev/null >"$log" 2>&1 || {
  tail -n 30 "$log" >&2
  give_up "apt-get could not install it (all of its output: target/setup.log)."
}

look "${1-}"
test -z "$missing" || give_up "installed, but still not usable: $("$top/tools/find-rust.sh" 2>&1 | tr '\n' ' ')(see https://rustup.rs)"
done_with "${1-}"

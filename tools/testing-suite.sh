#!/usr/bin/env bash
# A second environment for the tests: Debian's testing suite in a folder, with its current R and the current packages
# that mirai works with. Needs root (for chroot and mounts) on Debian or its kin; nothing outside the folder changes.
#
#   tools/testing-suite.sh make          makes the folder; does nothing where it is complete
#   tools/testing-suite.sh test          installs the last commit there and runs tests/testthat
#   tools/testing-suite.sh check         runs R CMD check there on the last commit
#   tools/testing-suite.sh run <cmd...>  runs a command there, in the folder of the sources
#   tools/testing-suite.sh remove        removes the folder
#
#   MIRAI_TESTING_SUITE    the folder, by default mirai/testing-suite in ~/.cache or where XDG_CACHE_HOME says. Not in
#                          the work tree, which R CMD build would copy with it.
#   MIRAI_TESTING_MIRROR   where Debian's packages come from, by default from where this machine's apt has them
#
# Exit status 77 and a reason: the folder cannot be made on this machine.
set -u
cd "$(dirname "$0")/.." || exit 1
place=${MIRAI_TESTING_SUITE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mirai/testing-suite}
root=$place/root
log=$place/log

suite=forky
# Without these there is nothing to test; without the others tests are skipped, and say so.
needed=(r-base-core r-base-dev r-cran-testthat rustc cargo cmake xz-utils)
wanted=(r-cran-{arrow,cli,doparallel,foreach,furrr,future,future.apply,later,nanonext,otel,plumber,promises,purrr,rlang,shiny,tibble})
wanted+=(r-cran-pbapply r-bioc-biocparallel)
# Whose objects travel.
wanted+=(r-cran-{bit64,data.table,igraph,lme4,matrix,mgcv,nanoarrow,r6,rsqlite,s7,sf,survival,terra,vctrs,xml2,xts})
# For the clicks through an app, and letters for its picture.
wanted+=(chromium chromium-driver fonts-dejavu-core)
# For packages that the testing suite lacks: from unstable those and nothing else that testing has.
from_unstable=(r-cran-nanonext)
# Changes with what the folder is made of, so that a folder made by another version of this script is completed.
recipe="1: $suite ${needed[*]} ${wanted[*]} ${from_unstable[*]}"

say() { echo "testing suite: $1"; }

give_up() {
  say "$1" >&2
  exit 77
}

# Runs "$@" in namespaces of its own: mounts end with it, and so do processes that it leaves behind.
apart() { unshare --mount --propagation private --pid --fork --kill-child "$@"; }

# Runs "$@" inside the folder. As the first process there, the shell sees to orphans until the command has ended.
inside() {
  # shellcheck disable=SC2016
  apart sh -c '
    root=$1
    shift
    mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" || exit 1
    # The background jobs of a shell ignore SIGINT, and a current R that starts so does it for good; tests send it.
    chroot "$root" /usr/bin/env -i --default-signal=INT HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive TERM="${TERM:-dumb}" ${CI:+"CI=$CI"} \
      ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
      ${no_proxy:+"no_proxy=$no_proxy"} "$@"
    exit $?
  ' sh "$root" "$@"
}

apt() { inside apt-get -q -y -o Dpkg::Use-Pty=0 "$@"; }

# ---- the folder

make_folder() {
  test "$(id -u)" = 0 || give_up "needs root."
  command -v unshare >/dev/null || give_up "needs unshare (util-linux)."
  apart true 2>/dev/null || give_up "this machine allows no mount namespaces."
  mkdir -p "$place"
  # One at a time. What runs inside holds the lock too, and ends with this.
  exec 9>"$place/lock"
  flock 9
  if test -f "$place/recipe" && test "$(cat "$place/recipe")" = "$recipe"; then return; fi

  local begun=$SECONDS
  say "making it in $place (some minutes; what happens is in its file log)"
  : >"$log"
  bootstrap
  install_packages
  echo "$recipe" >"$place/recipe"
  say "made in $((SECONDS - begun)) s: $(inside R --version | head -n 1)"
}

bootstrap() {
  test ! -f "$root/bootstrapped" || return 0
  command -v debootstrap >/dev/null || give_up "needs debootstrap."
  local mirror
  mirror=$(find_mirror)
  test -n "$mirror" || give_up "apt names no mirror of Debian here: set MIRAI_TESTING_MIRROR."
  # What an earlier run did not finish.
  rm -rf "$root"
  # The script of unstable suits every suite to come, also where debootstrap is older than the suite.
  apart debootstrap --variant=minbase "$suite" "$root" "$mirror" sid >>"$log" 2>&1 </dev/null ||
    test -x "$root/usr/bin/apt-get" || failed "debootstrap"
  configure_apt "$mirror"
  # An older debootstrap may leave packages unconfigured.
  apt -f install >>"$log" 2>&1 </dev/null || failed "apt-get -f install"
  touch "$root/bootstrapped"
}

find_mirror() {
  if test -n "${MIRAI_TESTING_MIRROR:-}"; then
    echo "$MIRAI_TESTING_MIRROR"
    return
  fi
  command -v apt-get >/dev/null || return 0
  mirror_of_apt || { apt-get -qq update >/dev/null 2>&1 && mirror_of_apt; }
}

# A clean machine has no lists of packages yet, and then apt knows of no origin.
mirror_of_apt() {
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1 | grep .
}

configure_apt() {
  local mirror=$1 etc=$root/etc
  cp -L /etc/resolv.conf /etc/hosts "$etc/"
  # How this machine reaches mirrors.
  apt-config dump 2>/dev/null | grep -E '^Acquire::(https?|ForceIPv[46]|Retries)\b' \
    >"$etc/apt/apt.conf.d/10host" || true
  # A mirror may be a snapshot, and a machine's clock off: neither matters here. Nor has anything to outlast a power
  # cut, and nobody reads manuals here.
  cat >"$etc/apt/apt.conf.d/20lean" <<'END'
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "false";
END
  mkdir -p "$etc/dpkg/dpkg.cfg.d"
  cat >"$etc/dpkg/dpkg.cfg.d/lean" <<'END'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
END
  printf 'deb %s %s main\n' "$mirror" "$suite" "$mirror" unstable >"$etc/apt/sources.list"
  rm -f "$etc"/apt/sources.list.d/*
  {
    printf 'Package: *\nPin: release a=unstable\nPin-Priority: 50\n'
    printf '\nPackage: %s\nPin: release a=unstable\nPin-Priority: 500\n' "${from_unstable[@]}"
  } >"$etc/apt/preferences.d/unstable"
}

install_packages() {
  local package available=() absent=()
  apt update >>"$log" 2>&1 </dev/null || failed "apt-get update"
  for package in "${wanted[@]}"; do
    if inside apt-cache policy "$package" | grep -q 'Candidate: [0-9]'; then
      available+=("$package")
    else
      absent+=("$package")
    fi
  done
  test "${#absent[@]}" = 0 || say "without ${absent[*]}, which Debian does not have now"
  apt install "${needed[@]}" "${available[@]}" >>"$log" 2>&1 </dev/null || failed "apt-get install"
}

failed() {
  tail -n 20 "$log" >&2
  give_up "$1 failed (all of its output: $log)."
}

# ---- what runs inside

# The committed sources, always at the same place: cargo knows a crate by its path.
export_sources() {
  rm -rf "$root/mirai/source"
  # What tests leave to be looked at goes to the target folder of the sources.
  mkdir -p "$root/mirai/source/target" "$root/mirai/library"
  git archive HEAD | tar -x -C "$root/mirai/source"
}

install_there() {
  local begun=$SECONDS
  say "installing $(git log -1 --format=%h)"
  # cargo's target folder is kept for the next time. This folder has a lock of its own, and R's would be left by a run that was ended.
  # What is tested is behaviour: with less to optimise the compiler is done in half the time.
  inside env MIRAI_CARGO_TARGET_DIR=/mirai/target CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    R CMD INSTALL --no-lock --no-docs --library=/mirai/library /mirai/source \
    >"$log" 2>&1 </dev/null || {
    tail -n 100 "$log"
    say "the package does not install (all of the output: $log)"
    return 1
  }
  say "installed in $((SECONDS - begun)) s"
}

run_tests() {
  local counts=$root/mirai/counts status
  rm -f "$counts"
  inside env R_LIBS=/mirai/library sh -c 'cd /mirai/source && exec Rscript tools/test.R /mirai/counts' </dev/null
  status=$?
  # A run that breaks down is one failure.
  test -f "$counts" || echo "0 1 0" >"$counts"
  read -r passed not_passed skipped <"$counts"
  keep_pictures
  echo "$passed passed, $not_passed failed, $skipped skipped"
  return "$status"
}

# Beside those of the tests outside, which have the same names.
keep_pictures() {
  local picture
  for picture in "$root"/mirai/source/target/*.png; do
    test -f "$picture" || continue
    mkdir -p target/testing-suite
    cp "$picture" target/testing-suite/
    say "picture: target/testing-suite/$(basename "$picture")"
  done
}

case ${1-} in
  make) make_folder ;;
  test)
    make_folder
    export_sources
    if ! install_there; then
      echo "0 passed, 1 failed, 0 skipped"
      exit 1
    fi
    run_tests
    ;;
  check)
    make_folder
    export_sources
    inside env MIRAI_CARGO_TARGET_DIR=/mirai/target _R_CHECK_SYSTEM_CLOCK_=false _R_CHECK_FORCE_SUGGESTS_=false sh -c '
      mkdir -p /mirai/check && cd /mirai/check && rm -rf mirai* && R CMD build --no-build-vignettes /mirai/source &&
        R CMD check --no-manual --no-tests --ignore-vignettes mirai_*.tar.gz'
    ;;
  run)
    shift
    make_folder
    inside env R_LIBS=/mirai/library sh -c 'cd /mirai/source 2>/dev/null || cd /; exec "$@"' sh "$@"
    ;;
  remove)
    rm -rf --one-file-system "$root"
    rm -f "$place/recipe" "$place/lock" "$log"
    rmdir "$place" 2>/dev/null || true
    ;;
  *)
    sed -n '2,/^set/{ /^set/d; s/^# \{0,1\}//; p; }' "$0"
    test "${1-}" = help
    ;;
esac

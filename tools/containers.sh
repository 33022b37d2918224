#!/usr/bin/env bash
# Workers in containers, on a real engine: podman, which speaks Docker's API over a Unix socket. Its images are made from folders, as no
# registry need be within reach, by the steps of the Dockerfiles in inst/containers; debootstrap makes what these begin with.
# Needs root on Debian. Nothing outside the folder is changed, other than that podman's packages are installed through apt.
#
#   tools/containers.sh test     makes what is missing, and runs tests/testthat/test-real-containers.R with mirai as it is installed
#   tools/containers.sh remove   removes the folder
#
#   MIRAI_CONTAINERS   the folder, by default mirai/containers in ~/.cache or where XDG_CACHE_HOME says
#
# Exit status 77 and a reason: podman cannot be installed or does not run here.
set -u
cd "$(dirname "$0")/.." || exit 1
place=${MIRAI_CONTAINERS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mirai/containers}
log=$place/log
suite=bookworm

say() { echo "containers: $1"; }

give_up() {
  say "$1"
  exit 77
}

failed() {
  tail -n 40 "$log"
  say "$1 failed (all of its output: $log)"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
}

# ---- the engine

install_engine() {
  test "$(id -u)" = 0 || give_up "needs root."
  command -v unshare >/dev/null || give_up "needs unshare (util-linux)."
  mkdir -p "$place"
  exec 9>"$place/lock"
  flock 9
  : >"$log"
  local missing=() program
  for program in podman runc iptables debootstrap; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  test -x /usr/lib/podman/netavark || missing+=(netavark)
  test -x /usr/libexec/podman/catatonit || test -x /usr/bin/catatonit || missing+=(catatonit)
  if ((${#missing[@]})); then
    command -v apt-get >/dev/null || give_up "no apt-get here to install ${missing[*]} with."
    {
      apt-get -q update
      DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "${missing[@]}"
    } >>"$log" 2>&1 </dev/null || give_up "apt-get could not install ${missing[*]} (all of its output: $log)."
  fi
  configure_engine
}

# An engine of its own: images, containers and settings are in the folder, and those of the machine are left alone.
configure_engine() {
  cat >"$place/containers.conf" <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
  cat >"$place/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$place/storage"
runroot = "$place/run"
END
  export CONTAINERS_CONF=$place/containers.conf CONTAINERS_STORAGE_CONF=$place/storage.conf
  mkdir -p "$place/stages"
}

# What images begin with is a system that can be run as it is.
try_engine() {
  podman run --rm --network podman --rootfs "$place/base" true >>"$log" 2>&1 </dev/null ||
    give_up "podman cannot run a container here: $(tail -n 1 "$log")"
}

# ---- images, by the steps of a Dockerfile

# Runs "$2" in the folder $1, in namespaces of its own: mounts end with it, and so do processes that it leaves behind.
inside() {
  # shellcheck disable=SC2016
  unshare --mount --propagation private --pid --fork --kill-child sh -c '
    mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 1
    exec chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} ${no_proxy:+"no_proxy=$no_proxy"} \
      CARGO_HTTP_CAINFO=/etc/host-certificates.crt /bin/sh -c "$2"
  ' sh "$1" "$2" >>"$log" 2>&1 </dev/null
}

# What the Dockerfiles take from a registry.
make_base() {
  local base=$place/base mirror
  test ! -f "$place/base.done" || return 0
  say "making the base image"
  rm -rf "$base"
  # A clean machine has no lists of packages yet, and then apt knows of no origin.
  test -n "$(mirror_of Debian)" || apt-get -q update >>"$log" 2>&1
  mirror=$(mirror_of Debian)
  test -n "$mirror" || give_up "apt names no mirror of Debian here."
  unshare --mount --propagation private debootstrap --variant=minbase "$suite" "$base" "$mirror" >>"$log" 2>&1 </dev/null ||
    give_up "debootstrap failed (all of its output: $log)."
  # Updates have the newer Rust. How this machine reaches mirrors and the registry of crates, and whom it trusts, holds there, too.
  cp -L /etc/resolv.conf "$base/etc/"
  cp -L /etc/ssl/certs/ca-certificates.crt "$base/etc/host-certificates.crt" || give_up "needs ca-certificates."
  printf 'deb %s %s main\n' "$mirror" "$suite" "$mirror" "$suite-updates" >"$base/etc/apt/sources.list"
  mirror_of Debian-Security | sed "s|.*|deb & $suite-security main|" >>"$base/etc/apt/sources.list"
  apt-config dump 2>/dev/null | grep -E '^Acquire::(https?|ForceIPv[46]|Retries)\b' >"$base/etc/apt/apt.conf.d/10host"
  printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\nAcquire::Languages "none";\n' >"$base/etc/apt/apt.conf.d/20lean"
  echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/lean"
  touch "$place/base.done"
}

# shellcheck disable=SC2016
mirror_of() { apt-get indextargets --format '$(REPO_URI)' "Label: $1" 2>/dev/null | head -n 1; }

# The steps of a Dockerfile, each on one line.
steps_of() { sed -e '/^ *#/d' -e '/^ *$/d' "$1" | sed -e ':more' -e '/\\$/{N;s/\\\n */ /;b more' -e '}'; }

# A stage is a folder; after the steps it is kept under a name that stands for all that it was made from, as an engine does with layers.
# Makes the image $1 by the Dockerfile $2, of the last commit.
make_image() {
  local image=$1 word rest stage='' name='' begun=$SECONDS settings=()
  local -A stages=() arguments=()
  while read -r word rest; do
    case $word in
      ARG) arguments[${rest%%=*}]=${rest#*=} ;;
      FROM)
        finish_stage
        settings=()
        name=
        [[ $rest =~ ^(.*)\ AS\ (.*)$ ]] && rest=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]}
        [[ $rest == '$'* ]] && rest=${arguments[${rest#\$}]}
        plan=("FROM $rest")
        ;;
      RUN | COPY | WORKDIR) plan+=("$word $rest") ;;
      ENV | USER | ENTRYPOINT) ;;
      *) failed "the step \`$word\` of $2, which is not known here," ;;
    esac
    case $word in ENV | USER | ENTRYPOINT | WORKDIR) settings+=(--change "$word $rest") ;; esac
  done < <(git show "HEAD:$2" >"$place/dockerfile" && steps_of "$place/dockerfile")
  finish_stage
  tar -C "$stage" -c . | podman import "${settings[@]}" - "localhost/$image:latest" >>"$log" 2>&1 || failed "podman import"
  say "image $image made in $((SECONDS - begun)) s: $(du -sh "$stage" | cut -f 1)"
}

# Carries out `plan`, unless it has been.
finish_stage() {
  ((${#plan[@]})) || return 0
  local step key
  key=$(for step in "${plan[@]}"; do echo "$step" "$(made_from "$step")"; done | sha256sum | cut -c 1-16)
  stage=$place/stages/$key
  if ! test -d "$stage"; then
    rm -rf "$stage.new"
    for step in "${plan[@]}"; do carry_out "$step" "$stage.new" || failed "\`$step\`"; done
    mv "$stage.new" "$stage"
  fi
  touch "$stage.used"
  test -z "$name" || stages[$name]=$stage
  plan=()
}

# What a step depends on besides its text.
made_from() {
  local paths path
  # shellcheck disable=SC2206
  paths=($1)
  case $1 in
    "COPY --from="*) path=${paths[1]#--from=}; echo "${stages[$path]}" ;;
    "COPY "*) for path in "${paths[@]:1:${#paths[@]}-2}"; do git rev-parse "HEAD:$path"; done ;;
  esac
}

carry_out() {
  local words root=$2
  # shellcheck disable=SC2206
  words=($1)
  case $1 in
    "FROM scratch") mkdir -p "$root" ;;
    "FROM debian:"*) cp -a "$place/base" "$root" ;;
    "RUN "*) inside "$root" "${1#RUN }" ;;
    "WORKDIR "*) mkdir -p "$root${words[1]}" ;;
    "COPY --from="*) copy_folder "${stages[${words[1]#--from=}]}${words[2]}" "$root${words[3]}" ;;
    "COPY "*)
      local target=$root${words[-1]} path
      mkdir -p "$target"
      for path in "${words[@]:1:${#words[@]}-2}"; do
        # Of a folder its content, of a file the file.
        if test "$(git cat-file -t "HEAD:$path")" = tree; then
          git archive "HEAD:$path" | tar -x -C "$target" || return 1
        else
          git archive HEAD "$path" | tar -x -C "$target" || return 1
        fi
      done ;;
    *) return 1 ;;
  esac
}

# Of a folder its content, as COPY has it.
copy_folder() {
  if test -d "$1"; then mkdir -p "$2" && cp -a "$1/." "$2/"; else cp -a "$1" "$2"; fi
}

# Stages that this run has not used belong to older commits, and so do images without a name.
forget_stages() {
  local stage
  for stage in "$place"/stages/*; do
    test -d "$stage" || continue
    test -e "$stage.used" || rm -rf --one-file-system "$stage"
  done
  rm -f "$place"/stages/*.used
  podman image prune --force >>"$log" 2>&1
}

# ---- the tests

run_tests() {
  local counts=$place/counts status engine=$place/engine.sock
  rm -f "$counts" "$engine"
  podman system service --time=0 "unix://$engine" >>"$log" 2>&1 </dev/null &
  service=$!
  trap 'end_engine' EXIT
  for _ in {1..100}; do
    test ! -S "$engine" || break
    sleep 0.1
  done
  MIRAI_TEST_ENGINE=$engine Rscript tools/test.R "$counts" '^real-containers$' </dev/null
  status=$?
  test -f "$counts" || echo "0 1 0" >"$counts"
  read -r passed not_passed skipped <"$counts"
  echo "$passed passed, $not_passed failed, $skipped skipped"
  return "$status"
}

end_engine() {
  podman rm --all --force --time 0 >>"$log" 2>&1
  kill "$service" 2>/dev/null
  wait "$service" 2>/dev/null
}

remove() {
  if command -v podman >/dev/null && test -d "$place"; then
    configure_engine
    podman system reset --force >/dev/null 2>&1
  fi
  rm -rf --one-file-system "$place"
}

plan=()
case ${1-} in
  test)
    install_engine
    make_base
    try_engine
    make_image mirai-containers inst/containers/api.Dockerfile
    make_image mirai-worker inst/containers/worker.Dockerfile
    forget_stages
    run_tests
    ;;
  remove) remove ;;
  *)
    sed -n '2,/^set/{ /^set/d; s/^# \{0,1\}//; p; }' "$0"
    test "${1-}" = help
    ;;
esac

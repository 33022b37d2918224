#!/bin/sh
# Runs the tests of the Rust crates and of the installed R package, and adds them up:
# the last line is "N passed, N failed", with ", N skipped" where some were. Fails if any failed.
set -u
cd "$(dirname "$0")/.." || exit 1
PATH=$(tools/find-rust.sh):$PATH || exit 1
export PATH
# Tests of the crates that call R load its library.
R_HOME=$(R RHOME)
LD_LIBRARY_PATH=$R_HOME/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export R_HOME LD_LIBRARY_PATH

mkdir -p target
work=$(mktemp -d "${TMPDIR:-/tmp}/mirai-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# Runs "$@" with its output in $work/log, shown as it comes; its exit status is in $status. Not through a pipe: a
# process that a failed test leaves behind would hold it open, and the end would never come.
run() {
  echo "\$ $*"
  : >"$work/log"
  "$@" >"$work/log" 2>&1 </dev/null &
  running=$!
  # A tail without --pid (not GNU's) is refused at once: then the output comes at the end.
  if tail -n +1 -f --pid="$running" "$work/log" 2>/dev/null; then shown=yes; else shown=no; fi
  wait "$running" && status=0 || status=$?
  test "$shown" = yes || cat "$work/log"
}

# The sum of the numbers before word $1 in the lines of the log that match $2.
sum() {
  grep -E "$2" "$work/log" | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}

# Adds a suite's counts. A suite that ends badly without a failed test (it did not compile) is one failure.
add() {
  if test "$status" -ne 0 && test "$2" -eq 0; then set -- "$1" 1 "$3"; fi
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

add_cargo_test() {
  add "$(sum passed '^test result:')" "$(sum failed '^test result:')" "$(sum ignored '^test result:')"
}

if cargo nextest --version >/dev/null 2>&1; then
  run cargo nextest run --workspace --locked --no-fail-fast --no-tests=pass --color=never \
    --status-level=fail --final-status-level=fail --hide-progress-bar
  summary='^ *Summary '
  add "$(sum passed "$summary")" \
    $(($(sum failed "$summary") + $(sum 'timed out' "$summary") + $(sum 'exec failed' "$summary"))) \
    "$(sum skipped "$summary")"
  run cargo test --workspace --locked --no-fail-fast --color=never --quiet --doc
else
  run cargo test --workspace --locked --no-fail-fast --color=never --quiet
fi
add_cargo_test

# The background jobs of a shell ignore SIGINT, and a current R that starts so does it for good; tests send it.
defaults=
env --default-signal=INT true 2>/dev/null && defaults="env --default-signal=INT"
# Known by the mark is what they leave running.
mark=MIRAI_TEST_RUN=$(basename "$work")
# shellcheck disable=SC2086
run env "$mark" $defaults Rscript tools/test.R "$work/counts"
if test -f "$work/counts"; then
  # shellcheck disable=SC2046
  add $(cat "$work/counts")
else
  add 0 1 0
fi

# Processes that tests have started and left behind slow down whatever comes after.
left_over() { grep -lsz "^$mark\$" /proc/[0-9]*/environ | sed 's|^/proc/||; s|/environ$||'; }
for _ in $(seq 60); do
  test -n "$(left_over)" || break
  sleep 1
done
for pid in $(left_over); do
  echo "left behind by a test: process $pid, $(tr '\0' ' ' <"/proc/$pid/cmdline")"
  failed=$((failed + 1))
done

if test "$skipped" -gt 0; then
  echo "$passed passed, $failed failed, $skipped skipped"
else
  echo "$passed passed, $failed failed"
fi
test "$failed" -eq 0

#!/bin/sh
# The R side under valgrind, for a short life of a pool: run by hand, with mirai installed where R finds it (R_LIBS).
# Fails if memory is misused or lost for good, in the host or in its daemon, which is under valgrind as well.
# CONTRIBUTING.md, "Memory checks", has what came out.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null 2>&1 || { echo "valgrind.sh: needs valgrind" >&2; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/mirai-valgrind.XXXXXX")
trap 'rm -rf "$work"' EXIT

cat >"$work/host.R" <<'R'
library(mirai)
say <- function(...) cat("valgrind.sh:", ..., "\n")
url <- local_url()
daemons(url = url)
writeLines(url, file.path(Sys.getenv("WORK"), "url"))
m <- mirai(a + b, a = 1, b = 2)
say("value", m[])
say("map", mirai_map(1:3, function(i, k) i * k, .args = list(k = 2))[.flat])
say("error", mirai(stop("on purpose"))[])
say("not an error", mirai(tryCatch(warning("caught"), warning = function(w) stop(w)))[])
held <- mirai(repeat Sys.sleep(0.01))
queued <- mirai(1)
say("stopped", stop_mirai(list(held, queued)), as.integer(held[]))
say("timed out", as.integer(mirai(repeat Sys.sleep(0.01), .timeout = 100)[]))
say("together", sum(mirai_map(1:3000, function(i) if (i %% 500 == 0) stop("on purpose") else i)[] |> vapply(is_error_value, NA)))
say("everywhere", length(everywhere(kept <<- 1)[]))
say("large", length(mirai(raw(1e6))[]))
say("dropped", {for (i in 1:100) mirai(i, i = i); invisible(gc()); mirai(kept)[]})
daemons(0)
# And one that starts its daemon itself.
daemons(1)
say("launched", mirai("forked")[])
daemons(0)
invisible(gc())
say("end")
R
cat >"$work/daemon.R" <<'R'
mirai::daemon(readLines(file.path(Sys.getenv("WORK"), "url")))
R

# Runs <name>.R under valgrind, with its output in <name>.out and valgrind's in <name>.log. What it starts in turn is not
# looked at.
run() {
  WORK="$work" R_DEFAULT_PACKAGES=base,methods,utils,stats "$(R RHOME)/bin/R" --quiet --vanilla --no-echo \
    -d "valgrind --quiet --child-silent-after-fork=yes --num-callers=40 --leak-check=full --show-leak-kinds=definite
        --errors-for-leak-kinds=definite --error-exitcode=99 --suppressions=tools/valgrind.supp --log-file=$work/$1.log" \
    -f "$work/$1.R" >"$work/$1.out" 2>&1 </dev/null
}

run host &
host=$!
trap 'kill "$host" 2>/dev/null || true; rm -rf "$work"' EXIT
while ! test -s "$work/url" && kill -0 "$host" 2>/dev/null; do sleep 0.1; done
status=0
run daemon || status=$?
wait "$host" || status=$?
grep '^valgrind.sh:' "$work/host.out" || true

grep -q '^valgrind.sh: end' "$work/host.out" || status=1
if test "$status" -eq 0; then
  echo "valgrind.sh: clean"
else
  cat "$work"/*.out "$work"/*.log
  echo "valgrind.sh: NOT clean (status $status)"
fi
exit "$status"

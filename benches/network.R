# What a task costs over TCP and over TLS, on loopback, beside base R's PSOCK cluster: one table, in one run.
#
#   make bench        (or: Rscript benches/network.R [scale])
#
# The ways take turns, round by round, so that what else the machine does meets all of them. Each figure is the median over the
# rounds, with that of the rounds' ratios to PSOCK: below 1 the peer is the slower. `scale` below 1 makes everything smaller.

library(mirai)
options(mirai.open = TRUE)

scale <- commandArgs(trailingOnly = TRUE)
scale <- if (length(scale)) as.numeric(scale[[1L]]) else 1
rounds <- max(3L, as.integer(25 * min(1, scale)))
tasks <- 500L
# Plain numbers: R would send a sequence as its two ends.
big <- rep(0.5, 12.5e6 * min(1, scale))

seconds <- function(expr) {
  start <- proc.time()[["elapsed"]]
  force(expr)
  proc.time()[["elapsed"]] - start
}

urls <- c(local = local_url(), tcp = "tcp://127.0.0.1:0", tls = "tls+tcp://127.0.0.1:0")
for (name in names(urls)) {
  daemons(url = urls[[name]], .compute = name)
  launch_local(1, .compute = name)
}
psock <- parallel::makePSOCKcluster(1L)

by_mirai <- function(name) list(
  trip = function() for (i in seq_len(tasks)) mirai(1, .compute = name)[],
  argument = function() mirai(length(x), x = big, .compute = name)[]
)
ways <- c(lapply(stats::setNames(nm = names(urls)), by_mirai), list(psock = list(
  trip = function() for (i in seq_len(tasks)) parallel::clusterCall(psock, identity, 1),
  argument = function() parallel::clusterCall(psock, length, big)
)))

measure <- function(what, rounds, times) {
  for (way in ways) way[[what]]()
  figures <- vapply(seq_len(rounds), function(round) {
    gc(FALSE)
    vapply(ways, function(way) seconds(way[[what]]()) / times, 0)
  }, numeric(length(ways)))
  rbind(median = apply(figures, 1L, stats::median), ratio = apply(figures / rep(figures["psock", ], each = length(ways)), 1L, stats::median))
}

trip <- measure("trip", rounds, tasks)
argument <- measure("argument", max(3L, rounds %/% 3L), 1)

row <- function(label, unit, figures, factor) cat(sprintf("| %s | %s | %s |\n", label, unit, paste(sprintf(
  "%s (%s)", format(figures["median", ] * factor, digits = 3L, trim = TRUE), format(figures["ratio", ], digits = 2L, nsmall = 2L, trim = TRUE)
), collapse = " | ")))
cat(sprintf("\nR %s, %s, load average %s\n\n", getRversion(), Sys.Date(), sub(" .*", "", readLines("/proc/loadavg"))))
cat("| what (ratio to PSOCK) | unit |", paste(names(ways), collapse = " | "), "|\n| --- | --- |", strrep(" ---: |", length(ways)), "\n", sep = " ")
row("round trip of a trivial task", "µs", trip, 1e6)
row("argument of 100 MB", "ms", argument, 1e3)

for (name in names(urls)) daemons(0, .compute = name)
parallel::stopCluster(psock)

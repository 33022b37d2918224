# What a task costs here, beside base R's parallel and, where installed, future: one table, in one run.
#
#   make bench        (or: Rscript benches/peers.R [scale])
#
# Each figure is the median over the repeats; `ratio` is the peer's median over ours, so above 1 we are the faster (or
# lighter). `scale` below 1 makes everything smaller, for a quick look.

library(mirai)

scale <- commandArgs(trailingOnly = TRUE)
scale <- if (length(scale)) as.numeric(scale[[1L]]) else 1
n_tasks <- max(100L, as.integer(20000 * scale))
n_many <- 50L * n_tasks
n_daemons <- 8L
n_idle <- 32L
has_future <- requireNamespace("future", quietly = TRUE)

seconds <- function(expr) {
  gc(FALSE)
  start <- proc.time()[["elapsed"]]
  force(expr)
  proc.time()[["elapsed"]] - start
}

# The clock of proc.time() ticks in milliseconds: short things are repeated within one reading.
per_call <- function(f, times) {
  seconds(for (i in seq_len(times)) f()) / times
}

median_of <- function(repeats, f) stats::median(vapply(seq_len(repeats), function(i) f(), 0))

# Proportional set size: shared pages count once over all processes. MB.
pss <- function(pid) {
  lines <- tryCatch(readLines(sprintf("/proc/%d/smaps_rollup", pid)), error = function(e) character())
  kb <- sub("^Pss: *([0-9]+) kB$", "\\1", grep("^Pss:", lines, value = TRUE))
  if (length(kb)) as.numeric(kb) / 1000 else NA_real_
}

# Resident memory of this process, MB.
rss <- function() as.numeric(sub("^VmRSS:[[:space:]]*([0-9]+) kB$", "\\1", grep("^VmRSS:", readLines("/proc/self/status"), value = TRUE))) / 1000

square <- function(x) x * x
# Not integers, whose squares beyond 46,340 are not there: it would be warnings that are measured.
many <- seq_len(n_many) / 2
# Plain numbers: R would send a sequence as its two ends.
big <- rep(0.5, 12.5e6 * min(1, scale))

measure_mirai <- function() {
  out <- list()
  if (file.exists("/proc/self/status")) {
    # Nobody serves these. First of all, while R has no memory of its own to spare.
    daemons(url = local_url())
    gc(FALSE)
    before <- rss()
    tasks <- lapply(seq_len(5L * n_tasks), function(i) mirai(x * x, .args = list(x = i)))
    out$queued <- rss() - before
    rm(tasks)
    daemons(0)
  }
  out$start <- median_of(5L, function() {
    elapsed <- seconds(daemons(n_daemons))
    daemons(0)
    elapsed
  })
  out$stop <- median_of(5L, function() {
    daemons(n_daemons)
    seconds(daemons(0))
  })
  daemons(1)
  on.exit(daemons(0))
  invisible(mirai(1)[])
  out$round_trip <- median_of(21L, function() per_call(function() mirai(1)[], 200L))
  daemons(2)
  out$singly <- median_of(3L, function() {
    seconds({
      tasks <- lapply(seq_len(n_tasks), function(i) mirai(x * x, .args = list(x = i)))
      invisible(collect_mirai(tasks))
    })
  })
  out$map <- median_of(3L, function() seconds(mirai_map(seq_len(n_tasks), square)[]))
  out$many <- median_of(1L, function() seconds(mirai_map(many, square)[]))
  out$argument <- median_of(5L, function() seconds(mirai(length(x), .args = list(x = big))[]))
  out$constant <- median_of(5L, function() {
    seconds(mirai_map(1:40, function(i, x) length(x), .args = list(x = big[seq_len(length(big) / 10)]))[])
  })
  out$stop_idle <- median_of(5L, function() {
    daemons(n_idle)
    seconds(daemons(0))
  })
  daemons(n_daemons)
  out$memory <- stats::median(vapply(everywhere(Sys.getpid())[], pss, 0))
  out
}

measure_parallel <- function() {
  out <- list()
  cluster <- NULL
  out$start <- median_of(3L, function() {
    elapsed <- seconds(cluster <<- parallel::makePSOCKcluster(n_daemons))
    out$stop <<- c(out$stop, seconds(parallel::stopCluster(cluster)))
    elapsed
  })
  out$stop <- stats::median(out$stop)
  cluster <- parallel::makePSOCKcluster(1L)
  out$round_trip <- median_of(21L, function() per_call(function() parallel::clusterCall(cluster, identity, 1), 50L))
  parallel::stopCluster(cluster)
  cluster <- parallel::makePSOCKcluster(2L)
  out$singly <- median_of(3L, function() seconds(parallel::clusterApplyLB(cluster, seq_len(n_tasks), square)))
  out$map <- median_of(3L, function() seconds(parallel::parLapply(cluster, seq_len(n_tasks), square)))
  out$many <- median_of(1L, function() seconds(parallel::parLapply(cluster, many, square)))
  # To set against a map with a constant of a tenth of that, too.
  out$constant <- out$argument <- median_of(3L, function() seconds(parallel::clusterCall(cluster[1L], length, big)))
  parallel::stopCluster(cluster)
  cluster <- parallel::makePSOCKcluster(n_idle)
  out$stop_idle <- seconds(parallel::stopCluster(cluster))
  cluster <- parallel::makePSOCKcluster(n_daemons)
  out$memory <- stats::median(vapply(parallel::clusterCall(cluster, Sys.getpid), pss, 0))
  parallel::stopCluster(cluster)
  out
}

measure_future <- function() {
  out <- list()
  # Its overhead is of another order: fewer tasks, scaled up below.
  few <- max(20L, n_tasks %/% 100L)
  options(future.globals.maxSize = 1e9)
  out$start <- median_of(3L, function() {
    elapsed <- seconds(future::plan(future::multisession, workers = n_daemons))
    future::plan(future::sequential)
    elapsed
  })
  out$stop <- median_of(3L, function() {
    future::plan(future::multisession, workers = n_daemons)
    seconds(future::plan(future::sequential))
  })
  future::plan(future::multisession, workers = 2L)
  on.exit(future::plan(future::sequential))
  round_trip <- function() future::value(future::future(1))
  out$round_trip <- median_of(5L, function() per_call(round_trip, 10L))
  out$singly <- median_of(1L, function() {
    seconds({
      tasks <- lapply(seq_len(few), function(i) future::future(i * i))
      invisible(lapply(tasks, future::value))
    })
  }) * n_tasks / few
  out$map <- NA_real_
  if (requireNamespace("future.apply", quietly = TRUE)) {
    out$map <- median_of(3L, function() seconds(future.apply::future_lapply(seq_len(n_tasks), square)))
  }
  out$argument <- median_of(3L, function() seconds(future::value(future::future(length(big)))))
  pids <- lapply(1:2, function(i) future::future(Sys.getpid()))
  out$memory <- stats::median(vapply(pids, function(f) pss(future::value(f)), 0))
  out
}

rows <- data.frame(
  key = c("round_trip", "singly", "map", "many", "constant", "argument", "start", "stop", "stop_idle", "memory", "queued"),
  what = c(
    "round trip of a trivial task, 1 daemon",
    sprintf("%s tasks submitted singly, 2 daemons, each", format(n_tasks, big.mark = ",")),
    sprintf("map over %s elements, 2 daemons, each", format(n_tasks, big.mark = ",")),
    sprintf("map over %s elements, each", format(n_many, big.mark = ",", scientific = FALSE)),
    sprintf("map of 40 with a constant of %.0f MB, beside one argument of ten times that", length(big) * 8 / 1e7),
    sprintf("argument of %.0f MB", length(big) * 8 / 1e6),
    "start of 8 daemons",
    "stop of 8 idle daemons",
    "stop of 32 idle daemons",
    "memory of a daemon (PSS)",
    sprintf("%s queued tasks: growth of the session (RSS)", format(5L * n_tasks, big.mark = ",", scientific = FALSE))
  ),
  unit = c("us", "us", "us", "us", "ms", "ms", "ms", "ms", "ms", "MB", "MB"),
  factor = c(1e6, 1e6 / n_tasks, 1e6 / n_tasks, 1e6 / n_many, 1e3, 1e3, 1e3, 1e3, 1e3, 1, 1)
)

column <- function(measured) vapply(rows$key, function(key) if (is.null(measured[[key]])) NA_real_ else measured[[key]], 0) * rows$factor

ours <- column(measure_mirai())
table <- data.frame(what = rows$what, unit = rows$unit, mirai = ours)
peers <- list(parallel = measure_parallel)
if (has_future) peers$future <- measure_future
for (peer in names(peers)) {
  theirs <- column(peers[[peer]]())
  table[[peer]] <- theirs
  table[[paste(peer, "ratio")]] <- theirs / ours
}
numeric <- vapply(table, is.numeric, NA)
table[numeric] <- lapply(table[numeric], function(x) format(signif(x, 3L), digits = 3L, drop0trailing = TRUE))

cat(
  R.version.string, "| mirai", format(utils::packageVersion("mirai")),
  if (has_future) paste("| future", format(utils::packageVersion("future"))),
  "|", parallel::detectCores(), "cores |", format(Sys.Date()), "\n\n"
)
print(table, row.names = FALSE, right = FALSE)

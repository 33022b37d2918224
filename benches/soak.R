# A pool under mixed work for a long time: tasks of all sizes, errors, cancels, timeouts, tasks that are taken back from behind a
# long one, daemons that are killed. Every task has to come out as it must, and nothing may grow.
#
#   Rscript benches/soak.R [minutes] [folder]
#
# 10 minutes and target/soak by default. Prints a summary; the folder gets the samples (samples.csv) and a plot (soak.png).
# The exit status is 1 if a task came out wrong or if something has grown.

library(mirai)

given <- commandArgs(trailingOnly = TRUE)
minutes <- if (length(given)) as.numeric(given[[1L]]) else 10
folder <- if (length(given) > 1L) given[[2L]] else file.path("target", "soak")
dir.create(folder, showWarnings = FALSE, recursive = TRUE)

n_daemons <- 4L
retries <- 3L
every <- 1

# ---- what is counted

outcomes <- c(value = 0, error = 0, `timed out` = 0, cancelled = 0, lost = 0)
wrong <- character()
kills <- 0L

outcome_of <- function(x) {
  if (!is_error_value(x)) return("value")
  if (is_mirai_error(x)) return("error")
  switch(as.character(as.integer(x)), `5` = "timed out", `20` = "cancelled", `19` = "lost", paste("code", as.integer(x)))
}

# `is_right(values)`: which of the values are right, where they are values; `allowed`: outcomes besides that are right. Any task may
# be lost, to daemons that are killed under it as often as retries are allowed.
account <- function(kind, values, is_right, allowed = character()) {
  found <- vapply(values, outcome_of, "")
  for (outcome in unique(found)) outcomes[[outcome]] <<- sum(outcomes[outcome], na.rm = TRUE) + sum(found == outcome)
  plain <- found == "value"
  bad <- !(found %in% c(allowed, "lost", "value")) | (plain & !is_right(values))
  if (any(bad)) wrong <<- c(wrong, sprintf("%s: %s", kind, paste(unique(found[bad]), collapse = ", ")))
}

# ---- work

sized <- function(n) {
  lengths <- as.integer(10^runif(n, 0, 5))
  tasks <- lapply(lengths, function(k) mirai(rev(x), x = seq_len(k) + 0, .retries = retries))
  values <- collect_mirai(tasks)
  account("sized", values, function(v) mapply(function(x, k) identical(x, rev(seq_len(k) + 0)), v, lengths))
}

tiny_map <- function(n) {
  values <- mirai_map(seq_len(n), function(i) if (i %% 97L == 0L) stop("as planned") else i * 2L, .retries = retries)[]
  fails <- seq_len(n) %% 97L == 0L
  account("tiny map", values[!fails], function(v) unlist(v) == which(!fails) * 2L)
  account("failing elements", values[fails], function(v) rep(FALSE, length(v)), "error")
}

cancelled <- function(n) {
  tasks <- lapply(seq_len(n), function(i) mirai({ Sys.sleep(0.01); i }, i = i, .retries = retries))
  stop_mirai(tasks[seq(2L, n, 2L)])
  account("cancelled", collect_mirai(tasks), function(v) vapply(v, is.integer, NA), "cancelled")
}

timed_out <- function(n) {
  tasks <- lapply(seq_len(n), function(i) mirai(repeat Sys.sleep(0.001), .timeout = 1 + i))
  account("timed out", collect_mirai(tasks), function(v) rep(FALSE, length(v)), "timed out")
}

# Short ones that were sent behind a long one go to other daemons.
taken_back <- function(n) {
  values <- mirai_map(seq_len(n), function(i) { if (i == 3L) Sys.sleep(0.3); i }, .retries = retries)[]
  account("taken back", values, function(v) unlist(v) == which(vapply(values, outcome_of, "") == "value"))
}

# A daemon that takes the place of another has it, too.
setting_up <- function(n) {
  everywhere(soak_state <<- n, n = n)
  account("set up", mirai_map(1:20, function(i) soak_state, .retries = retries)[], function(v) unlist(v) == n)
}

work <- list(sized, tiny_map, cancelled, timed_out, taken_back, setting_up)
amounts <- list(c(5, 60), c(100, 5000), c(10, 60), c(2, 8), c(50, 2000), c(1, 4))

kill_one <- function() {
  pids <- status()$workers$pid
  if (length(pids)) {
    tools::pskill(pids[[sample.int(length(pids), 1L)]], tools::SIGKILL)
    kills <<- kills + 1L
  }
}

# ---- what must not grow

lines_of <- function(path) tryCatch(suppressWarnings(readLines(path)), error = function(e) character())

kb_of <- function(pid, file, field) {
  kb <- sub("[^0-9]*([0-9]+) kB.*", "\\1", grep(paste0("^", field, ":"), lines_of(sprintf("/proc/%d/%s", pid, file)), value = TRUE))
  if (length(kb)) as.numeric(kb) else NA_real_
}

# All processes that this one has started, directly or not.
descendants <- function(pid) {
  threads <- list.files(sprintf("/proc/%d/task", pid), full.names = TRUE)
  children <- as.integer(unlist(strsplit(unlist(lapply(file.path(threads, "children"), lines_of)), " ")))
  c(children, unlist(lapply(children, descendants)))
}

# Microseconds of round trips.
latencies <- function(n = 100L) {
  took <- vapply(seq_len(n), function(i) {
    start <- Sys.time()
    mirai(1L)[]
    as.numeric(Sys.time() - start, units = "secs")
  }, 0)
  1e6 * stats::quantile(took, c(0.5, 0.95, 0.99), names = FALSE)
}

sample_now <- function(begun) {
  gc(FALSE)
  pids <- status()$workers$pid
  now <- latencies()
  data.frame(
    seconds = as.numeric(Sys.time() - begun, units = "secs"),
    p50 = now[1L], p95 = now[2L], p99 = now[3L],
    host = kb_of(Sys.getpid(), "status", "VmRSS") / 1000,
    daemons = sum(vapply(pids, kb_of, 0, "smaps_rollup", "Pss"), na.rm = TRUE) / 1000,
    descriptors = length(list.files("/proc/self/fd")),
    mappings = length(lines_of("/proc/self/maps")),
    processes = length(descendants(Sys.getpid())),
    tasks = sum(outcomes), kills = kills
  )
}

# The median of the last fifth beside that of the second one, when all caches are warm.
growth <- function(samples) {
  fifth <- cut(seq_len(nrow(samples)), 5L, labels = FALSE)
  of <- function(part) vapply(samples[fifth == part, c("host", "daemons", "descriptors", "mappings", "processes")], stats::median, 0)
  data.frame(before = of(2L), after = of(5L))
}

# Medians of what was sampled within the same ten seconds.
plot_samples <- function(samples, path) {
  grDevices::png(path, 1000, 560, res = 110, type = "cairo")
  on.exit(grDevices::dev.off())
  smooth <- stats::aggregate(samples, list(samples$seconds %/% 10), stats::median)
  graphics::par(mfrow = c(1L, 2L), mar = c(3.5, 4, 2, 1), mgp = c(2.3, 0.7, 0), las = 1)
  draw <- function(values, colours, main, labels, ...) {
    graphics::matplot(smooth$seconds / 60, values, type = "l", lty = 1, lwd = 1.5, col = colours, main = main, xlab = "minutes", ylab = "",
                      cex.main = 0.95, ...)
    graphics::legend("topright", labels, col = colours, lty = 1, lwd = 1.5, bty = "n", cex = 0.8)
  }
  colours <- c("#1b6ca8", "#e08e0b", "#b3262e")
  draw(smooth[c("p50", "p95", "p99")] / 1000, colours, "Round trip, ms", c("median", "95 %", "99 %"), log = "y", yaxt = "n")
  graphics::axis(2, 10^(-2:3), format(10^(-2:3), scientific = FALSE, drop0trailing = TRUE))
  draw(smooth[c("host", "daemons")], colours, "Memory, MB", c("host (RSS)", sprintf("%d daemons (PSS)", n_daemons)),
       ylim = c(0, 1.3 * max(smooth$host, smooth$daemons)))
}

# ---- the run

run <- function(begun) {
  samples <- NULL
  next_sample <- 0
  while ((elapsed <- as.numeric(Sys.time() - begun, units = "secs")) < 60 * minutes) {
    kind <- sample.int(length(work), 1L)
    range <- amounts[[kind]]
    work[[kind]](as.integer(runif(1, range[1L], range[2L])))
    if (runif(1) < 0.2) kill_one()
    if (elapsed < next_sample) next
    samples <- rbind(samples, sample_now(begun))
    next_sample <- elapsed + every
  }
  samples
}

set.seed(1)
daemons(n_daemons)
# Deaths are the point here: they are counted, not warned of.
samples <- suppressWarnings(run(Sys.time()))
counts <- info()
daemons(0)

utils::write.csv(samples, file.path(folder, "samples.csv"), row.names = FALSE)
plot_samples(samples, file.path(folder, "soak.png"))

grown <- growth(samples)
has_grown <- grown$after > 1.1 * grown$before + c(5, 5, 2, 10, 1)
cat(sprintf("%.1f minutes, %s tasks, %d daemons killed\n", minutes, format(sum(outcomes), big.mark = ","), kills))
print(outcomes)
cat(sprintf("left in the pool: %d awaiting, %d executing\n", counts[["awaiting"]], counts[["executing"]]))
cat(sprintf("round trip, median of the medians: %.0f us, of the 99 %%: %.0f us\n", stats::median(samples$p50), stats::median(samples$p99)))
print(round(grown, 1))
for (text in unique(wrong)) cat("WRONG:", text, "\n")
for (what in rownames(grown)[has_grown]) cat("GROWN:", what, "\n")
if (length(wrong) || any(has_grown) || counts[["awaiting"]] + counts[["executing"]] > 0) quit(status = 1L)

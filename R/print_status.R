# The printed form of status(): what people look for first. All of it is in the list.

print.miraiStatus <- function(x, ...) {
  cat(sprintf("%s connected%s, at %s\n", counted(x$connections, "daemon"),
              if (x$starting > 0L) sprintf(", %d starting", x$starting) else "", paste(x$daemons, collapse = " and ")))
  # Without dispatcher each daemon has a queue of its own.
  if (!is.null(x$mirai)) cat(sprintf(
    "%s awaiting%s, %d executing, %d completed\n", counted(x$mirai[["awaiting"]], "task"), memory_text(x$memory),
    x$mirai[["executing"]], x$mirai[["completed"]]
  ))
  print_workers(x$workers)
  cat(sprintf("! %s\n", attention(x)), sep = "")
  invisible(x)
}

counted <- function(n, what) sprintf("%d %s%s", n, what, if (n == 1L) "" else "s")

memory_text <- function(memory) {
  if (memory[["used"]] < 0.05 && is.na(memory[["capacity"]])) return("")
  sprintf(" (%.1f MB%s)", memory[["used"]], if (is.na(memory[["capacity"]])) "" else sprintf(" of %.1f", memory[["capacity"]]))
}

most_workers_shown <- 20L

# The machine only if it is not one for all.
print_workers <- function(workers) {
  n <- nrow(workers)
  if (!n) return()
  shown <- workers[seq_len(min(n, most_workers_shown)), ]
  table <- data.frame(
    id = shown$id, pid = text_or_blank("%d", shown$pid), host = shown$host, state = state_shown(shown),
    task = text_or_blank("%d", shown$task), age = text_or_blank("%.1f s", shown$age), done = shown$done,
    busy = text_or_blank("%.1f s", shown$busy), memory = text_or_blank("%.0f MB", shown$memory)
  )
  if (length(unique(workers$host)) == 1L) table$host <- NULL
  print(table, row.names = FALSE)
  if (n > nrow(table)) cat(sprintf("... and %d more, in `status()$workers`\n", n - nrow(table)))
}

# With what the process is at, where that says why a task takes its time.
state_shown <- function(workers) {
  tells <- workers$activity %in% hindrances | (workers$state %in% c("setting up", "stopping") & !is.na(workers$activity))
  ifelse(tells, paste(workers$state, workers$activity, sep = ", "), workers$state)
}

hindrances <- c("stopped", "swapping", "disk")

text_or_blank <- function(format, x) ifelse(is.na(x), "", sprintf(format, x))

# A line for each thing that somebody should look at.
attention <- function(x) {
  dead <- nrow(x$deaths)
  failed <- sum(x$failed$count)
  refused <- x$refused[x$refused > 0]
  waiting <- if (is.null(x$mirai)) 0L else x$mirai[["awaiting"]]
  cut <- function(reason) printable(sub("\n.*", " ...", reason))
  c(
    if (waiting > 0L && !nrow(x$workers) && x$starting == 0L)
      sprintf("%s, and no daemon is there or being started",
              if (waiting == 1L) "a task waits" else sprintf("%d tasks wait", waiting)),
    if (nrow(x$workers)) c(stopped_text(x$workers), deaf_text(x$workers)),
    if (waiting > 0L) set_up_text(x$workers),
    if (!is.na(x$given_up)) sprintf("the pool does not heal any more: %s (`status()$given_up`)", cut(x$given_up)),
    if (!is.na(x$heals_again)) sprintf(
      "as many daemons were launched as `options(mirai.heal_budget = )` allows within an hour: the next at %s (`status()$heals_again`)",
      format(x$heals_again, "%H:%M")),
    # More are not kept.
    if (dead) sprintf("%s%s %s died, the last %s (`status()$deaths`)", if (dead >= 100L) "at least " else "", counted(dead, "daemon"),
                      if (dead == 1L) "has" else "have", cut(x$deaths$reason[dead])),
    if (failed) sprintf("%s will not come: %s (`status()$failed`)", counted(failed, "launched daemon"), cut(x$failed$reason[1L])),
    if (length(refused)) sprintf("%s turned away: %s (`status()$refused`)",
                                 if (sum(refused) == 1) "a peer was" else sprintf("%.0f peers were", sum(refused)),
                                 paste(sprintf("%.0f %s", refused, names(refused)), collapse = ", "))
  )
}

stopped_text <- function(workers) {
  pids <- workers$pid[workers$activity %in% "stopped"]
  if (length(pids)) sprintf("%s stopped, as by SIGSTOP: `kill -CONT %s` resumes %s",
                            is_or_are(length(pids), "daemon's process", "daemons' processes"), paste(pids, collapse = " "),
                            if (length(pids) == 1L) "it" else "them")
}

# Those that were asked to stop a while ago.
deaf_text <- function(workers) {
  deaf <- workers$state == "stopping" & !workers$activity %in% c("stopped", NA) & workers$age > 1
  n <- sum(deaf)
  if (n) sprintf(
    "%s still at a task that nobody waits for, in code that does not look for interrupts: `stop_mirai(force = TRUE)` ends %s",
    is_or_are(n, "daemon", "daemons"), if (n == 1L) "it" else "them"
  )
}

# Those that are prepared for longer than is noticed, while tasks wait.
set_up_text <- function(workers) {
  n <- sum(workers$state == "setting up" & workers$age > 1)
  if (n) sprintf(
    "%s still at what `everywhere()` has set up, which comes before %s first task: `tools::pskill()` ends %s, and so what hangs",
    is_or_are(n, "daemon", "daemons"), if (n == 1L) "its" else "their", if (n == 1L) "it" else "them"
  )
}

is_or_are <- function(n, one, many) if (n == 1L) paste("a", one, "is") else paste(n, many, "are")

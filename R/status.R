# The status of a pool.

info_names <- c("connections", "cumulative", "awaiting", "executing", "completed")

info <- function(.compute = NULL) {
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) return(NULL)
  counts <- pool_counts(pool)
  names(counts) <- info_names
  if (!pool$dispatcher) counts[-1L] <- NA
  counts
}

pool_counts <- function(pool) {
  if (pool$sync) return(integer(5L))
  if (!is.null(pool$bridge)) return(shadowed_counts(pool))
  checked(.Call(wrap__hub_info, pool$hub))
}

status <- function(.compute = NULL) {
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) return(list(connections = 0L, daemons = 0L))
  if (pool$sync) return(list(connections = 0L, daemons = pool$url))
  counts <- pool_counts(pool)
  names(counts) <- info_names
  result <- list(connections = counts[[1L]], daemons = pool_urls(pool))
  refused <- checked(.Call(wrap__hub_refused, pool$hub))
  names(refused) <- c("strangers", "unproven", "silent", "unfit")
  given_up <- checked(.Call(wrap__hub_given_up, pool$hub))
  tables <- list(
    starting = checked(.Call(wrap__hub_starting, pool$hub)),
    workers = worker_table(pool), failed = absence_table(pool), refused = refused, deaths = death_table(pool),
    given_up = given_up,
    heals_again = structure(checked(.Call(wrap__hub_heals_again, pool$hub)), class = c("POSIXct", "POSIXt"))
  )
  if (pool$dispatcher) {
    memory <- checked(.Call(wrap__hub_memory, pool$hub)) / 1e6
    names(memory) <- c("used", "peak", "capacity")
    result <- c(result, list(mirai = counts[3:5], memory = memory))
  }
  structure(c(result, tables), class = "miraiStatus")
}

# A row for each reason why launched daemons will never come.
absence_table <- function(pool) {
  absent <- checked(.Call(wrap__hub_absent, pool$hub))
  data.frame(count = absent$count, reason = absent$reason, command = absent$command)
}

# A row for each daemon that was lost.
death_table <- function(pool) {
  deaths <- checked(.Call(wrap__hub_deaths, pool$hub))
  data.frame(
    time = structure(deaths$time, class = c("POSIXct", "POSIXt")),
    id = deaths$id,
    pid = deaths$pid,
    host = told_or(deaths$host, host_of(deaths$address)),
    job = deaths$job,
    age = round(deaths$age, 3L),
    done = deaths$done,
    task = deaths$task,
    attempt = deaths$attempt,
    retried = ifelse(is.na(deaths$task), NA, deaths$retried),
    killed = deaths$killed,
    reason = deaths$reason,
    output = deaths$output
  )
}

# A row for each daemon that is connected, or may return. Seconds to a thousandth, megabytes to a tenth: more means nothing.
worker_table <- function(pool) {
  workers <- checked(.Call(wrap__hub_workers, pool$hub))
  idle <- is.na(workers$task)
  resting <- ifelse(!is.na(workers$setup), "setting up", ifelse(workers$ready, "idle", "unprepared"))
  state <- ifelse(idle, resting, ifelse(workers$over, "stopping", "busy"))
  data.frame(
    id = workers$id,
    pid = workers$pid,
    host = told_or(workers$host, host_of(workers$address)),
    job = workers$job,
    address = workers$address,
    state = ifelse(workers$away, "away", state),
    activity = workers$activity,
    task = workers$task,
    age = round(ifelse(idle, workers$setup, workers$age), 3L),
    done = workers$done,
    busy = round(workers$busy, 3L),
    returns = workers$returns,
    memory = round(vapply(workers$pid, resident_memory, 0), 1L)
  )
}

# What daemons have told of themselves, and something else where they have not.
told_or <- function(told, otherwise) {
  is_silent <- is.na(told)
  told[is_silent] <- otherwise[is_silent]
  told
}

# The machine of a daemon, by its name if it is this one, else by its address.
host_of <- function(address) {
  host <- sub("^\\[?(.*?)\\]?:[0-9]+$", "\\1", address)
  is_here <- address == "local" | grepl("^(127\\.|::1$)", host)
  if (!all(is_here)) is_here <- is_here | host %in% checked(.Call(wrap__network_addresses))
  ifelse(is_here, Sys.info()[["nodename"]], host)
}

# Megabytes of memory that a process of this machine has in use, shared pages included; NA where it cannot be told.
resident_memory <- function(pid) {
  file <- sprintf("/proc/%d/status", pid)
  # A warning of a file that is not there would leave its connection open.
  if (is.na(pid) || !file.exists(file)) return(NA_real_)
  lines <- tryCatch(readLines(file), error = function(e) NULL, warning = function(w) NULL)
  kilobytes <- sub("^VmRSS:\\s*([0-9]+) kB$", "\\1", grep("^VmRSS:", lines, value = TRUE))
  if (length(kilobytes)) as.numeric(kilobytes) * 1024 / 1e6 else NA_real_
}

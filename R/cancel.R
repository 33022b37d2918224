# Cancelling tasks, and what becomes of daemons that do not stop.

stop_mirai <- function(x, force = FALSE) {
  call <- sys.call()
  force <- check_flag(force, "force", call)
  stopped <- if (is.list(x)) stop_all(unclass(x), force, call) else stop_one(x, force, call)
  settle_shadows(x)
  invisible(stopped)
}

stop_all <- function(x, force = FALSE, call = sys.call(-1L)) {
  stopped <- checked(.Call(wrap__mirai_cancel, x, force), call)
  # Those whose value has been read know their daemons no more.
  if (force) {
    rest <- !stopped & vapply(x, inherits, NA, "mirai")
    stopped[rest] <- vapply(x[rest], free_daemon, NA)
  }
  stopped
}

stop_one <- function(m, force, call) {
  if (has_task(m)) return(checked(.Call(wrap__task_cancel, m, force), call))
  force && inherits(m, "mirai") && free_daemon(m)
}

# Whether a daemon was still at the task of a mirai that has its value; it is killed.
free_daemon <- function(m) {
  number <- attr(m, "id", TRUE)
  if (has_task(m) || is.null(number)) return(FALSE)
  for (name in names(profiles)) {
    hub <- profiles[[name]]$hub
    if (!is.null(hub) && checked(.Call(wrap__hub_force, hub, number))) return(TRUE)
  }
  FALSE
}

# Milliseconds after which a daemon that does not stop its task is killed; NULL for never. Nobody knows what is lost with one that
# keeps its state from task to task, and one that is not replaced is missed.
check_kill_after <- function(kill_after, heals, dispatcher, arguments, call) {
  keeps_state <- !is.null(arguments$cleanup) && !arguments$cleanup
  if (is.null(kill_after)) return(if (heals && dispatcher && !keeps_state) 5000)
  if (!is_limit(kill_after)) abort(sprintf(
    "`kill_after` must be a number of milliseconds of at least 0, or `Inf` for never, not `%s`.", shown(kill_after)
  ), call)
  if (!dispatcher) warn("`kill_after` needs dispatcher, so it is ignored", call)
  if (dispatcher && is.finite(kill_after)) trunc(as.double(kill_after))
}

# Milliseconds for which a task may run; NULL for no limit.
check_runtime <- function(runtime, name, call) {
  if (!is_limit(runtime) || runtime == 0) abort(sprintf(
    "`%s` must be a number of milliseconds above 0, or `Inf` for no limit, not `%s`.", name, shown(runtime)
  ), call)
  if (is.finite(runtime)) max(trunc(as.double(runtime)), 1)
}

# Starting daemons on this machine.

launch_local <- function(n = 1L, ..., .compute = NULL) {
  call <- sys.call()
  pool <- pool_to_launch(.compute, call)
  n <- check_count(n, call)
  arguments <- merged_arguments(pool, list(...), call)
  if (!is.null(pool$nodes)) await_launches(pool)
  ticket <- launch_daemons(pool, n, arguments, call)
  if (!is.null(pool$nodes) && n > 0L) note_launch(pool, n, ticket)
  n
}

pool_to_launch <- function(.compute, call) {
  pool <- find_pool(.compute, call)
  if (is.null(pool)) abort("daemons must be set to use this function", call)
  if (pool$sync) abort("daemons cannot be launched for synchronous compute profiles", call)
  pool
}

# The arguments of daemon() that the pool has, and those given now, which win.
merged_arguments <- function(pool, dots, call) {
  given <- daemon_arguments(dots, call)
  arguments <- pool$arguments
  arguments[names(given)] <- given
  arguments
}

# A ticket to wait for them with.
launch_daemons <- function(pool, n, arguments, call, is_awaited = FALSE) {
  if (n == 0L) return(invisible())
  launch(pool$hub, vapply(seq_len(n), function(i) pool_call(pool, arguments, is_local = TRUE), ""), call, is_awaited)
}

# `is_awaited`: the caller waits for the daemons and says what has become of them. Else the user is warned when it turns out
# that some will not come.
launch <- function(hub, calls, call, is_awaited = FALSE) {
  checked(.Call(wrap__launch, hub, calls, .libPaths(), getNamespaceInfo(topenv(), "path"), is_awaited), call)
}

# Called by the native side, in whatever call of the package comes next, or in R's event loop, `by_message`. At once: a wait may
# have no end. Where warnings are errors a message as well, as that call has done nothing wrong.
warn_of_absence <- function(missed, count, reason, command, by_message) {
  tell <- function(text) if (by_message || getOption("warn", 0L) >= 2L) message(text) else
    # R shows an immediate one even to who has switched warnings off.
    warning(text, call. = FALSE, immediate. = getOption("warn", 0L) >= 0L)
  if (missed == "everywhere") return(warn_of_set_ups(tell))
  if (missed == "relaunch") return(relaunch(reason, count))
  if (missed %in% c("died", "replaced") && !is.null(session$tracer)) safely(trace_changes())
  if (missed == "replaced") return()
  text <- switch(missed,
    pool = sprintf("%d launched daemon%s will not come, so tasks have to wait for others (see `status()$failed`): ",
                   count, if (count == 1L) "" else "s"),
    task = sprintf("no daemon could be started for %s, which %s lost (error 19): ",
                   if (count == 1L) "a task" else sprintf("%d tasks", count), if (count == 1L) "is" else "are"),
    launch = sprintf("%d launched daemon%s: ", count, if (count == 1L) " is late" else "s are late"),
    lost = "daemons are lost: ",
    died = if (count == 1L) "a daemon has died: " else sprintf("%d daemons have died:\n", count),
    `given-up` = "the pool does not heal any more: ",
    elsewhere = return(message("mirai: ", printable(reason))),
    unserved = ""
  )
  text <- paste0("mirai: ", text, reason, if (nzchar(command)) paste0("\nThe command was: ", command))
  tell(printable(text))
}

# The call that makes a process a daemon of the pool. Without dispatcher it brings its stream with it.
pool_call <- function(pool, arguments, is_local = FALSE) {
  within_machine <- is_local && !is.null(pool$local_url)
  # Of no use there.
  if (within_machine) arguments$tlscert <- NULL
  daemon_call(
    if (within_machine) pool$local_url else dialled_url(pool$url, is_local),
    c(if (!pool$dispatcher) list(dispatcher = FALSE), arguments,
      if (!within_machine && is.null(arguments$tlscert) && !is.null(pool$tlscert)) list(tlscert = pool$tlscert),
      if (!pool$dispatcher && !pool$seeded) list(rs = take_stream(pool)))
  )
}

# Where daemons find a pool that listens at all addresses of this machine.
dialled_url <- function(url, is_local) {
  all <- "://(0\\.0\\.0\\.0|\\[[0:]+\\]|\\*)?:"
  if (!grepl(all, url)) return(url)
  host <- if (is_local) "127.0.0.1" else host_addresses()[[1L]]
  sub(all, paste0("://", host, ":"), url)
}

daemon_call <- function(url, arguments) {
  values <- vapply(arguments, call_text, "")
  paste0("mirai::daemon(", encodeString(url, quote = "\""),
         if (length(values)) paste0(",", names(arguments), "=", values, collapse = ""), ")")
}

call_text <- function(x) {
  # Lines of a text stay lines. Shells, and the scripts that start R, differ in what they make of two backslashes.
  if (is.character(x)) x <- paste0("\"", gsub("\"", "\\\"", gsub("\\", "\\x5c", x, fixed = TRUE), fixed = TRUE), "\"")
  # as.character() would write the user's decimal separator.
  if (is.double(x)) x <- vapply(x, deparse, "")
  if (length(x) == 1L) as.character(x) else paste0("c(", paste(x, collapse = ","), ")")
}

daemon_argument_names <- c("asyncdial", "autoexit", "cleanup", "output", "maxtasks", "idletime", "walltime")

# Those of `...` that daemon() has a use for; it is said which it has not.
daemon_arguments <- function(dots, call) {
  if (!length(dots)) return(list())
  names <- names(dots)
  if (is.null(names)) names <- character(length(dots))
  tlscert <- dots[["tlscert"]]
  if (!is.null(tlscert)) check_certificates(tlscert, "tlscert", call)
  dots[["tlscert"]] <- NULL
  names <- names[names != "tlscert"]
  # Packages pass it, for earlier versions.
  dots[["timerstart"]] <- NULL
  names <- names[names != "timerstart"]
  known <- names %in% daemon_argument_names
  if (!all(known)) warn(sprintf("not an argument of `daemon()`, so ignored: %s",
    paste(ifelse(nzchar(names), sprintf("`%s`", names), sprintf("`%s`", vapply(dots, shown, "")))[!known], collapse = ", ")), call)
  usable <- vapply(dots, function(x) (is.logical(x) || is.numeric(x)) && length(x) == 1L, NA)
  if (any(known & !usable)) warn(sprintf("neither a logical nor a number, so ignored: %s",
    paste0("`", names[known & !usable], "`", collapse = ", ")), call)
  arguments <- dots[known & usable]
  check_daemon_arguments(arguments, call)
  c(arguments, if (!is.null(tlscert)) list(tlscert = tlscert))
}

# As daemon() itself would, so that it is said here and not by each of the daemons.
check_daemon_arguments <- function(arguments, call) {
  for (name in intersect(c("asyncdial", "cleanup", "output"), names(arguments))) check_flag(arguments[[name]], name, call)
  for (name in intersect(c("maxtasks", "idletime", "walltime"), names(arguments))) check_limit(arguments[[name]], name, call)
}

local_url <- function(tcp = FALSE, port = 0) {
  tcp <- check_flag(tcp, "tcp", sys.call())
  if (tcp) {
    check_port(port)
    return(sprintf("tcp://127.0.0.1:%d", as.integer(port)))
  }
  paste0(local_prefix(), checked(.Call(wrap__local_url_name)))
}

local_prefix <- function() {
  switch(Sys.info()[["sysname"]], Linux = "abstract://", Windows = "ipc://", "ipc:///tmp/")
}

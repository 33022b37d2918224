# daemon(): this process as a worker, and what it does when the native loop calls.

daemon <- function(url, dispatcher = TRUE, ..., asyncdial = FALSE, autoexit = TRUE, cleanup = TRUE, output = FALSE,
                   idletime = Inf, walltime = Inf, maxtasks = Inf, tlscert = NULL, rs = NULL) {
  call <- sys.call()
  if (missing(url)) absent("url", call)
  url
  url <- check_url(url, call)
  check_certificates(tlscert, "tlscert", call)
  dispatcher <- check_flag(dispatcher, "dispatcher", call)
  asyncdial <- check_flag(asyncdial, "asyncdial", call)
  cleanup <- check_flag(cleanup, "cleanup", call)
  output <- check_flag(output, "output", call)
  check_limit(idletime, "idletime", call)
  check_limit(walltime, "walltime", call)
  check_limit(maxtasks, "maxtasks", call)
  if (session$on_daemon) abort("this process is a daemon already", call)
  autoexit <- autoexit_code(autoexit, call)
  if (!any(is.finite(c(idletime, walltime, maxtasks)))) check_other_host(url, call)
  # What fails is raised here, where output goes where it should again.
  code <- checked(work(url, dispatcher, asyncdial, autoexit, cleanup, output, idletime, walltime, maxtasks, rs, tlscert), call)
  if (code == interrupted_code) raise_interrupt()
  invisible(code)
}

# The host itself as its daemon would never come back: what it waits for is its own next call.
check_other_host <- function(url, call) {
  hosts <- c(unlist(lapply(as.list(profiles), pool_urls)),
             if (!is.null(session$ephemeral)) checked(.Call(wrap__hub_urls, session$ephemeral)))
  if (any(vapply(hosts, is_same_address, NA, url)))
    abort(paste0("this session is the host that listens at `url`, and as its own daemon it would never come back: ",
                 "call `daemon()` in another R process, or set `maxtasks`, `idletime` or `walltime`."), call)
}

# Whether both addresses lead to the same host, when dialled in its own session. Where there is a port, that decides.
is_same_address <- function(own, dialled) {
  if (own == dialled) return(TRUE)
  own <- host_and_port(own)
  dialled <- host_and_port(dialled)
  here <- c("localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]", Sys.info()[["nodename"]], own[1L])
  !is.null(own) && !is.null(dialled) && own[2L] == dialled[2L] && dialled[1L] %in% here
}

# Host and port of an address; NULL if it does not have both.
host_and_port <- function(url) {
  parts <- regmatches(url, regexec("^[a-z+]+://(\\[[^]]*\\]|[^]/:]*):([0-9]+)", url))[[1L]]
  if (length(parts)) parts[-1L]
}

# Signals an interrupt as R does for Ctrl-C.
raise_interrupt <- function() {
  signalCondition(structure(list(), class = c("interrupt", "condition")))
  invokeRestart("abort")
}

# Packages that change vectors where they lie, whoever else refers to them: once one of these is loaded, each task of a map gets
# copies of the constants.
changers <- c("data.table", "collapse", "bit")

copy_constants <- function(...) .Call(wrap__copy_for_each_task)

watch_for_changers <- function() {
  for (package in changers) {
    event <- packageEvent(package, "onLoad")
    if (isNamespaceLoaded(package)) copy_constants() else
      if (!any(vapply(getHook(event), identical, NA, copy_constants))) setHook(event, copy_constants)
  }
}

# The exit code, or a failure.
work <- function(url, dispatcher, asyncdial, autoexit, cleanup, output, idletime, walltime, maxtasks, rs, tlscert) {
  if (!output) {
    discard_output()
    on.exit(restore_output(), add = TRUE)
  }
  on.exit(leave_daemon(), add = TRUE)
  watch_for_changers()
  session$to_be_daemon <- FALSE
  session$on_loop <- TRUE
  session$cleaning <- FALSE
  session$output <- output
  # Found by name in this frame; see cluster.R.
  master <- relaying
  # Errors and interrupts of tasks, also in reading or serializing them, end in the native loop, which asks for what was
  # noted here. The outer handlers keep R from reporting an error by itself; they are reached only by what comes before that
  # loop or after it, as a second signal does.
  session$noted <- NULL
  tryCatch(
    withCallingHandlers(
      .Call(wrap__daemon_run, url, !dispatcher, asyncdial, autoexit, as.double(idletime), as.double(walltime),
            as.double(maxtasks), interactive(), daemon_handlers(url, cleanup, rs), tempdir(), tlscert),
      error = note_error, interrupt = note_interrupt, warning = note_warning, condition = note_signal
    ),
    error = identity, interrupt = function(condition) interrupted_code
  )
}

# What `daemon_run` returns of a loop that somebody at this process has ended.
interrupted_code <- -1L

# TRUE leaves at once, NA finishes the task, FALSE stays. Numbers are signals to others, and mean TRUE.
autoexit_code <- function(autoexit, call) {
  if (!(is.logical(autoexit) || is.numeric(autoexit)) || length(autoexit) != 1L)
    abort(sprintf("`autoexit` must be `TRUE`, `FALSE` or `NA`, not `%s`.", shown(autoexit)), call)
  as.integer(as.logical(autoexit))
}

on_daemon <- function() session$on_daemon

task_attempt <- function() checked(.Call(wrap__task_attempt))

# Called by the native loop, which takes errors of evaluate(), and calls after() if look() fails or finds something, and again
# after an error. The others may not raise any.
daemon_handlers <- function(url, cleanup, rs) {
  snapshot <- NULL
  is_traced <- !is.null(session$tracer)
  own_stream <- if (is.numeric(rs) && length(rs)) as.integer(rs)
  list(
    welcome = function(stream, settings) {
      session$serial <- settings
      session$on_daemon <- TRUE
      # The stream given to daemon() is for the start; another pool later brings its own.
      stream <- if (is.null(own_stream)) stream else own_stream
      own_stream <<- NULL
      if (!is.null(stream)) assign(".Random.seed", stream, envir = globalenv())
      # Before the snapshot, as an exporter brings packages and environment variables with it.
      if (is_traced) trace_connect(url)
      if (cleanup) snapshot <<- take_snapshot()
      snapshot
    },
    evaluate = evaluate,
    failed = failed_task,
    written = if (is_traced) function() trace_evaluated(FALSE),
    after = function(flags, streamed) {
      if (streamed) restore_own_stream()
      if (cleanup) if (flags == flag_everywhere) snapshot <<- snapshot_or(snapshot) else clean_up(snapshot)
      # Of writing the result.
      if (!is.null(session$beside)) finish_beside()
      snapshot
    },
    look = trimmed$look,
    pure_call = pure_call,
    are_names_of_base = are_names_of_base,
    away = if (is_traced) function(broke, ended, returned) safely(trace_away(broke, ended, returned)),
    left = if (is_traced) function() safely(trace_disconnect())
  )
}

# Only records: the stack may be almost full.
note_error <- function(condition) {
  session$noted <- list(condition = condition, calls = sys.calls())
  # A task may have set so low a limit that nothing can be told or put back. In a handler there is room to raise it.
  if (getOption("expressions") < 500L) options(expressions = 500L)
}

# An error leaves by a jump, and the native loop calls again: a handler here would cost as much as all the rest.
clean_up <- function(snapshot) {
  if (session$cleaning) {
    session$noted <- NULL
    renew_globals(snapshot)
  }
  session$cleaning <- TRUE
  restore_daemon(snapshot)
  session$cleaning <- FALSE
}

# The new state to come back to, or the one before if it cannot be looked at.
snapshot_or <- function(snapshot) {
  trimmed$lift_limits()
  suspendInterrupts(tryCatch(take_snapshot(), error = function(e) snapshot))
}

note_interrupt <- function(condition) session$noted <- condition

note_signal <- function(condition) session$signalled <- condition

# A warning that R would put off is kept until the task has ended; R itself would print it as the daemon leaves. One at
# the top of a task names a call of ours, so that it is shown without. One that becomes an error is left to what makes
# error values. stop() and signalCondition() may come here with a warning, too, which then is none.
note_warning <- function(condition) {
  # Such an element is evaluated again, and its warning comes again.
  if (!is.null(session$pure)) {
    session$signalled <- condition
    invokeRestart("muffleWarning")
  }
  warn <- getOption("warn")
  if (!isTRUE(warn %in% 0:1) || !can_muffle(condition)) return()
  call <- conditionCall(condition)
  at_top <- identical(call, task_call)
  shown <- if (is_map_call(call)) map_call_shown else if (!at_top) call
  if (session$on_loop && warn == 0L) keep_warning(conditionMessage(condition), shown) else {
    if (identical(shown, call)) return()
    condition["call"] <- list(shown)
    warning(condition)
  }
  invokeRestart("muffleWarning")
}

can_muffle <- function(condition) {
  "muffleWarning" %in% vapply(computeRestarts(condition), function(restart) restart[[1L]], "")
}

# As many warnings as R keeps. They are printed before the result is sent: the prompt of the host, who waits for it,
# comes after them.
keep_warning <- function(message, call) {
  if (!session$output || length(session$warnings) >= 50L) return()
  session$warnings <- c(session$warnings, `names<-`(list(call), message))
  session$beside <- TRUE
}

print_warnings <- function() {
  text <- utils::capture.output(print(structure(session$warnings, class = "warnings")))
  session$warnings <- NULL
  # In one write, as others print there, too.
  cat(paste0(text, "\n", collapse = ""), file = stderr())
}

# The error value of a task that failed, could not be read, or whose value could not be written; NULL if it was an
# interrupt. `failure`: what the native loop says; or what R's jump has carried, which is a condition if R has looked for
# handlers that leave, but, for lack of stack, not for those that note.
failed_task <- function(failure) {
  if (!is.null(session$beside)) finish_beside()
  if (!is.null(session$evaluated)) trace_evaluated(TRUE)
  noted <- session$noted
  session$noted <- NULL
  # R's jump carries the bare message once it has run the code of an on.exit() on its way.
  if (is.list(noted) && !inherits(noted, "condition")) return(noted_error(noted))
  if (is.character(failure)) return(plain_error(failure))
  if (inherits(noted, "interrupt") || inherits(failure, "interrupt")) return(NULL)
  if (inherits(failure, "condition")) mirai_error(failure, list()) else unnoted_error()
}

noted_error <- function(noted) {
  condition <- noted$condition
  hint <- emptiness()
  if (!is.null(hint) && is.list(condition)) condition$message <- paste(c(condition$message, hint), collapse = "\n")
  error <- error_here(condition, noted$calls)
  if (is.null(error)) plain_error(full_message(condition)) else error
}

# Jumps that no handler is told of: stop() with a condition that is no error, such as a warning that was caught; the
# restart "abort"; before R 4.2, a lack of stack.
unnoted_error <- function() {
  if (tryCatch(is_last_message(session$signalled), error = function(e) FALSE)) return(mirai_error(session$signalled, list()))
  plain_error(paste0(if (getRversion() < "4.2") "C stack usage is too close to the limit: something is nested too deeply; or ",
                     "the restart \"abort\" was invoked"))
}

# Whether this condition is the error that R has printed last. Long messages are cut there.
is_last_message <- function(condition) {
  if (is.null(condition)) return(FALSE)
  text <- full_message(condition)
  # R ends it with a line feed if it has none.
  text <- if (nchar(text) > 500L) substr(text, 1L, 500L) else paste0(sub("\n$", "", text), "\n")
  said <- geterrmessage()
  grepl(paste0(": ", text), said, fixed = TRUE) || grepl(paste0("\n  ", text), said, fixed = TRUE)
}

# Tasks with a stream of their own don't touch that of the daemon.
restore_own_stream <- function() {
  if (!is.null(session$seed)) assign(".Random.seed", session$seed, envir = globalenv()) else
    if (exists(".Random.seed", globalenv(), inherits = FALSE)) rm(".Random.seed", envir = globalenv())
}

leave_daemon <- function() {
  # Of a last task.
  if (!is.null(session$beside)) finish_beside()
  session$on_loop <- FALSE
  if (!is.null(session$connection)) {
    trace_disconnect()
    flush_spans()
  }
  session$on_daemon <- FALSE
  session$given <- NULL
  session$seed <- NULL
  session$serial <- NULL
}

# ---- output

discard_output <- function() {
  session$sinks <- sink.number()
  session$messages <- sink.number("message")
  sink(discard())
  sink(discard(), type = "message")
}

restore_output <- function() {
  # Warnings that R has put off are printed here, where nobody sees them, by try() as it reports an error.
  try(stop("end of output"), outFile = nowhere <- textConnection(NULL, "w", local = TRUE))
  close(nowhere)
  while (sink.number() > session$sinks) sink()
  if (sink.number("message") != session$messages) {
    sink(type = "message")
    if (session$messages != 2L) try(sink(getConnection(session$messages), type = "message"), silent = TRUE)
  }
  try(close(session$discard), silent = TRUE)
  session$discard <- NULL
}

# ---- for packages that launch daemons themselves

nextcode <- function(xc) {
  if (missing(xc)) absent("xc")
  if (!is.numeric(xc) || length(xc) != 1L || is.na(xc) || xc != trunc(xc))
    abort(sprintf("`xc` must be an exit code of `daemon()`, not `%s`.", shown(xc)))
  texts <- c("Daemon connection terminated", "Daemon idletime limit reached", "Daemon walltime limit reached",
             "Daemon task limit reached")
  text <- if (xc %in% 0:3) texts[xc + 1L] else "unknown"
  paste(xc, text, sep = " | ")
}

nextstream <- function(.compute = NULL) {
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) NULL else take_stream(pool)
}

nextget <- function(x, .compute = NULL) {
  if (missing(x)) absent("x")
  if (!is_string(x)) abort(sprintf("`x` must be a string, not `%s`.", shown(x)))
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) return(NULL)
  # Without a match, switch() would return an invisible NULL.
  switch(x,
    n = pool$n,
    url = pool$url,
    dispatcher = if (pool$dispatcher) pool$url else NULL,
    stream = pool$stream,
    seed = pool$seed,
    tls = pool$tlscert,
    cv = pool_condition(pool),
    NULL
  )
}

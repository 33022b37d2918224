# Tracing by package otel. Whether a process traces is decided as it loads mirai: `tracer` in `session` is NULL where it
# does not. The tracer itself is made when it is first asked for, which the fork server never does: an exporter may have
# threads, and threads don't outlive a fork.
#
# Besides, `span` of a pool is its `daemons set`, `span` of a task its `mirai`, and `connection` in `session` has the
# `daemon connect` of this daemon.

otel_tracer_name <- "org.r-lib.mirai"

set_up_tracing <- function() {
  if (has_exporter() && requireNamespace("otel", quietly = TRUE) && numeric_version(getNamespaceVersion("otel")) >= "0.2")
    delayedAssign("tracer", find_tracer(), assign.env = session)
}

# Whether tracing is asked for, so that otel is worth loading.
has_exporter <- function() {
  isNamespaceLoaded("otel") ||
    !Sys.getenv("OTEL_R_TRACES_EXPORTER", Sys.getenv("OTEL_TRACES_EXPORTER", "none")) %in% c("", "none")
}

find_tracer <- function() {
  tracer <- otel::get_tracer(otel_tracer_name)
  if (otel::is_tracing_enabled(tracer)) tracer
}

start_span <- function(name, kind = "internal", attributes = NULL, link = NULL, parent = NULL, time = NULL) {
  otel::start_span(
    name, attributes,
    links = if (!is.null(link)) list(link = link),
    options = c(
      list(kind = kind), if (!is.null(parent)) list(parent = parent), if (!is.null(time)) list(start_system_time = time)
    ),
    tracer = session$tracer
  )
}

instant_span <- function(...) {
  span <- start_span(...)
  otel::end_span(span)
  span
}

# Functions of otel raise no errors; methods of a span may. A task must not fail for the sake of tracing.
safely <- function(expr) tryCatch(expr, error = function(e) NULL)

set_failed <- function(span, description) safely(span$set_status("error", description))

# ---- pools

trace_set <- function(pool) pool$span <- instant_span(paste("daemons set", pool$url), attributes = pool_attributes(pool))

trace_reset <- function(pool) {
  instant_span(paste("daemons reset", pool$url), attributes = pool_attributes(pool), link = pool$span)
}

pool_attributes <- function(pool) {
  c(url_attributes(pool$url), list(mirai.dispatcher = pool$dispatcher, mirai.compute = pool$name))
}

url_attributes <- function(url) {
  transport <- sub("://.*", "", url)
  rest <- substring(url, nchar(transport) + 4L)
  is_local <- transport %in% c("abstract", "inproc", "ipc", "unix")
  parts <- regmatches(rest, regexec("^(\\[[^]]*\\]|[^:/]*)(:([0-9]+))?", rest))[[1L]]
  list(
    server.address = if (is_local) rest else gsub("[][]", "", parts[2L]),
    server.port = if (is_local || !nzchar(parts[4L])) integer() else as.integer(parts[4L]),
    network.transport = transport
  )
}

# Daemons that have died and that have taken the place of others, of all pools, since the last time. The hub notices them while R
# does something else, so this is asked when there is something to tell of them, a task turns out to be lost, or a pool is reset.
trace_changes <- function() for (pool in as.list(profiles)) if (!is.null(pool$span)) trace_pool_changes(pool)

trace_pool_changes <- function(pool) {
  if (pool$sync) return()
  deaths <- death_table(pool)
  is_new <- !(deaths$id %in% pool$traced$deaths)
  pool$traced$deaths <- deaths$id
  for (death in split(deaths[is_new, ], seq_len(sum(is_new)))) trace_death(pool, death)
  workers <- checked(.Call(wrap__hub_workers, pool$hub))
  replacements <- which(workers$replaces & !(workers$id %in% pool$traced$replacements))
  pool$traced$replacements <- workers$id[workers$replaces]
  for (i in replacements) instant_span(
    paste("daemon replaced", pool$url), attributes = daemon_attributes(pool, workers$id[i], workers$pid[i]), link = pool$span
  )
}

# As of the moment at which the hub noticed it. The task's next attempt is an event of the host's, too.
trace_death <- function(pool, death) {
  task <- if (!is.na(death$task)) list(mirai.id = death$task, mirai.attempt = death$attempt)
  # Whose daemon was killed here is no failure.
  span <- start_span(
    paste(if (death$killed) "daemon killed" else "daemon died", pool$url),
    attributes = c(daemon_attributes(pool, death$id, death$pid), task), link = pool$span,
    time = death$time
  )
  if (death$killed) safely(span$set_attribute("mirai.reason", death$reason)) else set_failed(span, death$reason)
  span$end(list(end_system_time = death$time))
  if (isTRUE(death$retried))
    instant_span("mirai retried", attributes = list(mirai.id = death$task, mirai.attempt = death$attempt + 1L), link = span)
}

daemon_attributes <- function(pool, id, pid) {
  c(url_attributes(pool$url), list(mirai.daemon = id), if (!is.na(pid)) list(process.pid = pid))
}

# ---- tasks, at the host

# Submits in a span `mirai`: `submit(context)` returns a list of tasks, which are to carry the context. Returns that list.
in_task_span <- function(pool, submit) {
  span <- start_span("mirai", "client", link = pool$span)
  submitted <- FALSE
  on.exit({
    if (!submitted) set_failed(span, "not submitted")
    otel::end_span(span)
  })
  tasks <- submit(safely(span$get_context()$to_http_headers()))
  submitted <- length(tasks) > 0L && !is.null(tasks[[1L]])
  if (submitted) {
    safely(span$set_attribute("mirai.id", vapply(tasks, task_number, 0L)))
    for (task in tasks)
      if (is.list(task)) trace_outcome(span, task, task$value[[1L]]) else attr(task, "span") <- span
  }
  tasks
}

task_number <- function(task) if (is.list(task)) task$number else .Call(wrap__task_id, task)

# submit(), or without a pool submit_ephemeral(). The context goes along as a fourth part of a task, or beside the element
# of a map.
submit_traced <- function(pool, object, shared, timeout, flags, wait, call, retries, runtime) {
  in_task_span(pool, function(context) {
    object <- with_context(object, flags, context)
    flags <- flags_with_context(flags)
    list(
      if (is.null(pool)) submit_ephemeral(object, timeout, runtime, call) else
        submit(pool, object, shared, timeout, flags, wait, call, retries, runtime)
    )
  })[[1L]]
}

# The function to submit with: looked up once for many tasks.
submitter <- function() if (is.null(session$tracer)) submit else submit_traced

submit_to_traced <- function(pool, object, stream, to) {
  in_task_span(pool, function(context) {
    list(submit_to(pool, with_context(object, 0L, context), stream, to))
  })[[1L]]
}

# One span for all of its tasks, which are one message to all daemons.
hub_everywhere_traced <- function(pool, object, min, timeout, is_kept) {
  in_task_span(pool, function(context) {
    hub_everywhere(pool, with_context(object, flag_everywhere, context), min, timeout, is_kept)
  })
}

# The span of a task has ended with its submission, and the daemon's tells nothing when time is up, memory is not there or
# the daemon is lost. So this has a span of its own, as soon as the host looks at the outcome.
trace_outcome <- function(span, task, value) {
  if (!is_error_value(value) || !is.numeric(value) || !(unclass(value) %in% c(2L, 5L, 19L))) return()
  if (unclass(value) == 19L) safely(trace_changes())
  reason <- attr(value, "reason", TRUE)
  attributes <- c(list(mirai.id = task_number(task)), if (is_string(reason)) list(mirai.reason = reason))
  failure <- start_span("mirai failed", attributes = attributes, parent = span)
  set_failed(failure, coded(as.integer(value)))
  otel::end_span(failure)
}

# Active until mirai_map() returns, so that the spans of its tasks become its children.
trace_map <- function(pool, frame) {
  otel::start_local_active_span(
    "mirai_map",
    links = if (!is.null(pool$span)) list(link = pool$span),
    options = list(kind = "internal"),
    tracer = session$tracer,
    activation_scope = frame
  )
}

# ---- daemons

trace_connect <- function(url) {
  span <- instant_span(paste("daemon connect", url), attributes = url_attributes(url))
  session$connection <- list(url = url, span = span)
}

trace_disconnect <- function() {
  connection <- session$connection
  session$connection <- NULL
  url <- connection$url
  instant_span(paste("daemon disconnect", url), attributes = url_attributes(url), link = connection$span)
}

# The time in which the connection was broken, as the daemon has noticed it, until it had returned or had given up. It tells of
# that once it is between tasks.
trace_away <- function(broke, ended, returned) {
  connection <- session$connection
  url <- connection$url
  span <- start_span(
    paste("daemon away", url), attributes = url_attributes(url), link = connection$span, time = .POSIXct(broke)
  )
  if (!returned) set_failed(span, "did not return")
  span$end(list(end_system_time = .POSIXct(ended)))
}

# Spans that an exporter has kept back. Not every one can do that.
flush_spans <- function() safely(otel::get_default_tracer_provider()$flush())

# A synchronous evaluation has a connection of its own.
as_connected <- function(url, task) {
  if (is.null(session$tracer)) return(task)
  was <- session$connection
  trace_connect(url)
  on.exit({
    trace_disconnect()
    session$connection <- was
  })
  task
}

# Active until evaluate(), whose frame this is, has ended. The span of what has returned stays open, as `evaluated` in
# `session`, until its value is serialized or cannot be.
trace_evaluation <- function(object, flags, frame) {
  context <- task_context(object, flags)
  parent <- if (length(context)) otel::extract_http_context(context)
  attempt <- task_attempt()
  span <- start_span("daemon eval", "server", if (attempt > 1L) list(mirai.attempt = attempt), session$connection$span, parent)
  otel::local_active_span(span, activation_scope = frame)
  end <- function() {
    session$evaluated <- span
    # What evaluate() returns, or ourselves if an error or an interrupt has ended it.
    if (identical(returnValue(end), end)) trace_evaluated(TRUE)
  }
  do.call(base::on.exit, list(as.call(list(end)), TRUE, FALSE), envir = frame)
}

trace_evaluated <- function(failed) {
  span <- session$evaluated
  session$evaluated <- NULL
  if (is.null(span)) return()
  if (failed) set_failed(span, if (inherits(session$noted, "interrupt")) "miraiInterrupt" else "miraiError")
  safely(otel::end_span(span))
  NULL
}

# mirai(): from an expression to a task, and the object that stands for its outcome.

mirai <- function(.expr, ..., .args = list(), .timeout = NULL, .compute = NULL, .retries = NULL,
                  .runtime = NULL) {
  if (missing(.expr)) abort(no_expression, sys.call())
  # An argument that stands alone is evaluated here: an error in it is reported for the user's call.
  .args
  .timeout
  .compute
  .retries
  .runtime
  dots <- if (...length()) list(...)
  object <- task_object(substitute(.expr), parent.frame(), .args, dots, sys.call())
  if (is.null(.timeout) && is.null(.compute) && is.null(.retries) && is.null(.runtime)) {
    pool <- plain_pool()
    if (!is.null(pool)) return(invisible(submit_plain(pool, object, sys.call())))
  }
  invisible(new_mirai(request(object, .timeout, .compute, .retries, .runtime, TRUE, sys.call())))
}

try_mirai <- function(.expr, ..., .args = list(), .timeout = NULL, .compute = NULL, .retries = NULL,
                      .runtime = NULL) {
  if (missing(.expr)) abort(no_expression, sys.call())
  .args
  .timeout
  .compute
  .retries
  .runtime
  dots <- if (...length()) list(...)
  object <- task_object(substitute(.expr), parent.frame(), .args, dots, sys.call())
  task <- request(object, .timeout, .compute, .retries, .runtime, FALSE, sys.call())
  invisible(if (!is.null(task)) new_mirai(task))
}

# What a daemon gets: the expression, the local variables and the global ones. `call`, here and below, is the user's
# call, looked at only if there is something to complain about.
task_object <- function(expr, frame, args, dots, call) {
  new_task(
    if (is.call(expr)) plain_block(expr) else expression_of(expr, frame, call),
    if (length(args)) local_part(args, call),
    if (!is.null(dots)) global_part(dots, call)
  )
}

# The pool of the session's profile, if its tasks need nothing but to be submitted; else NULL.
plain_pool <- function() {
  pool <- profiles[[session$profile]]
  is_plain <- !is.null(pool) && is.null(session$tracer) && !pool$sync && !pool$seeded && is.null(pool$serial) &&
    is.null(pool$bridge)
  if (is_plain) pool
}

# What request() and submit() come to for such a pool: the mirai of the task.
submit_plain <- function(pool, object, call) {
  m <- .Call(wrap__hub_submit, pool$hub, object, NULL, NULL, 0L, NULL, TRUE, pool$retries, pool$runtime, mirai_form)
  if (is.list(m)) raise_failure(m, call)
  m
}

request <- function(object, timeout, .compute, retries, runtime, wait, call) {
  if (!is.null(timeout)) timeout <- check_timeout(timeout, call)
  pool <- profiles[[if (is.null(.compute)) session$profile else profile_name(.compute, call)]]
  if (is.null(pool) && !is.null(.compute)) {
    frame <- parent.frame(2L)
    warn_of_no_daemons(.compute, frame, call)
  }
  retries <- if (is.null(retries)) pool$retries else check_retries(retries, ".retries", call)
  runtime <- if (is.null(runtime)) pool$runtime else check_runtime(runtime, ".runtime", call)
  if (!is.null(session$tracer)) return(submit_traced(pool, object, NULL, timeout, 0L, wait, call, retries, runtime))
  if (is.null(pool)) submit_ephemeral(object, timeout, runtime, call) else
    submit(pool, object, NULL, timeout, 0L, wait, call, retries, runtime, mirai_form)
}

no_expression <- "missing expression, perhaps wrap in {}?"

# A block that was typed in carries its source file as an attribute, which there is no use in sending.
plain_block <- function(expr) {
  if (!is.null(attr(expr, "srcref", TRUE))) attributes(expr) <- NULL
  expr
}

# A bare symbol whose value is a language object stands for that object.
expression_of <- function(expr, frame, call) {
  if (!is.symbol(expr)) return(expr)
  name <- as.character(expr)
  if (!exists(name, envir = frame)) return(expr)
  value <- tryCatch(get(name, envir = frame), error = function(e)
    abort(sprintf("%s\n`.expr` is the symbol `%s`, which was evaluated locally: its value may be a language object.",
                  conditionMessage(e), name), call))
  if (is.language(value)) value else expr
}

# `.args`: a named list of what the expression finds as local variables.
local_part <- function(args, call) {
  if (is.environment(args)) return(as.list.environment(args, all.names = TRUE))
  if ((is.list(args) || is.atomic(args)) && all_named(names(args))) return(as.list(args))
  abort("all items in `.args` must be named, unless supplying an environment", call)
}

# `...`: a named list of what is assigned in the daemon's global environment.
global_part <- function(dots, call) {
  if (length(dots) == 1L && is.null(names(dots)) && is.environment(dots[[1L]])) {
    globals <- as.list.environment(dots[[1L]], all.names = TRUE)
    return(globals[names(globals) != ".Random.seed"])
  }
  if (!all_named(names(dots))) abort("all `...` arguments must be named, unless supplying an environment", call)
  dots
}

all_named <- function(names) !is.null(names) && !anyNA(names) && all(nzchar(names))

# A task for a pool, or NULL if its queue is full and `wait` is FALSE. A stream is consumed only by what is accepted. With `form`
# the mirai of the task, unless it is one of those that have their marks on the task.
submit <- function(pool, object, shared, timeout, flags, wait, call, retries, runtime, form = NULL) {
  if (pool$sync) return(evaluate_here(pool, object, shared, timeout, flags))
  stream <- if (pool$seeded) pool$stream
  serial <- pool$serial
  if (!is.null(serial)) object <- pack(object, serial)
  if (!is.null(serial) || !is.null(pool$bridge)) form <- NULL
  task <- .Call(wrap__hub_submit, pool$hub, object, shared, timeout, flags, stream, wait, retries, runtime, form)
  # Anything but a task is a failure, or NULL.
  if (is.list(task)) raise_failure(task, call)
  if (!is.null(stream) && !is.null(task)) take_stream(pool)
  if (!is.null(serial) && !is.null(task)) attr(task, "serial") <- serial
  if (!is.null(pool$bridge) && !is.null(task)) attr(task, "bridge") <- pool$bridge
  task
}

# Without daemons: a hidden hub, and one new daemon for each task.
submit_ephemeral <- function(object, timeout, runtime, call) {
  if (is_starting()) refuse_task(call)
  hub <- session$ephemeral
  if (is.null(hub)) {
    hub <- checked(.Call(wrap__hub_open, local_url(), "single", NULL, NULL, NULL, NULL, NULL, NA, c(0, 15), TRUE, NULL, ""), call)
    session$ephemeral <- hub
  }
  task <- checked(.Call(wrap__hub_submit, hub, object, NULL, timeout, 0L, NULL, TRUE, NULL, runtime, NULL), call)
  # Without any time it is settled by now, and waits for no daemon.
  if (!identical(timeout, 0)) launch_for(task, hub, call)
  task
}

# If that fails, the task must not have the daemon of the next one.
launch_for <- function(task, hub, call) {
  on.exit(.Call(wrap__task_not_launched, task))
  launch(hub, daemon_call(checked(.Call(wrap__hub_urls, hub)), list(maxtasks = 1)), call)
  on.exit()
}

# A profile that was named and has no daemons may be a misspelt one: that is said once. Packages let their users decide whether
# there are daemons. `frame`: where mirai() was called.
warn_of_no_daemons <- function(.compute, frame, call) {
  caller <- topenv(frame)
  # Tests of this package run in a copy of its own.
  if (isNamespace(caller) && environmentName(caller) != environmentName(topenv())) return()
  if (is_first(paste("no daemons in", .compute)))
    warn(sprintf("no daemons set for the '%s' compute profile, so ephemeral daemons are used", .compute), call)
}

mirai_class <- c("mirai", "recvAio")

# `data` is an active binding, as dependants also read it by `.subset2(m, "data")`. The task is an attribute until the value has
# been read; then it goes, with the bytes that it holds, and the variable `value`, which is NULL until that, has the value. The
# tasks of a map share theirs, where the attribute `id` says which one is meant; so native calls are given the mirai.
new_mirai <- function(task) {
  if (is.environment(task)) return(task)
  if (is.list(task)) return(settled_mirai(task))
  m <- .Call(wrap__mirai_new, task, mirai_form)
  if (!is.null(bridge <- attr(task, "bridge", TRUE))) shadow(m, bridge)
  m
}

# How the native side makes a mirai: this call makes the function of `data`, in the mirai as its environment, where it finds it
# without a frame of its own for each; its class; what is around it.
mirai_form <- list(
  as.call(list(get("function", baseenv()), as.pairlist(alist(value = )), quote(peek(parent.env(environment()))), NULL)),
  mirai_class,
  topenv()
)

# The task of a synchronous profile has its value already.
settled_mirai <- function(task) {
  m <- new.env(hash = FALSE, parent = emptyenv())
  # Not by an assignment of its own, as the missing argument is a value, too.
  list2env(list(value = task$value[[1L]]), m)
  makeActiveBinding("data", function(value) peek(m), m)
  attributes(m) <- list(id = task$number, class = mirai_class)
  task <- NULL
  m
}

# The value, or the unresolved value.
peek <- function(m) {
  task <- attr(m, "task", TRUE)
  if (is.null(task)) .subset2(m, "value") else if (is_open(m)) unresolved_value else fetch_value(m, task)
}

# Whether the task of a mirai without a value has no outcome yet.
is_open <- function(m) {
  state <- .Call(wrap__task_state, m)
  # Anything else says that the task is not this session's.
  if (!is.integer(state)) raise_failure(state, NULL)
  state == 0L
}

# Waits for the outcome of a task, and puts its value into the mirai. An R error while decoding it is the caller's, each
# time.
fetch_value <- function(m, task) {
  if (!is.null(attributes(task))) return(fetch_marked(m, task))
  # In a list, as the missing argument is a value, too, but not one of a variable.
  fetched <- list(.Call(wrap__task_fetch, m))
  # With the value the task has gone.
  if (!is.null(attr(m, "task", TRUE))) raise_failure(fetched[[1L]], NULL)
  fetched[[1L]]
}

# The same, for a task with hooks for serialization, a span or a shadow.
fetch_marked <- function(m, task) {
  checked(.Call(wrap__task_wait, m), NULL)
  settle_shadow(m)
  # A handler that ran meanwhile may have read it.
  if (is.null(attr(m, "task", TRUE))) return(.subset2(m, "value"))
  value <- checked(.Call(wrap__task_value, m), NULL)[[1L]]
  if (!is.null(serial <- attr(task, "serial", TRUE))) value <- unpack_value(value, serial)
  if (!is.null(span <- attr(task, "span", TRUE))) trace_outcome(span, task, value)
  checked(.Call(wrap__mirai_settle, m, value), NULL)
  value
}

is_pending <- function(m) !is.null(attr(m, "task", TRUE)) && is_open(m)

has_task <- function(m) inherits(m, "mirai") && !is.null(attr(m, "task", TRUE))

# Those elements of a list that are mirai without a value so far.
open_mirai <- function(x) x[vapply(x, has_task, NA)]

unresolved <- function(x) {
  if (missing(x)) absent("x")
  pending <- if (inherits(x, "mirai")) is_pending(x) else
    if (is.list(x)) length(x) > 0L && checked(.Call(wrap__mirai_pending, unclass(x))) > 0L else
      inherits(x, "unresolvedValue") && checked(.Call(wrap__is_unresolved, x))
  if (pending) checked(.Call(wrap__launch_lacking)) else settle_shadows(x)
  pending
}

is_mirai <- function(x) inherits(x, "mirai")

is_mirai_map <- function(x) inherits(x, "mirai_map")

# A mirai is not changed by assignment.
`$<-.mirai` <- function(x, name, value) invisible(x)

`[[<-.mirai` <- `$<-.mirai`

.DollarNames.mirai <- function(x, pattern = "") grep(pattern, "data", value = TRUE)

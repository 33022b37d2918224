# An expression evaluated once on each daemon.

everywhere <- function(.expr, ..., .args = list(), .min = 1L, .compute = NULL, .timeout = NULL, .replay = FALSE) {
  if (missing(.expr)) abort(no_expression, sys.call())
  .args
  .min
  .compute
  .timeout
  .replay
  dots <- if (...length()) list(...)
  pool <- find_pool(.compute, sys.call())
  if (is.null(pool)) raise_no_daemons(.compute, environment())
  object <- task_object(substitute(.expr), parent.frame(), .args, dots, sys.call())
  if (!is.null(.timeout)) .timeout <- check_timeout(.timeout, sys.call())
  .replay <- check_flag(.replay, ".replay", sys.call())
  # Without dispatcher, daemons that are on their way count.
  min <- if (.replay) NULL else if (pool$dispatcher) check_min(.min, sys.call()) else pool$n
  tasks <- if (pool$sync) list(submitter()(pool, object, NULL, .timeout, flag_everywhere, TRUE, sys.call(), NULL)) else
    if (is.null(session$tracer)) hub_everywhere(pool, object, min, .timeout) else
      hub_everywhere_traced(pool, object, min, .timeout)
  invisible(structure(lapply(tasks, new_mirai), class = "mirai_map"))
}

check_min <- function(min, call) {
  if (!is_count(min)) abort(sprintf("`.min` must be a whole number of daemons, at least 0, not `%s`.", shown(min)), call)
  as.integer(min)
}

hub_everywhere <- function(pool, object, min, timeout) {
  serial <- pool$serial
  bridge <- pool$bridge
  if (!is.null(serial)) object <- pack(object, serial)
  tasks <- checked(.Call(wrap__hub_everywhere, pool$hub, object, min, timeout))
  if (!is.null(serial)) tasks <- lapply(tasks, `attr<-`, "serial", serial)
  if (!is.null(bridge)) tasks <- lapply(tasks, `attr<-`, "bridge", bridge)
  tasks
}

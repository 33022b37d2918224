# An expression evaluated once on each daemon.

everywhere <- function(.expr, ..., .args = list(), .min = 1L, .compute = NULL, .timeout = NULL, .replay = NULL) {
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
  # On replacements in a pool that heals, on all that join, on none.
  if (!is.null(.replay)) .replay <- check_flag(.replay, ".replay", sys.call())
  is_kept <- is.null(.replay)
  # Without dispatcher, daemons that are on their way count.
  min <- if (isTRUE(.replay)) NULL else if (pool$dispatcher) check_min(.min, sys.call()) else pool$n
  tasks <- if (pool$sync) list(submitter()(pool, object, NULL, .timeout, flag_everywhere, TRUE, sys.call(), NULL)) else
    if (is.null(session$tracer)) hub_everywhere(pool, object, min, .timeout, is_kept) else
      hub_everywhere_traced(pool, object, min, .timeout, is_kept)
  map <- structure(lapply(tasks, new_mirai), class = "mirai_map")
  if (interactive() && sys.nframe() == 1L) watch_set_up(map, tasks)
  invisible(map)
}

# Whoever prepares daemons at the prompt mostly does not look at the values, so a failure is told.
watch_set_up <- function(map, tasks) {
  is_task <- !vapply(tasks, is.list, NA)
  session$set_ups <- c(Filter(unresolved, session$set_ups), list(map))
  if (all(is_task)) checked(.Call(wrap__tasks_note_failure, tasks)) else
    warn_of_set_ups(function(text) warning(text, call. = FALSE))
}

# Of calls of everywhere() at the prompt that are over: what has failed, each once.
warn_of_set_ups <- function(tell) {
  over <- Filter(Negate(unresolved), session$set_ups)
  session$set_ups <- Filter(unresolved, session$set_ups)
  for (map in over) {
    values <- lapply(unclass(map), peek)
    failed <- Filter(is_error_value, values)
    if (length(failed)) tell(sprintf("mirai: everywhere() has failed on %d of %s: %s",
      length(failed), counted(length(values), "daemon"), conditionMessage(as_condition(failed[[1L]]))))
  }
}

check_min <- function(min, call) {
  if (!is_count(min)) abort(sprintf("`.min` must be a whole number of daemons, at least 0, not `%s`.", shown(min)), call)
  as.integer(min)
}

hub_everywhere <- function(pool, object, min, timeout, is_kept) {
  serial <- pool$serial
  bridge <- pool$bridge
  if (!is.null(serial)) object <- pack(object, serial)
  tasks <- checked(.Call(wrap__hub_everywhere, pool$hub, object, min, timeout, is_kept))
  if (!is.null(serial)) tasks <- lapply(tasks, `attr<-`, "serial", serial)
  if (!is.null(bridge)) tasks <- lapply(tasks, `attr<-`, "bridge", bridge)
  tasks
}

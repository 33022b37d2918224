# Waiting for values, one or many.

# Options of collecting a map, used bare in `x[.flat]` or by name in collect_mirai().
.flat <- structure(".flat", class = "miraiOption")
.progress <- structure(".progress", class = "miraiOption")
.stop <- structure(".stop", class = "miraiOption")

option_names <- c(".flat", ".progress", ".stop")

# Any index is ignored.
`[.mirai` <- function(x, ...) {
  task <- attr(x, "task", TRUE)
  if (is.null(task)) return(.subset2(x, "value"))
  done <- .Call(wrap__task_wait, task)
  if (inherits(done, "mirai_failure")) raise_failure(done, sys.call())
  settle(x, task)
}

`[.mirai_map` <- function(x, ...) {
  index <- as.list(substitute(list(...)))[-1L]
  given <- !vapply(index, identical, NA, quote(expr = ))
  if (!any(given)) return(collect_values(x, collect_options(NULL), sys.call()))
  named <- vapply(index, function(i) is.symbol(i) && as.character(i) %in% option_names, NA)
  if (all(named)) return(collect_values(x, collect_options(vapply(index, as.character, ""), sys.call()), sys.call()))
  if (length(index) > 1L)
    abort("a mirai map is subset by one index, or collected by options: `.flat`, `.progress`, `.stop`", sys.call())
  index <- ..1
  if (inherits(index, "miraiOption")) return(collect_values(x, collect_options(index, sys.call()), sys.call()))
  structure(unclass(x)[index], class = "mirai_map")
}

collect_mirai <- function(x, options = NULL) {
  if (inherits(x, "mirai")) return(x[])
  if (!is.list(x) || !all(vapply(unclass(x), inherits, NA, what = "mirai")))
    abort(sprintf("`x` must be a mirai or a list of mirai, not %s.", described(x)))
  collect_values(x, collect_options(options, sys.call()), sys.call())
}

described <- function(x) {
  if (is.null(x)) return("`NULL`")
  if (!is.list(x)) return(sprintf("an object of class \"%s\"", class(x)[1L]))
  wrong <- which(!vapply(unclass(x), inherits, NA, what = "mirai"))[1L]
  sprintf("a list with an object of class \"%s\" at %d", class(unclass(x)[[wrong]])[1L], wrong)
}

call_mirai <- function(x) {
  if (inherits(x, "mirai")) {
    task <- attr(x, "task", TRUE)
    if (!is.null(task)) rust(.Call(wrap__task_wait, task))
  } else if (is.list(x) && length(tasks <- open_tasks(unclass(x)))) rust(.Call(wrap__tasks_wait, tasks, length(tasks), FALSE))
  invisible(x)
}

# ---- options

# A chr of names, or names with values, as a list of `flat`, `stop` and `progress` (FALSE, TRUE, a name or arguments).
collect_options <- function(options, call) {
  result <- list(flat = FALSE, stop = FALSE, progress = FALSE)
  if (!length(options)) return(result)
  options <- unclass(options)
  if (!is.list(options) && !is.character(options) && !is.logical(options))
    abort(sprintf("`options` must be a character vector or a list, not %s.", described(options)), call)
  names <- names(options)
  for (i in seq_along(options)) {
    unnamed <- is.null(names) || !nzchar(names[i])
    name <- if (unnamed) options[[i]] else names[i]
    if (!is_string(name) || !name %in% option_names)
      abort(sprintf("unknown option %s: there are `.flat`, `.progress` and `.stop`.",
                    if (is_string(name)) sprintf("`%s`", name) else shown(name)), call)
    value <- if (unnamed) TRUE else options[[i]]
    # Among strings, a truth value has become one.
    if (is_string(value) && value %in% c("TRUE", "FALSE")) value <- as.logical(value)
    key <- substring(name, 2L)
    result[[key]] <- if (key == "progress") (if (is.null(value)) TRUE else value) else !isFALSE(value)
  }
  result
}

# ---- many values

# The values of a list of mirai. `.flat` stops at an error value too, as there is no way to flatten it.
collect_values <- function(x, options, call) {
  mirai <- unclass(x)
  n <- length(mirai)
  failing <- options$stop || options$flat
  show <- progress(options$progress, n)
  on.exit(show$end())
  if (failing || !isFALSE(options$progress)) await_watched(mirai, failing, options$flat, show) else
    if (length(tasks <- open_tasks(mirai))) rust(.Call(wrap__tasks_wait, tasks, length(tasks), FALSE), call)
  values <- lapply(mirai, peek)
  if (options$flat) flatten(values) else values
}

# Waits for all, and has a look each time that another one is done.
await_watched <- function(mirai, failing, flat, show) {
  n <- length(mirai)
  tasks <- lapply(mirai, attr, "task", TRUE)
  # Up to `seen` all values have been looked at. Those behind may be done as well.
  seen <- 0L
  type <- NULL
  repeat {
    while (seen < n && !is_pending(mirai[[seen + 1L]])) {
      seen <- seen + 1L
      if (!failing) next
      value <- peek(mirai[[seen]])
      if (is_error_value(value)) stop_map(mirai, seen, value)
      if (!flat) next
      if (is.null(type)) type <- typeof(value) else
        if (typeof(value) != type) stop_flat(mirai, seen, type, typeof(value))
    }
    left <- open_tasks(mirai[seq_len(n) > seen])
    done <- if (length(left)) rust(.Call(wrap__tasks_wait, left, 0L, FALSE)) else c(0L, 0L, 0L)
    show$at(n - length(left) + done[1L])
    if (seen == n) return()
    if (failing) {
      # Values read before are not among the tasks.
      read <- Find(function(m) is.null(attr(m, "task", TRUE)) && is_error_value(.subset2(m, "value")), mirai[seq_len(n) > seen])
      first <- if (!is.null(read)) read else if (done[2L] > 0L) failed_mirai(mirai, left[[done[2L]]])
      if (!is.null(first)) {
        i <- index_of(mirai, first)
        stop_map(mirai, i, peek(first))
      }
    }
    rust(.Call(wrap__tasks_wait, left, done[1L] + 1L, failing))
  }
}

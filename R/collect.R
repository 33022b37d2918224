# Waiting for values, one or many.

# Options of collecting a map, used bare in `x[.flat]` or by name in collect_mirai().
.flat <- structure(".flat", class = "miraiOption")
.progress <- structure(".progress", class = "miraiOption")
.stop <- structure(".stop", class = "miraiOption")

option_names <- c(".flat", ".progress", ".stop")

# Any index is ignored.
`[.mirai` <- function(x, ...) {
  task <- attr(x, "task", TRUE)
  if (is.null(task)) .subset2(x, "value") else fetch_value(x, task)
}

`[.mirai_map` <- function(x, ...) {
  made_here <- is_map_call_of(substitute(x), parent.frame())
  index <- as.list(substitute(list(...)))[-1L]
  given <- !vapply(index, identical, NA, quote(expr = ))
  if (!any(given)) return(collect_values(x, collect_options(NULL), sys.call(), made_here))
  bare <- vapply(index, function(i) is.symbol(i) && as.character(i) %in% option_names, NA)
  if (all(given)) {
    # What is no bare name of an option may still be one, as `mirai::.flat` is.
    options <- index
    for (i in seq_along(index)) {
      if (!bare[i] && is_unknown_option(index[[i]], parent.frame())) abort(unknown_option(as.character(index[[i]])), sys.call())
      options[i] <- list(if (bare[i]) as.character(index[[i]]) else ...elt(i))
    }
    if (all(bare | vapply(options, inherits, NA, what = "miraiOption")))
      return(collect_values(x, collect_options(vapply(options, as.character, ""), sys.call()), sys.call(), made_here))
  }
  if (length(index) > 1L || !is.null(names(index)))
    abort("a mirai map is subset by one index, or collected by options: `.flat`, `.progress`, `.stop`", sys.call())
  part <- unclass(x)[..1]
  if (any(vapply(part, is.null, NA))) {
    dotted <- if (is.character(..1)) grep("^[.]", setdiff(..1, names(x)), value = TRUE)
    abort(if (length(dotted)) unknown_option(dotted[1L]) else "subscript out of bounds", sys.call())
  }
  structure(part, class = "mirai_map")
}

# Whether an argument is a call of mirai_map() itself, so that nobody holds the map besides the function that it is given to. One
# with a promise has somebody who waits for it.
is_map_call_of <- function(expr, frame) {
  if (!is.call(expr) || ".promise" %in% names(expr)) return(FALSE)
  head <- expr[[1L]]
  if (is.symbol(head)) identical(get0(as.character(head), frame, mode = "function"), mirai_map) else
    identical(head, quote(mirai::mirai_map))
}

# A name like those of options that nothing has.
is_unknown_option <- function(index, frame) {
  is.symbol(index) && startsWith(as.character(index), ".") && !startsWith(as.character(index), "..") &&
    !exists(as.character(index), envir = frame)
}

unknown_option <- function(name) {
  if (name %in% option_names) return(sprintf("an option is written without quotes: `x[%s]`.", name))
  sprintf("unknown option `%s`: there are `.flat`, `.progress` and `.stop`.", name)
}

collect_mirai <- function(x, options = NULL) {
  if (missing(x)) absent("x")
  options
  if (inherits(x, "mirai")) return(x[])
  if (!is.list(x) || !all(vapply(unclass(x), inherits, NA, what = "mirai")))
    abort(sprintf("`x` must be a mirai or a list of mirai, not %s.", described(x)))
  collect_values(x, collect_options(options, sys.call()), sys.call(), is_map_call_of(substitute(x), parent.frame()))
}

described <- function(x) {
  if (is.null(x)) return("`NULL`")
  if (!is.list(x)) return(sprintf("an object of class \"%s\"", class(x)[1L]))
  wrong <- which(!vapply(unclass(x), inherits, NA, what = "mirai"))[1L]
  sprintf("a list with an object of class \"%s\" at %d", class(unclass(x)[[wrong]])[1L], wrong)
}

call_mirai <- function(x) {
  if (missing(x)) absent("x")
  if (inherits(x, "mirai")) {
    if (has_task(x)) checked(.Call(wrap__task_wait, x))
  } else if (is.list(x)) checked(.Call(wrap__mirai_wait, unclass(x)))
  settle_shadows(x)
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
      abort(unknown_option(if (is_string(name)) name else shown(name)), call)
    value <- if (unnamed) TRUE else options[[i]]
    # Among strings, a truth value has become one.
    if (is_string(value) && value %in% c("TRUE", "FALSE")) value <- as.logical(value)
    key <- substring(name, 2L)
    result[[key]] <- if (key == "progress") (if (is.null(value)) TRUE else value) else !isFALSE(value)
  }
  result
}

# ---- many values

# The values of a list of mirai. `.flat` stops at an error value too, as there is no way to flatten it. A map that was made in the
# call is stopped where the wait is interrupted: its values could go nowhere.
collect_values <- function(x, options, call, made_here) {
  mirai <- unclass(x)
  over <- !made_here
  on.exit(if (!over) stop_all(mirai))
  if (options$flat || options$stop || !isFALSE(options$progress)) {
    show <- progress(options$progress, length(mirai))
    on.exit(show$end(), add = TRUE)
    await(mirai, options$flat || options$stop, options$flat, show, call)
  }
  values <- checked(.Call(wrap__mirai_collect, mirai), call)
  if (is.null(values)) values <- lapply(mirai, peek) else names(values) <- names(mirai)
  over <- TRUE
  if (options$flat) unlist(values, recursive = FALSE) else values
}

# Waits until all are done, or, if `failing`, until one has failed, which raises an error. Values are looked at in list
# order as they come; `seen` is up to where. Those behind may be done as well.
await <- function(mirai, failing, flat, show, call) {
  n <- length(mirai)
  open <- which(vapply(unname(mirai), has_task, NA))
  if (failing) for (i in setdiff(seq_len(n), open)) stop_at_error(mirai, i, show)
  watch <- checked(.Call(wrap__tasks_watch, mirai[open]), call)
  stepwise <- flat || show$active
  seen <- 0L
  state <- integer(3L)
  repeat {
    # Many at a time, but for those that something has to be done about.
    while ((seen <- checked(.Call(wrap__mirai_take, mirai, seen, failing, flat), call)) < n && !is_pending(mirai[[seen + 1L]])) {
      seen <- seen + 1L
      value <- if (failing) stop_at_error(mirai, seen, show) else peek(mirai[[seen]])
      if (!flat) next
      type <- if (seen > 1L) typeof(peek(mirai[[1L]])) else typeof(value)
      if (typeof(value) != type) stop_flat(mirai, seen, type, typeof(value), show)
    }
    done <- max(n - length(open) + state[1L], seen)
    show$at(done)
    if (seen == n) return()
    at_least <- if (stepwise) done - (n - length(open)) + 1L else length(open)
    state <- checked(.Call(wrap__watch_wait, watch, at_least, failing), call)
    # Of those that have failed by now, the first in the list.
    if (failing && state[2L] > 0L)
      for (i in open) if (i > seen && !is_pending(mirai[[i]])) stop_at_error(mirai, i, show)
  }
}

# The value at `i`, unless it is an error value: then all others are stopped, the progress bar is closed, so that it does
# not share a line with the message, and the error is raised.
stop_at_error <- function(mirai, i, show) {
  value <- peek(mirai[[i]])
  if (!is_error_value(value)) return(value)
  stop_all(mirai)
  show$end()
  name <- name_at(mirai, i)
  parent <- as_condition(value)
  reason <- if (!is_mirai_error(value)) parent$reason
  if (has_cli()) cli::cli_abort(
    c(i = "In index: {i}.", i = if (!is.null(name)) "With name: {name}.", i = if (!is.null(reason)) "{reason}"),
    location = i, name = name, parent = parent, call = quote(mirai_map())
  )
  raise_located(paste(c(sprintf("In index %d:", i), conditionMessage(parent), reason), collapse = "\n"), i, name, parent)
}

stop_flat <- function(mirai, i, type, found, show) {
  stop_all(mirai)
  show$end()
  name <- name_at(mirai, i)
  if (has_cli()) cli::cli_abort(
    "cannot flatten outputs of differing type: {type} / {found}",
    location = i, name = name, call = quote(mirai_map())
  )
  raise_located(sprintf("Cannot flatten outputs of differing type: %s / %s", type, found), i, name, NULL)
}

raise_located <- function(message, location, name, parent) {
  fields <- list(message = message, call = NULL, location = location)
  # NULL fields would be dropped by c(), which is as good as having them.
  stop(structure(c(fields, list(name = name)[!is.null(name)], list(parent = parent)[!is.null(parent)]),
                 class = c("simpleError", "error", "condition")))
}

name_at <- function(mirai, i) {
  name <- names(mirai)[i]
  if (!is.null(name) && !is.na(name) && nzchar(name)) name
}

# Promises of package promises, for mirai and maps. The methods are registered when that is loaded.

is.promising.mirai <- function(x) TRUE

is.promising.mirai_map <- is.promising.mirai

as.promise.mirai <- function(x) {
  promise <- attr(x, "promise", TRUE)
  if (is.null(promise)) {
    promise <- promise_after(open_mirai(list(x)), function(failed) promised(peek(x)))
    attr(x, "promise") <- promise
  }
  promise
}

# A map is a list, with no place of its own to keep its promise: the first mirai of it keeps one for each map that it is
# the first of.
as.promise.mirai_map <- function(x) {
  mirai <- unclass(x)
  if (!length(mirai)) return(promise_of_nothing())
  ids <- vapply(mirai, attr, 0L, "id")
  known <- attr(mirai[[1L]], "map_promises", TRUE)
  for (map in known) if (identical(map$ids, ids)) return(map$promise)
  promise <- promise_of_all(mirai)
  attr(mirai[[1L]], "map_promises") <- c(known, list(list(ids = ids, promise = promise)))
  promise
}

promise_of_all <- function(mirai) {
  open <- which(vapply(unname(mirai), has_task, NA))
  tasks <- unname(mirai[open])
  # With an error value that has been read already there is nothing to wait for.
  if (any(vapply(mirai[setdiff(seq_along(mirai), open)], function(m) is_error_value(peek(m)), NA))) tasks <- list()
  promise_after(tasks, function(failed) {
    if (failed > 0L) return(promised(peek(mirai[[open[failed]]])))
    lapply(lapply(mirai, peek), promised)
  })
}

promise_of_nothing <- function() {
  if (is.null(session$nothing)) session$nothing <- promises::promise_resolve(list())
  session$nothing
}

# A promise of what `outcome(failed)` returns or raises, called when all tasks have an outcome (`failed` is 0) or the
# first of them has failed (its position), in the event loop that is current now. It is called as a callback of a promise,
# where Shiny keeps track of how an error came about. Until then the native side holds on to the promise.
promise_after <- function(tasks, outcome) {
  settled <- promises::promise(function(resolve, reject) {
    # Half a promise would be kept for ever, so no Ctrl-C in between.
    checked(.Call(wrap__tasks_then, tasks, function(failed) suspendInterrupts(resolve(failed)), later::current_loop()$id))
  })
  promises::then(settled, onFulfilled = function(value) outcome(value))
}

promised <- function(value) if (is_error_value(value)) stop(rejection(value)) else value

# What a promise is rejected with: the original condition, or one with a class for what happened.
rejection <- function(value) {
  if (is_mirai_error(value)) return(original_condition(value))
  condition <- as_condition(value)
  class <- if (is_mirai_interrupt(value)) "miraiInterruptError" else
    if (is.numeric(value) && length(value) == 1L) "miraiCodeError"
  if (identical(class, "miraiCodeError")) condition$code <- as.integer(unclass(value))
  class(condition) <- c(class, "simpleError", class(condition))
  condition
}

# ---- `.promise` of mirai_map()

# One or two callbacks as a list for promises::then(), or NULL.
check_promise <- function(.promise, call) {
  if (is.null(.promise)) return()
  callbacks <- if (is.list(.promise)) unname(.promise) else list(.promise)
  absent <- vapply(callbacks, is.null, NA)
  if (!length(callbacks) %in% 1:2 || all(absent) || !all(vapply(callbacks[!absent], is_callback, NA)))
    abort(sprintf("`.promise` must be a function, or a list of one or two functions, not `%s`.", shown(.promise)), call)
  if (!requireNamespace("promises", quietly = TRUE))
    abort("`.promise` needs package promises, which is not installed.", call)
  callbacks
}

# promises::then() makes functions of formulas with one side.
is_callback <- function(x) is.function(x) || (inherits(x, "formula") && length(x) == 2L)

add_callbacks <- function(mirai, callbacks) {
  rejected <- if (length(callbacks) == 2L) callbacks[[2L]]
  for (m in mirai) promises::then(m, callbacks[[1L]], rejected)
}

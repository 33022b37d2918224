# Cancelling tasks.

stop_mirai <- function(x) {
  invisible(if (is.list(x)) stop_all(unclass(x)) else stop_one(x, sys.call()))
}

# From the last to the first, so that tasks in the queue go before those that would make room for them.
stop_all <- function(x) {
  stopped <- logical(length(x))
  for (i in rev(seq_along(x))) stopped[i] <- stop_one(x[[i]], sys.call(-1L))
  stopped
}

stop_one <- function(m, call) {
  task <- if (inherits(m, "mirai")) attr(m, "task", TRUE)
  if (is.null(task)) FALSE else checked(.Call(wrap__task_cancel, task), call)
}

# Cancelling tasks.

stop_mirai <- function(x) {
  stopped <- if (is.list(x)) stop_all(unclass(x)) else stop_one(x, sys.call())
  settle_shadows(x)
  invisible(stopped)
}

stop_all <- function(x) checked(.Call(wrap__mirai_cancel, x), sys.call(-1L))

stop_one <- function(m, call) has_task(m) && checked(.Call(wrap__task_cancel, m), call)

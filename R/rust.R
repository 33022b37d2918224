# The door to the native library. Every entry point returns, it never raises: what went wrong comes back as a
# "mirai_failure" and becomes an R condition here, once no native frame is left on the stack.

rust <- function(x, call = sys.call(-1L)) if (inherits(x, "mirai_failure")) raise_failure(x, call) else x

raise_failure <- function(failure, call) {
  if (identical(failure$kind, "interrupt")) raise_interrupt()
  stop(simpleError(failure$message, call))
}

# What R does itself at an interrupt: handlers first, then back to the prompt.
raise_interrupt <- function() {
  signalCondition(structure(list(), class = c("interrupt", "condition")))
  invokeRestart("abort")
}

# An error in the user's terms: its call is the user's call.
abort <- function(message, call = sys.call(-1L)) stop(simpleError(message, call))

warn <- function(message, call = sys.call(-1L)) warning(simpleWarning(message, call))

# Functions of base reduced to what they do inside R: matching of arguments and calls take most of the time of a look
# after each task. They are made at load from the functions of the running R; one that is not as expected stays whole.

trimmed <- new.env(parent = emptyenv())

make_trimmed <- function() {
  # In this order, as the second looks at the first.
  limits <- list(
    inner_call(setSessionTimeLimit, cpu = Inf, elapsed = Inf),
    inner_call(setTimeLimit, cpu = Inf, elapsed = Inf, transient = FALSE)
  )
  trimmed$lift_limits <- of_steps(limits)
  calm_down <- list(inner_call(gctorture, on = FALSE), inner_call(gcinfo, verbose = FALSE))
  session_now <- c(quote(.Options), inner_call(search), inner_call(stdout), inner_sink_number())
  libraries <- library_call()
  numbers <- as.call(c(quote(c), level_calls(), namespace_count_call(), quote(session$changes)))
  look <- as.call(c(quote(.Call), quote(wrap__session_changed), quote(s$native), session_now,
                    quote(.subset2(globalenv(), ".Random.seed")), libraries, numbers))
  trimmed$changes <- of_steps(look, alist(s = ))
  # In a daemon, what cannot be asked for is set. Other than in the host, where a task of a synchronous profile may not end
  # a time limit of the caller's.
  calm <- call("if", quote(s$calm), block_of(c(limits, calm_down)), block_of(limits))
  trimmed$look <- of_steps(c(calm, look), alist(s = ))
  trimmed$snapshot <- of_steps(
    as.call(c(quote(.Call), quote(wrap__session_snapshot), session_now, quote(kind), libraries, numbers)),
    alist(kind = )
  )
}

of_steps <- function(steps, formals = NULL) {
  f <- function() NULL
  formals(f) <- formals
  body(f) <- block_of(steps)
  environment(f) <- topenv()
  compiler::cmpfun(f)
}

block_of <- function(steps) as.call(c(quote(`{`), steps))

# The call inside of `f`, with these arguments; or that of `f` itself.
inner_call <- function(f, ...) {
  inner <- body(f)
  if (is_internal(inner)) do.call(substitute, list(inner, list(...))) else as.call(list(f, ...))
}

is_internal <- function(x) is.call(x) && identical(x[[1L]], quote(.Internal))

# Its body is `{ type <- match.arg(type); .Internal(...) }`.
inner_sink_number <- function() {
  steps <- body(sink.number)
  known <- length(steps) == 3L && identical(steps[[2L]], quote(type <- match.arg(type))) && is_internal(steps[[3L]])
  if (known) do.call(substitute, list(steps[[3L]], list(type = "message"))) else as.call(list(sink.number, "message"))
}

# loadedNamespaces() takes the names of an environment.
namespace_count_call <- function() {
  inner <- body(loadedNamespaces)
  known <- is.call(inner) && identical(inner[[1L]], quote(names)) && is_internal(inner[[2L]])
  registry <- if (known) eval(inner[[2L]], baseenv())
  if (is.environment(registry)) call("length", registry) else quote(length(loadedNamespaces()))
}

# .libPaths() answers a variable of its environment.
library_call <- function() {
  kept <- environment(.libPaths)
  if (is.character(kept$.lib.loc)) call(".subset2", kept, ".lib.loc") else quote(.libPaths())
}

# Settings that answer what they are when given no new value. Limits of memory can be set since R 4.2.
level_calls <- function() {
  c(
    inner_call(compiler::enableJIT, level = -1L),
    if (exists("mem.maxVSize", baseenv(), inherits = FALSE))
      list(inner_call(mem.maxVSize, vsize = 0), inner_call(mem.maxNSize, nsize = 0))
  )
}

current_levels <- function() vapply(level_calls(), function(call) as.numeric(eval(call, baseenv())), 0)

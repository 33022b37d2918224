# Run-time set-up.

# The one unresolved value of the session: it is known by identity.
unresolved_value <- NULL

.onLoad <- function(libname, pkgname) {
  reset_session()
  set_up_tracing()
  unresolved_value <<- structure(NA, class = "unresolvedValue")
  rust(.Call(wrap__set_unresolved, unresolved_value))
  trimmed$message_sink <- without_matching(sink.number)
}

# A function of base whose body is `{ type <- match.arg(type); <work> }`, reduced to the work.
without_matching <- function(f) {
  steps <- body(f)
  if (length(steps) == 3L && identical(steps[[2L]], quote(type <- match.arg(type)))) body(f) <- steps[[3L]]
  f
}

# The library stays loaded: its threads may still be at work. But no pool is left open.
.onUnload <- function(libpath) {
  for (name in names(profiles)) close_pool(name)
  if (!is.null(session$ephemeral)) .Call(wrap__hub_close, session$ephemeral, FALSE)
}

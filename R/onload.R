# Run-time set-up.

# The one unresolved value of the session: it is known by identity.
unresolved_value <- NULL

.onLoad <- function(libname, pkgname) {
  reset_session()
  set_up_tracing()
  unresolved_value <<- structure(NA, class = "unresolvedValue")
  checked(.Call(wrap__set_unresolved, unresolved_value))
  checked(.Call(wrap__set_absence_warning, warn_of_absence))
  checked(.Call(wrap__set_evaluation, session, task_call, with_beside))
  register_shared_methods()
  make_trimmed()
  reg.finalizer(profiles, close_pools_at_exit, onexit = TRUE)
}

# The library stays loaded: its threads may still be at work. But no pool is left open.
.onUnload <- function(libpath) {
  for (name in names(profiles)) close_pool(name)
  close_readable_socket()
  if (!is.null(session$ephemeral)) .Call(wrap__hub_close, session$ephemeral, FALSE)
}

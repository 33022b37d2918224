# Synchronous profiles: daemons(sync = TRUE). A task is evaluated in this process, before mirai() returns, as it would
# be on a daemon: after serialization, in a global environment of its own, with everything put back afterwards.

new_sync_pool <- function(name, seed, call) {
  url <- paste0("inproc://", checked(.Call(wrap__local_url_name), call))
  new_pool(name, url, n = 1L, dispatcher = FALSE, seed, base_stream(seed))
}

# The outcome of a task as new_mirai() takes it: the value is in a list, as it may be the missing argument.
evaluate_here <- function(pool, object, shared, timeout, flags) {
  stream <- if (pool$seeded && flags != flag_everywhere) take_stream(pool)
  # The timeout does not apply during the evaluation, so that it can be debugged.
  value <- if (identical(timeout, 0)) list(error_value(5L)) else
    as_connected(pool$url, in_own_globals(pool, as_on_daemon(object, shared, flags, stream), flags))
  settled_task(checked(.Call(wrap__task_number)), value)
}

# A list of the value of a task, or of its error value. Both ways it goes through serialization.
as_on_daemon <- function(object, shared, flags, stream) {
  was <- saved_state(c("on_daemon", "given", "noted", "signalled"))
  on.exit(restore_state(was))
  session$on_daemon <- TRUE
  session$noted <- NULL
  session$signalled <- NULL
  tryCatch(
    withRestarts(
      withCallingHandlers(
        allowInterrupts({
          value <- copied(list(evaluate(copied_with_marks(object), copied_with_marks(shared), flags, stream)))
          if (!is.null(session$evaluated)) trace_evaluated(FALSE)
          value
        }),
        error = note_error, interrupt = note_interrupt, warning = note_warning, condition = note_signal
      ),
      # How R leaves for its prompt from what no handler is told of, as stop() with a condition that is no error.
      abort = function() list(failed_task(NULL))
    ),
    error = function(e) list(failed_task(e)),
    interrupt = function(e) list(mirai_interrupt)
  )
}

copied <- function(x) unserialize(serialize(x, NULL, xdr = FALSE))

# Evaluates `task` while the host's global variables are put away. A task that submits to a synchronous profile finds
# them put away already. What everywhere() has done to options or search path is the state to come back to.
in_own_globals <- function(pool, task, flags) {
  if (session$in_sync) return(task)
  # But during the task itself, an interrupt waits: one on the way there or back would cost the host its variables.
  suspendInterrupts(with_globals_away(pool, task, flags))
}

with_globals_away <- function(pool, task, flags) {
  # If that fails, as for a variable that cannot be read, all is as before.
  host <- put_away_globals()
  session$in_sync <- TRUE
  state <- NULL
  on.exit({
    # Whatever the task has left, the host gets its variables back.
    if (!is.null(state) && flags != flag_everywhere) restore_host(state)
    pool$globals <- tryCatch(put_away_globals(), error = function(e) {
      rm(list = names(.GlobalEnv), envir = .GlobalEnv)
      pool$globals
    })
    bring_globals(host)
    session$in_sync <- FALSE
  })
  bring_globals(pool$globals)
  state <- take_snapshot()
  task
}

restore_host <- function(state) {
  tryCatch(restore_snapshot(state), error = function(e) {
    renew_globals(state)
    try(restore_snapshot(state), silent = TRUE)
  })
}

# Empties the global environment; what it held, whatever the kind of binding, can be brought back. Before R 4.2 there
# is no way to get hold of an active binding, so there it stays where it is.
put_away_globals <- function() {
  names <- names(.GlobalEnv)
  is_active <- vapply(names, bindingIsActive, NA, env = .GlobalEnv)
  active <- if (getRversion() >= "4.2") lapply(stats::setNames(nm = names[is_active]), active_function)
  names <- c(names[!is_active], names(active))
  held <- list(
    plain = mget(names[!names %in% names(active)], envir = .GlobalEnv),
    active = active,
    locked = names[vapply(names, bindingIsLocked, NA, env = .GlobalEnv)]
  )
  rm(list = names, envir = .GlobalEnv)
  held
}

active_function <- function(name) get("activeBindingFunction", baseenv())(name, .GlobalEnv)

bring_globals <- function(held) {
  if (length(held$plain)) list2env(held$plain, .GlobalEnv)
  for (name in names(held$active)) makeActiveBinding(name, held$active[[name]], .GlobalEnv)
  for (name in held$locked) lockBinding(name, .GlobalEnv)
}

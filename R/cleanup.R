# The state of a daemon between tasks: a snapshot taken when it is in order, and what puts it back after a task.
# Looking costs a few microseconds, as nothing but identity is looked at; only what differs is worked on.

# An environment, so that its parts can be renewed in place.
take_snapshot <- function() {
  s <- new.env(parent = emptyenv())
  s$active <- active_globals()
  s$globals <- plain_globals()
  s$search <- search()
  s$options <- as.list(.Options)
  s$directory <- getwd()
  s$variables <- Sys.getenv(names = TRUE)
  s$stamp <- environment_stamp()
  s$stdout <- stdout()
  s$sinks <- sink.number()
  s$messages <- sink.number("message")
  s$devices <- .Devices
  s$kinds <- RNGkind()
  s$kind_code <- kind_code()
  s$namespaces <- length(loadedNamespaces())
  s
}

restore_snapshot <- function(s) {
  # Packages make options and environment variables of their own as they are loaded, and rely on them while they are.
  # So what has been added along with a package stays.
  loaded <- length(loadedNamespaces())
  keep <- loaded != s$namespaces
  s$namespaces <- loaded
  restore_globals(s)
  if (!identical(search(), s$search)) restore_search(s)
  if (!identical(as.list(.Options), s$options)) restore_options(s, keep)
  if (!identical(getwd(), s$directory)) restore_directory(s)
  if (!identical(environment_stamp(), s$stamp)) restore_variables(s, keep)
  if (!identical(stdout(), s$stdout) || sink.number("message") != s$messages) restore_sinks(s)
  if (!identical(.Devices, s$devices)) restore_devices(s)
  if (!identical(kind_code(), s$kind_code)) restore_kind(s)
}

# ---- global variables

# Names and values. Active bindings are left alone: looking at one would run it. The random seed runs on.
plain_globals <- function() {
  globals <- if (length(active <- active_globals())) {
    mget(setdiff(names(globalenv()), active), envir = globalenv())
  } else as.list.environment(globalenv(), all.names = TRUE)
  globals[[".Random.seed"]] <- NULL
  globals
}

active_globals <- function() {
  names <- names(globalenv())
  names[vapply(names, bindingIsActive, NA, env = globalenv())]
}

restore_globals <- function(s) {
  now <- if (length(s$active)) plain_globals() else {
    globals <- as.list.environment(globalenv(), all.names = TRUE)
    globals[[".Random.seed"]] <- NULL
    globals
  }
  if (identical(now, s$globals)) return()
  names <- setdiff(names(globalenv()), c(".Random.seed", s$active))
  added <- setdiff(names, names(s$globals))
  if (length(added)) rm(list = added, envir = globalenv())
  for (name in names(s$globals))
    if (!name %in% names || !identical(now[[name]], s$globals[[name]])) restore_global(name, s$globals[[name]])
  # In the order that they have now, so that the next look finds them identical.
  s$globals <- plain_globals()
}

restore_global <- function(name, value) {
  if (exists(name, envir = globalenv(), inherits = FALSE) && bindingIsLocked(name, globalenv())) return()
  assign(name, value, envir = globalenv())
}

# ---- search path, options, folder, environment variables

# What was attached is detached; what was detached is not attached again.
restore_search <- function(s) {
  for (name in setdiff(search(), s$search)) try(detach(name, character.only = TRUE, force = TRUE), silent = TRUE)
  s$search <- search()
}

restore_options <- function(s, keep_added) {
  now <- options()
  added <- setdiff(names(now), names(s$options))
  changed <- names(s$options)[!vapply(names(s$options), function(name) identical(now[[name]], s$options[[name]]), NA)]
  # One by one: some options refuse to be taken away.
  if (!keep_added) for (name in added) try(do.call(options, `names<-`(list(NULL), name)), silent = TRUE)
  for (name in changed) try(do.call(options, s$options[name]), silent = TRUE)
  s$options <- as.list(.Options)
}

restore_directory <- function(s) {
  if (!is.null(s$directory)) try(setwd(s$directory), silent = TRUE)
  s$directory <- getwd()
}

restore_variables <- function(s, keep_added) {
  now <- Sys.getenv(names = TRUE)
  added <- setdiff(names(now), names(s$variables))
  if (length(added) && !keep_added) Sys.unsetenv(added)
  changed <- names(s$variables)[is.na(now[names(s$variables)]) | now[names(s$variables)] != s$variables]
  if (length(changed)) do.call(Sys.setenv, as.list(s$variables[changed]))
  s$variables <- Sys.getenv(names = TRUE)
  s$stamp <- environment_stamp()
}

# ---- sinks and graphics devices

restore_sinks <- function(s) {
  while (sink.number() > s$sinks) sink()
  if (sink.number() < s$sinks) sink(discard())
  if (sink.number("message") != s$messages) {
    sink(type = "message")
    # 2 is the process's own stderr; anything else is where daemon() sends messages to.
    if (s$messages != 2L) sink(discard(), type = "message")
  }
  s$stdout <- stdout()
  s$sinks <- sink.number()
  s$messages <- sink.number("message")
}

# The connection that takes the output of a daemon without output, opened anew if a task has closed it.
discard <- function() {
  usable <- !is.null(session$discard) && tryCatch(isOpen(session$discard), error = function(e) FALSE)
  if (!usable) session$discard <- file(nullfile(), "w")
  session$discard
}

restore_devices <- function(s) {
  for (device in setdiff(open_devices(.Devices), open_devices(s$devices)))
    try(grDevices::dev.off(device), silent = TRUE)
  s$devices <- .Devices
}

open_devices <- function(devices) {
  names <- vapply(devices, as.character, "")
  setdiff(which(nzchar(names)), 1L)
}

# ---- random numbers

# The kinds, as the seed tells them; NA without a seed.
kind_code <- function() {
  seed <- .subset2(globalenv(), ".Random.seed")
  if (is.null(seed)) NA_integer_ else seed[1L]
}

# Another generator has no business here: back to the one before the task, as it stood then.
restore_kind <- function(s) {
  if (is.na(s$kind_code)) {
    # There was no seed at the snapshot, so the kinds cannot be told by it.
    if (!identical(RNGkind(), s$kinds)) {
      set_kinds(s$kinds)
      rm(".Random.seed", envir = globalenv())
    }
    return()
  }
  if (is.null(session$seed)) set_kinds(s$kinds) else
    assign(".Random.seed", session$seed, envir = globalenv())
}

# Rounding, the old way to sample, is warned about.
set_kinds <- function(kinds) suppressWarnings(RNGkind(kinds[1L], kinds[2L], kinds[3L]))

# Changes when an environment variable does.
environment_stamp <- function() .Call(wrap__environment_stamp)

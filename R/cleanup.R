# The state of a daemon between tasks: a snapshot taken when it is in order, and what puts it back after a task. The
# native library tells what may have changed, which costs a few microseconds; only that is worked on here.

# Areas, as bits of what the native library says.
changed_globals <- 1L
changed_search <- 2L
changed_options <- 4L
changed_environment <- 8L
changed_folder <- 16L
changed_sinks <- 32L
changed_devices <- 64L
changed_kind <- 128L
changed_lock <- 256L
changed_bindings <- 512L
changed_libraries <- 1024L
changed_process <- 2048L
changed_locale <- 4096L
changed_profiler <- 8192L
changed_numbers <- 16384L
changed_values <- 32768L

# An environment, so that its parts can be renewed in place.
take_snapshot <- function() {
  s <- new.env(parent = emptyenv())
  s$active <- active_globals()
  s$functions <- if (getRversion() >= "4.2") lapply(stats::setNames(nm = s$active), active_function)
  s$locked <- locked_globals()
  s$globals <- plain_globals(s$active)
  s$options <- as.list(.Options)
  s$folder <- getwd()
  s$variables <- process_variables()
  s$sinks <- sink.number()
  s$messages <- sink.number("message")
  s$devices <- open_devices()
  s$kinds <- RNGkind()
  s$libraries <- .libPaths()
  s$locale <- vapply(locale_categories, Sys.getlocale, "")
  s$levels <- current_levels()
  s$calm <- is_calm()
  note_search(s)
  note_namespaces(s)
  note_pools(s)
  look_anew(s)
  s
}

look_anew <- function(s) s$native <- trimmed$snapshot(kind_code(s$kinds))

restore_daemon <- function(s) restore_changes(s, trimmed$look(s))

restore_snapshot <- function(s) restore_changes(s, trimmed$changes(s))

restore_changes <- function(s, changed) {
  if (changed == 0L) return()
  has <- function(area) bitwAnd(changed, area) != 0L
  if (changed >= changed_lock) restore_bindings(s, changed)
  if (has(changed_globals)) rm(list = .Call(wrap__session_new_globals, s$native), envir = globalenv())
  if (has(changed_values) || has(changed_bindings)) restore_globals(s)
  if (changed == changed_globals) return()
  restore_areas(s, has)
  look_anew(s)
}

# Each step on its own: one that fails must not keep the others from running.
restore_areas <- function(s, has) {
  attempt <- function(expr) suppressWarnings(try(expr, silent = TRUE))
  # Packages make options and environment variables of their own as they are loaded, and rely on them while they are.
  # So what has been added along with a package stays.
  keep <- length(loadedNamespaces()) != s$namespaces
  if (keep) attempt(restore_namespaces(s))
  if (session$changes != s$changes) attempt(restore_pools(s))
  if (!identical(current_levels(), s$levels)) attempt(restore_levels(s))
  if (has(changed_search)) attempt(restore_search(s))
  if (has(changed_options)) attempt(restore_options(s, keep))
  if (has(changed_environment)) attempt(restore_variables(s, keep))
  if (has(changed_folder)) attempt(restore_folder(s))
  if (has(changed_sinks)) attempt(restore_sinks(s))
  if (has(changed_devices)) attempt(restore_devices(s))
  if (has(changed_kind)) attempt(restore_kind(s))
  if (has(changed_libraries)) assign(".lib.loc", s$libraries, envir = environment(.libPaths))
  if (has(changed_process)) .Call(wrap__session_restore_process, s$native)
  if (has(changed_locale)) attempt(restore_locale(s))
  if (has(changed_profiler)) attempt(utils::Rprof(NULL))
}

# ---- global variables

# Names and values. Active bindings are left alone: looking at one would run it. The random seed runs on.
plain_globals <- function(active) {
  globals <- if (length(active)) mget(setdiff(names(globalenv()), active), envir = globalenv()) else
    as.list.environment(globalenv(), all.names = TRUE)
  globals[[".Random.seed"]] <- NULL
  globals
}

active_globals <- function() {
  names <- names(globalenv())
  names[vapply(names, bindingIsActive, NA, env = globalenv())]
}

locked_globals <- function() {
  names <- setdiff(names(globalenv()), ".Random.seed")
  names[vapply(names, bindingIsLocked, NA, env = globalenv())]
}

# Gives variables their values back, also those that were removed. Unchanged ones are found by identity, so that large
# ones are not gone through.
restore_globals <- function(s) {
  for (name in s$active[!s$active %in% names(globalenv())]) if (is.function(s$functions[[name]]))
    makeActiveBinding(name, s$functions[[name]], globalenv())
  now <- plain_globals(s$active)
  if (identical(now, s$globals)) return(restore_locks(s))
  for (name in names(s$globals))
    if (!name %in% names(now) || !identical(now[[name]], s$globals[[name]])) restore_global(name, s$globals[[name]])
  restore_locks(s)
  # In the order that they have now, so that the next look finds them identical.
  s$globals <- plain_globals(s$active)
}

restore_global <- function(name, value) {
  if (exists(name, envir = globalenv(), inherits = FALSE)) set_lock(name, FALSE)
  assign(name, value, envir = globalenv())
}

restore_locks <- function(s) {
  if (length(s$locked)) for (name in intersect(s$locked, names(globalenv()))) set_lock(name, TRUE)
}

# What locks have been set or taken away, and what has been made active: in the whole environment, and of single
# variables that are to stay.
restore_bindings <- function(s, changed) {
  if (bitwAnd(changed, changed_lock) != 0L && environmentIsLocked(globalenv())) unlock_global_environment()
  if (bitwAnd(changed, changed_bindings) == 0L) return()
  for (name in intersect(c(names(s$globals), s$active, ".Random.seed"), names(globalenv()))) {
    if (!identical(bindingIsActive(name, globalenv()), name %in% s$active)) rm(list = name, envir = globalenv()) else
      set_lock(name, FALSE)
  }
}

set_lock <- function(name, lock) {
  if (lock) lockBinding(name, globalenv()) else get("unlockBinding", baseenv())(name, globalenv())
}

# When looking at a variable fails, as at an active binding or a promise that a task has put into the place of another:
# all of them anew. The seed is the one before the task.
renew_globals <- function(s) {
  if (environmentIsLocked(globalenv())) unlock_global_environment()
  rm(list = setdiff(names(globalenv()), s$active), envir = globalenv())
  list2env(s$globals, globalenv())
  for (name in setdiff(s$locked, s$active)) lockBinding(name, globalenv())
  if (!is.null(session$seed)) assign(".Random.seed", session$seed, envir = globalenv())
}

# ---- search path, namespaces, options, folder, environment variables

note_search <- function(s) {
  s$search <- search()
  s$attached <- lapply(seq_along(s$search), as.environment)
}

# What was attached is detached, and what was detached attached again, at its place.
restore_search <- function(s) {
  is_known <- function(position) any(vapply(s$attached, identical, NA, as.environment(position)))
  for (position in rev(seq_along(search()))) if (!is_known(position)) try(detach(pos = position, force = TRUE), silent = TRUE)
  for (i in seq_along(s$attached)) {
    if (i <= length(search()) && identical(as.environment(i), s$attached[[i]])) next
    if (inherits(try(attach_again(s$search[i], s$attached[[i]], i, s$reloaded), silent = TRUE), "try-error")) break
  }
  note_search(s)
}

# A package that has been unloaded as well has new functions since.
attach_again <- function(name, env, position, reloaded) {
  package <- if (startsWith(name, "package:")) substring(name, 9L)
  if (!is.null(package) && package %in% reloaded) return(attachNamespace(package, position))
  entry <- attach(env, position, name, warn.conflicts = FALSE)
  attributes(entry) <- attributes(env)
}

restore_options <- function(s, keep_added) {
  now <- options()
  added <- setdiff(names(now), names(s$options))
  changed <- names(s$options)[!vapply(names(s$options), function(name) identical(now[[name]], s$options[[name]]), NA)]
  # One by one: some options cannot be removed.
  if (!keep_added) for (name in added) try(do.call(options, `names<-`(list(NULL), name)), silent = TRUE)
  for (name in changed) try(do.call(options, s$options[name]), silent = TRUE)
  s$options <- as.list(.Options)
}

restore_folder <- function(s) {
  if (!is.null(s$folder)) try(setwd(s$folder), silent = TRUE)
  s$folder <- getwd()
}

# Names and values. Bytes that are no characters in this locale make Sys.getenv() fail; in the C locale all bytes are.
process_variables <- function() {
  read <- function() unclass(Sys.getenv(names = TRUE))
  as_bytes <- function(e) {
    locale <- Sys.getlocale("LC_CTYPE")
    on.exit(Sys.setlocale("LC_CTYPE", locale))
    Sys.setlocale("LC_CTYPE", "C")
    read()
  }
  tryCatch(read(), error = as_bytes, warning = as_bytes)
}

restore_variables <- function(s, keep_added) {
  now <- process_variables()
  added <- setdiff(names(now), names(s$variables))
  if (length(added) && !keep_added) Sys.unsetenv(added)
  changed <- names(s$variables)[is.na(now[names(s$variables)]) | now[names(s$variables)] != s$variables]
  if (length(changed)) do.call(Sys.setenv, as.list(s$variables[changed]))
  # Translations of messages are kept by language until this is called.
  if (!identical(now["LANGUAGE"], s$variables["LANGUAGE"]) && getRversion() >= "4.2") bindtextdomain(NULL)
  s$variables <- process_variables()
}

note_namespaces <- function(s) {
  s$loaded <- loadedNamespaces()
  s$namespaces <- length(s$loaded)
}

# Those that a task has unloaded are loaded again; those that it has loaded stay.
restore_namespaces <- function(s) {
  s$reloaded <- setdiff(s$loaded, loadedNamespaces())
  for (package in s$reloaded) try(loadNamespace(package), silent = TRUE)
  note_namespaces(s)
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
  s$sinks <- sink.number()
  s$messages <- sink.number("message")
}

# The connection that takes the output of a daemon without output, opened anew if a task has closed it.
discard <- function() {
  usable <- !is.null(session$discard) && tryCatch(isOpen(session$discard), error = function(e) FALSE)
  if (!usable) session$discard <- open_discard()
  session$discard
}

# In forked daemons a file in memory: its last lines are told when the daemon has died. Elsewhere nothing is kept.
open_discard <- function() {
  path <- checked(.Call(wrap__discarded_output))
  if (is.null(path)) file(nullfile(), "w") else file(path, "r+")
}

restore_devices <- function(s) {
  for (device in setdiff(open_devices(), s$devices)) try(grDevices::dev.off(device), silent = TRUE)
  s$devices <- open_devices()
}

# Their numbers. R changes `.Devices` in place, so that keeping it would be of no use.
open_devices <- function() {
  names <- vapply(as.list(.Devices), as.character, "")
  setdiff(which(nzchar(names)), 1L)
}

# ---- locale, levels of R, pools

locale_categories <- c("LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME")

restore_locale <- function(s) {
  for (category in locale_categories)
    if (!identical(Sys.getlocale(category), s$locale[[category]])) Sys.setlocale(category, s$locale[[category]])
}

# How code is compiled, and limits of memory.
restore_levels <- function(s) {
  compiler::enableJIT(s$levels[1L])
  if (length(s$levels) > 1L) {
    mem.maxVSize(s$levels[2L])
    mem.maxNSize(s$levels[3L])
  }
  s$levels <- current_levels()
}

# Whether garbage collections are neither forced nor reported.
is_calm <- function() {
  forced <- gctorture(FALSE)
  if (forced) gctorture(TRUE)
  reported <- gcinfo(FALSE)
  if (reported) gcinfo(TRUE)
  !forced && !reported && !nzchar(Sys.getenv("R_GCTORTURE"))
}

note_pools <- function(s) {
  s$pools <- as.list.environment(profiles, all.names = TRUE)
  s$changes <- session$changes
  s$profile <- session$profile
  s$registered <- session$registered
}

# Pools that the task has made are closed, the current profile is the one before it.
restore_pools <- function(s) {
  for (name in names(profiles)) if (!identical(profiles[[name]], s$pools[[name]])) close_pool(name)
  session$profile <- s$profile
  session$registered <- s$registered
  note_pools(s)
}

# ---- random numbers

random_kinds <- c("Wichmann-Hill", "Marsaglia-Multicarry", "Super-Duper", "Mersenne-Twister", "Knuth-TAOCP",
                  "user-supplied", "Knuth-TAOCP-2002", "L'Ecuyer-CMRG")
normal_kinds <- c("Buggy Kinderman-Ramage", "Ahrens-Dieter", "Box-Muller", "user-supplied", "Inversion",
                  "Kinderman-Ramage")
sample_kinds <- c("Rounding", "Rejection")

# What `.Random.seed` starts with, or would.
kind_code <- function(kinds) {
  match(kinds[1L], random_kinds) - 1L + 100L * (match(kinds[2L], normal_kinds) - 1L) +
    10000L * (match(kinds[3L], sample_kinds) - 1L)
}

# If the task has changed the generator, restores the one before it, in its state then.
restore_kind <- function(s) {
  if (!is.null(session$seed)) return(assign(".Random.seed", session$seed, envir = globalenv()))
  set_kinds(s$kinds)
  rm(".Random.seed", envir = globalenv())
}

# "Rounding", the old way to sample, is warned about.
set_kinds <- function(kinds) suppressWarnings(RNGkind(kinds[1L], kinds[2L], kinds[3L]))

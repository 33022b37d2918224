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

# An environment, so that its parts can be renewed in place.
take_snapshot <- function() {
  s <- new.env(parent = emptyenv())
  s$active <- active_globals()
  s$globals <- plain_globals(s$active)
  s$search <- search()
  s$options <- as.list(.Options)
  s$folder <- getwd()
  s$variables <- unclass(Sys.getenv(names = TRUE))
  s$sinks <- sink.number()
  s$messages <- sink.number("message")
  s$devices <- open_devices()
  s$kinds <- RNGkind()
  s$namespaces <- length(loadedNamespaces())
  look_anew(s)
  s
}

look_anew <- function(s) {
  s$native <- .Call(wrap__session_snapshot, .Options, search(), stdout(), trimmed$message_sink("message"),
                    kind_code(s$kinds))
}

restore_snapshot <- function(s) {
  # Packages make options and environment variables of their own as they are loaded, and rely on them while they are.
  # So what has been added along with a package stays.
  loaded <- length(loadedNamespaces())
  keep <- loaded != s$namespaces
  s$namespaces <- loaded
  changed <- .Call(wrap__session_changed, s$native, .Options, search(), stdout(), trimmed$message_sink("message"),
                   .subset2(globalenv(), ".Random.seed"))
  if (changed != 0L && bitwAnd(changed, changed_globals) != 0L)
    rm(list = .Call(wrap__session_new_globals, s$native), envir = globalenv())
  if (length(s$globals)) restore_globals(s)
  if (changed <= changed_globals) return()
  has <- function(area) bitwAnd(changed, area) != 0L
  if (has(changed_search)) restore_search(s)
  if (has(changed_options)) restore_options(s, keep)
  if (has(changed_environment)) restore_variables(s, keep)
  if (has(changed_folder)) restore_folder(s)
  if (has(changed_sinks)) restore_sinks(s)
  if (has(changed_devices)) restore_devices(s)
  if (has(changed_kind)) restore_kind(s)
  look_anew(s)
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

# Gives variables their values back, also those that were removed. Unchanged ones are found by identity, so that large
# ones are not gone through.
restore_globals <- function(s) {
  now <- plain_globals(s$active)
  if (identical(now, s$globals)) return()
  for (name in names(s$globals))
    if (!name %in% names(now) || !identical(now[[name]], s$globals[[name]])) restore_global(name, s$globals[[name]])
  # In the order that they have now, so that the next look finds them identical.
  s$globals <- plain_globals(s$active)
}

restore_global <- function(name, value) {
  locked <- exists(name, envir = globalenv(), inherits = FALSE) && bindingIsLocked(name, globalenv())
  if (!locked) assign(name, value, envir = globalenv())
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

restore_folder <- function(s) {
  if (!is.null(s$folder)) try(setwd(s$folder), silent = TRUE)
  s$folder <- getwd()
}

restore_variables <- function(s, keep_added) {
  now <- unclass(Sys.getenv(names = TRUE))
  added <- setdiff(names(now), names(s$variables))
  if (length(added) && !keep_added) Sys.unsetenv(added)
  changed <- names(s$variables)[is.na(now[names(s$variables)]) | now[names(s$variables)] != s$variables]
  if (length(changed)) do.call(Sys.setenv, as.list(s$variables[changed]))
  s$variables <- unclass(Sys.getenv(names = TRUE))
}

# ---- sinks and graphics devices

# Functions of base without the matching of their argument, which takes most of their time: here sink.number(). Made at
# load from the ones of the running R.
trimmed <- new.env(parent = emptyenv())

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
  if (!usable) session$discard <- file(nullfile(), "w")
  session$discard
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

# Another generator has no business here: back to the one before the task, as it stood then.
restore_kind <- function(s) {
  if (!is.null(session$seed)) return(assign(".Random.seed", session$seed, envir = globalenv()))
  set_kinds(s$kinds)
  rm(".Random.seed", envir = globalenv())
}

# "Rounding", the old way to sample, is warned about.
set_kinds <- function(kinds) suppressWarnings(RNGkind(kinds[1L], kinds[2L], kinds[3L]))

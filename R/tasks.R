# Tasks as they travel: what is sent, how it is made and read. The parts have no names, which each task would carry. The native
# side does not look into them.

# The expression, the local variables and the global ones; the last part, if there is one, is the context of a trace.
new_task <- function(expr, locals, globals) list(expr, locals, globals)

# What all tasks of a map have in common: the call, the function, its constants, the globals. Besides, such a task is an element.
new_shared_part <- function(call, f, args, globals) list(call, f, args, globals)

# A task with the context of a trace; for an element of a map its flags tell.
with_context <- function(object, flags, context) {
  if (flags == flag_map) return(list(object, context))
  object[[4L]] <- context
  object
}

flags_with_context <- function(flags) if (flags == flag_map) flag_map_traced else flags

task_context <- function(object, flags) {
  if (flags == flag_map_traced) object[[2L]] else if (flags != flag_map && length(object) > 3L) object[[4L]]
}

task_expr <- function(object, shared, flags) if (flags >= flag_map) shared[[1L]] else object[[1L]]

# Where the task is evaluated. Its global variables are assigned.
task_env <- function(object, shared, flags) {
  if (flags >= flag_map) return(map_env(if (flags == flag_map) object else object[[1L]], shared))
  if (length(object[[3L]])) list2env(object[[3L]], .GlobalEnv)
  env <- new.env(parent = .GlobalEnv)
  if (length(object[[2L]])) list2env(object[[2L]], env)
  env
}

map_env <- function(element, shared) {
  session$in_map <- TRUE
  if (length(shared[[4L]])) list2env(shared[[4L]], .GlobalEnv)
  env <- new.env(parent = .GlobalEnv)
  env$.f <- shared[[2L]]
  env$.args <- shared[[3L]]
  assign(".x", element, envir = env)
  env
}

# A task of a synchronous profile, which has its value already.
settled_task <- function(number, value) list(number = number, value = value)

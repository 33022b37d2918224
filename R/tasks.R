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

# A task of a synchronous profile, which has its value already.
settled_task <- function(number, value) list(number = number, value = value)

# Evaluation of one task in a daemon.

# The call that errors at the top of a task are reported for: it is ours, in evaluate(), not the user's.
task_call <- quote(eval(.__task_expr__., .__task_env__.))

# Flags of a task. Of these the native side knows the first (`TaskFlags` in rust/wire), which it sets itself for a pool
# that has daemons; the others go through it unread.
flag_everywhere <- 1L
flag_map <- 2L
flag_map_traced <- 6L

# The value of one task, with what R code has to do around it; where that is nothing, daemons go to the native side at once. An
# error or an interrupt leaves by a jump, which the native loop stops; the handlers around that loop, in daemon(), have noted it.
# Handlers set up here would cost more than all the rest.
evaluate <- function(object, shared, flags, stream) {
  if (!is.null(session$serial)) return(evaluate_packed(object, shared, flags, stream, session$serial))
  if (!is.null(session$tracer)) trace_evaluation(object, flags, environment())
  .Call(wrap__task_evaluate, object, shared, flags, stream)
}

# Whether an element of a map is under evaluation.
is_in_map <- function() !is.null(session$given) && session$given$flags >= flag_map

# What comes besides a value: warnings are printed, and conditions that a node has relayed go along. The native side looks whether
# there is any of it.
with_beside <- function(value, expr) {
  relayed <- session$relayed
  finish_beside()
  if (is.null(relayed) || !identical(expr, node_call)) return(value)
  structure(list(conditions = relayed, value = value), class = "miraiRelayed")
}

finish_beside <- function() {
  session$beside <- NULL
  session$relayed <- NULL
  if (!is.null(session$warnings)) print_warnings()
}

# In a pool with hooks of its own for serialization. Their errors are those of the task.
evaluate_packed <- function(object, shared, flags, stream, serial) {
  force(serial)
  on.exit(session$serial <- serial)
  object <- unpack(object, serial)
  shared <- unpack(shared, serial)
  session$serial <- NULL
  pack(evaluate(object, shared, flags, stream), serial)
}

# ---- maps

# The call of a mapped function refers to its arguments by name, so that they are values to it, never evaluated, and an
# error's call stays small: `.f(.x)`, or for a row and constants `.f(a = .x[[1L]], b = .x[[2L]], k = .args[[1L]])`.
map_call <- function(cells, names, args) {
  x <- if (is.null(cells)) list(quote(.x)) else item_calls(quote(.x), cells, names)
  as.call(c(quote(.f), x, item_calls(quote(.args), length(args), names(args))))
}

item_calls <- function(list, n, names) {
  items <- lapply(seq_len(n), function(i) call("[[", list, i))
  names(items) <- names
  items
}

# How the call of a mapped function is shown.
map_call_shown <- quote(.f())

is_map_call <- function(call) is.call(call) && identical(call[[1L]], quote(.f))

# What R says of a call that does not fit the function has our references in the place of values: `kk = .args[[1]]`.
# The name, or the reference of a constant without one, is what the user has given.
plain_map_message <- function(message) gsub("([^ ,(]+) = \\.(x|args)\\[\\[[0-9]+\\]\\]", "\\1", message)

# ---- where an error came from

# An error with the frames between the top of the expression and the signalling; NULL if no expression was under
# evaluation. `calls`: sys.calls() in the handler.
error_here <- function(condition, calls) {
  top <- task_frame(calls)
  if (top == 0L) return(NULL)
  if (top < length(calls) && identical(calls[[top + 1L]], node_call)) return(node_error(condition))
  tryCatch(
    mirai_error(condition, trace_of(calls, top)),
    error = function(e) mirai_error(condition, list())
  )
}

# The outermost frames lead to our eval(), which is listed twice.
task_frame <- function(calls) {
  top <- 0L
  for (i in seq_along(calls)) if (identical(calls[[i]], task_call)) {
    top <- i
    break
  }
  if (top) while (top < length(calls) && identical(calls[[top + 1L]], task_call)) top <- top + 1L
  top
}

longest_trace <- 200L

trace_of <- function(calls, top) {
  frames <- as.list(calls)[seq_along(calls) > top]
  # The last one is the handler.
  frames <- without_machinery(frames[-length(frames)])
  # Of an infinite recursion the last turns say it all.
  frames <- lapply(rev(frames)[seq_len(min(length(frames), longest_trace))], plain_call)
  if (length(frames) && is_map_call(frames[[length(frames)]])) frames[[length(frames)]] <- map_call_shown
  frames
}

# Frames that signal, not fail, and do nothing but that.
machinery <- c(".handleSimpleError", "signalCondition", "signal_abort")

without_machinery <- function(frames) {
  # A warning that became an error has been raised by R's own way of warning.
  warned <- vapply(frames, calls_to, NA, names = ".signalSimpleWarning")
  if (any(warned)) return(list())
  while (length(frames) && calls_to(frames[[length(frames)]], machinery)) frames <- frames[-length(frames)]
  frames
}

# Is this a call of a function of one of these names, also as `package::name`?
calls_to <- function(call, names) {
  head <- call[[1L]]
  if (is.call(head) && length(head) == 3L && as.character(head[[1L]]) %in% c("::", ":::")) head <- head[[3L]]
  is.symbol(head) && as.character(head) %in% names
}

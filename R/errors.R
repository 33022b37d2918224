# Failures as values: codes, evaluation errors, interrupts. All inherit "errorValue" and "try-error".

is_error_value <- function(x) inherits(x, "errorValue")

is_mirai_error <- function(x) inherits(x, "miraiError")

is_mirai_interrupt <- function(x) inherits(x, "miraiInterrupt")

# What a code means; the native side has the table.
code_text <- function(code) if (is.na(code)) "Unknown error" else checked(.Call(wrap__code_text, code))

coded <- function(code) paste(code, code_text(code), sep = " | ")

# ---- evaluation errors

# The attributes of a string that R gives a meaning of its own: a field of that name cannot be kept.
reserved_fields <- c("names", "dim", "dimnames", "tsp", "row.names", "comment", "class", "message", "call")

# `trace`: calls, innermost first.
mirai_error <- function(condition, trace) {
  call <- .subset2(condition, "call")
  if (is.call(call)) call <- plain_call(call)
  if (is_map_call(call)) {
    call <- map_call_shown
    if (is_string(.subset2(condition, "message"))) condition$message <- plain_map_message(condition$message)
  } else if (identical(call, task_call)) call <- NULL
  # A condition may be an environment, which cannot be gone through like that.
  fields <- if (is.list(condition)) unclass(condition)
  fields <- fields[all_kept(names(fields))]
  error <- paste0("Error", if (!is.null(call)) " in ", if (!is.null(call)) first_line(call), ": ", full_message(condition))
  attributes(error) <- c(
    list(message = .subset2(condition, "message"), call = call), fields,
    list(condition.class = class(condition), stack.trace = trace, class = error_class)
  )
  error
}

# A code as a value.
error_value <- function(code) structure(code, class = c("errorValue", "try-error"))

error_class <- c("miraiError", "errorValue", "try-error")

all_kept <- function(names) nzchar(names) & !names %in% reserved_fields & !duplicated(names)

# An error that no condition was signalled for: a payload or a result that cannot travel.
plain_error <- function(message) mirai_error(simpleError(message), list())

mirai_interrupt <- structure("", class = c("miraiInterrupt", "errorValue", "try-error"))

# A class may compute its message when asked for it, which may fail.
full_message <- function(condition) {
  text <- tryCatch(conditionMessage(condition), error = function(e) .subset2(condition, "message"))
  paste(as.character(text), collapse = "\n")
}

first_line <- function(call) deparse(call, nlines = 1L)[1L]

# A call without source references, at any depth.
plain_call <- function(call) {
  if (!is.call(call)) return(call)
  if (!inherits(call, "formula")) attributes(call) <- attributes(call)["names"]
  if (identical(call[[1L]], quote(`function`))) call <- call[-4L]
  # Not one by one: each would be looked for from the start of the call.
  nested <- vapply(as.list(call), is.call, NA)
  if (any(nested)) call[nested] <- lapply(as.list(call)[nested], plain_call)
  call
}

`$.miraiError` <- function(x, name) attr(x, name, exact = TRUE)

conditionMessage.miraiError <- function(c) attr(c, "message", exact = TRUE)

conditionCall.miraiError <- function(c) attr(c, "call", exact = TRUE)

.DollarNames.miraiError <- function(x, pattern = "") grep(pattern, names(attributes(x)), value = TRUE)

# The condition that a miraiError was made from, as far as it could travel.
original_condition <- function(x) {
  fields <- attributes(x)
  # The call of a mapped function says nothing that its place in the map doesn't.
  call <- if (!is_map_call(fields$call)) fields$call
  kept <- setdiff(names(fields), c("class", "call", "message"))
  structure(c(list(message = fields$message, call = call), fields[kept]),
            class = unique(c(fields$condition.class, "error", "condition")))
}

# Any error value as a condition; `reason` says why, where that is known.
as_condition <- function(x) {
  if (is_mirai_error(x)) return(original_condition(x))
  message <- if (is_mirai_interrupt(x)) "Interrupted" else
    if (is.numeric(x) && length(x) == 1L) coded(as.integer(unclass(x))) else paste(format(unclass(x)), collapse = " ")
  fields <- list(message = message, call = NULL)
  if (is_string(attr(x, "reason"))) fields$reason <- attr(x, "reason")
  structure(fields, class = c("error", "condition"))
}

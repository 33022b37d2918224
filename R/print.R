# Printed forms. Each returns its argument, invisibly.

# One that was saved before it had resolved is of no use elsewhere, but that is for those to say who ask for its value.
print.mirai <- function(x, ...) {
  pending <- tryCatch(is_pending(x), error = function(e) NA)
  cat(sprintf("< mirai [%s] >\n", if (is.na(pending)) "of another session" else if (pending) "" else "$data"))
  invisible(x)
}

print.mirai_map <- function(x, ...) {
  pending <- tryCatch(checked(.Call(wrap__tasks_pending, open_tasks(unclass(x)))), error = function(e) NA)
  cat(if (is.na(pending)) sprintf("< mirai map [%d, of another session] >\n", length(x)) else
    sprintf("< mirai map [%d/%d] >\n", length(x) - pending, length(x)))
  invisible(x)
}

print.unresolvedValue <- function(x, ...) {
  cat("'unresolved' logi NA\n")
  invisible(x)
}

print.errorValue <- function(x, ...) {
  code <- unclass(x)
  if (is.numeric(code) && length(code) == 1L) cat(sprintf("'errorValue' int %s\n", coded(as.integer(code)))) else
    print.default(x)
  invisible(x)
}

print.miraiError <- function(x, ...) {
  cat("'miraiError' chr ", as.vector(x), "\n", sep = "")
  invisible(x)
}

print.miraiInterrupt <- function(x, ...) {
  cat("'miraiInterrupt' chr \"\"\n")
  invisible(x)
}

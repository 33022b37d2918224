# Printed forms. Each returns its argument, invisibly.

print.mirai <- function(x, ...) {
  cat(if (is_pending(x)) "< mirai [] >\n" else "< mirai [$data] >\n")
  invisible(x)
}

print.mirai_map <- function(x, ...) {
  pending <- checked(.Call(wrap__tasks_pending, open_tasks(unclass(x))))
  cat(sprintf("< mirai map [%d/%d] >\n", length(x) - pending, length(x)))
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

# Printed forms. Each returns its argument, invisibly.

# One that was saved before it had resolved is of no use elsewhere, but that is for those to say who ask for its value.
print.mirai <- function(x, ...) {
  pending <- tryCatch(is_pending(x), error = function(e) NA)
  cat(sprintf("< mirai [%s] >\n", if (is.na(pending)) "of another session" else if (pending) "" else "$data"))
  invisible(x)
}

print.mirai_map <- function(x, ...) {
  pending <- tryCatch(checked(.Call(wrap__mirai_pending, unclass(x))), error = function(e) NA)
  cat(if (is.na(pending)) sprintf("< mirai map [%d, of another session] >\n", length(x)) else
    sprintf("< mirai map [%d/%d] >\n", length(x) - pending, length(x)))
  invisible(x)
}

print_unresolved_value <- function(x, ...) {
  cat("'unresolved' logi NA\n")
  invisible(x)
}

print_error_value <- function(x, ...) {
  code <- unclass(x)
  if (!is.numeric(code) || length(code) != 1L) {
    print.default(x)
    return(invisible(x))
  }
  cat(sprintf("'errorValue' int %s\n", coded(as.integer(code))))
  # What is known of why the task was lost.
  if (is_string(attr(x, "reason"))) cat(attr(x, "reason"), "\n", sep = "")
  invisible(x)
}

# Package nanonext has methods for these classes, too, which print the same. R says so, with the names of both packages, if
# one registers a method where there is one of the other. So if nanonext is there, its methods stay; and if it comes later, it
# finds ones that R takes for its own, by the name of the environment around them.
register_shared_methods <- function() {
  if (isNamespaceLoaded("nanonext")) return()
  methods <- list(errorValue = print_error_value, unresolvedValue = print_unresolved_value)
  around <- new.env(parent = topenv())
  attr(around, "name") <- "nanonext"
  for (class in names(methods)) {
    method <- methods[[class]]
    environment(method) <- around
    registerS3method("print", class, method)
  }
}

print.miraiError <- function(x, ...) {
  cat("'miraiError' chr ", as.vector(x), "\n", sep = "")
  invisible(x)
}

print.miraiInterrupt <- function(x, ...) {
  cat("'miraiInterrupt' chr \"\"\n")
  invisible(x)
}

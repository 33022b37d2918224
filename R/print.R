# Printed forms. Each returns its argument, invisibly.

# One that was saved before it had resolved is of no use elsewhere, but that is for those to say who ask for its value.
print.mirai <- function(x, ...) {
  progress <- tryCatch(progress_of(x), error = function(e) NA)
  cat(sprintf("< mirai [%s] >\n", if (is.na(progress)) "of another session" else
    switch(progress, pending = "", failed = "error", "$data")))
  invisible(x)
}

print.mirai_map <- function(x, ...) {
  progress <- tryCatch(vapply(unclass(x), progress_of, "", USE.NAMES = FALSE), error = function(e) NA)
  if (anyNA(progress)) {
    cat(sprintf("< mirai map [%d, of another session] >\n", length(x)))
    return(invisible(x))
  }
  failed <- which(progress == "failed")
  cat(sprintf("< mirai map [%d/%d%s] >\n", sum(progress != "pending"), length(x), failed_text(failed)))
  invisible(x)
}

# `pending`, `failed` or `done`: a value is not made for that.
progress_of <- function(m) {
  task <- attr(m, "task", TRUE)
  if (is.null(task)) return(if (is_error_value(.subset2(m, "value"))) "failed" else "done")
  state <- .Call(wrap__task_state, m)
  if (!is.integer(state)) raise_failure(state, NULL)
  if (state == 0L) "pending" else if (state == 1L) "done" else "failed"
}

most_failed_shown <- 5L

failed_text <- function(failed) {
  if (!length(failed)) return("")
  shown <- failed[seq_len(min(length(failed), most_failed_shown))]
  rest <- if (length(failed) > most_failed_shown) ", ..." else ""
  sprintf(", %d failed: %s%s", length(failed), paste(shown, collapse = ", "), rest)
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
  hint <- missing_hint(attr(x, "message", TRUE))
  if (!is.null(hint)) cat(hint, "\n", sep = "")
  invisible(x)
}

# What to write where a daemon lacks what this session has. R's messages are known in its language only where the daemon has the
# same one.
missing_hint <- function(message) {
  if (!is_string(message)) return()
  name <- name_in(message, "object '%s' not found", "^object ['\u2018](.*)['\u2019] not found$")
  if (!is.null(name)) {
    if (exists(name, envir = globalenv(), inherits = FALSE))
      return(sprintf("This session has `%1$s`, which the daemon has not: `mirai(..., %1$s = %1$s)`.", as_code(name)))
    return(package_hint(name, "any"))
  }
  name <- name_in(message, "could not find function \"%s\"", "^could not find function \"(.*)\"$")
  if (is.null(name)) return()
  if (exists(name, envir = globalenv(), mode = "function", inherits = FALSE))
    return(sprintf("This session has `%1$s()`, which the daemon has not: `mirai(..., %1$s = %1$s)`.", as_code(name)))
  package_hint(name, "function")
}

# The name in a message of R's, in this session's language or in English.
name_in <- function(message, text, english) {
  translated <- strsplit(gettext(text, domain = "R"), "%s", fixed = TRUE)[[1L]]
  if (length(translated) == 2L && startsWith(message, translated[1L]) && endsWith(message, translated[2L]))
    return(substr(message, nchar(translated[1L]) + 1L, nchar(message) - nchar(translated[2L])))
  if (grepl(english, message)) sub(english, "\\1", message)
}

# A name as it is written in code.
as_code <- function(name) deparse(as.name(name), backtick = TRUE)

# Of an object of a package that is attached here, and not everywhere.
package_hint <- function(name, mode) {
  if (!exists(name, mode = mode)) return()
  where <- Filter(function(place) exists(name, envir = as.environment(place), mode = mode, inherits = FALSE), search())
  package <- sub("^package:", "", grep("^package:", where, value = TRUE))
  if (!length(package) || package[1L] %in% c("base", getOption("defaultPackages"))) return()
  sprintf("It is in package %1$s, which is not attached on the daemon: `%1$s::%2$s`, or `everywhere(library(%1$s))`.",
          package[1L], as_code(name))
}

print.miraiInterrupt <- function(x, ...) {
  cat("'miraiInterrupt' chr \"\"\n")
  invisible(x)
}

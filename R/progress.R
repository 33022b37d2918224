# Progress of a collection: `at(done)` shows how far it is, `end()` closes it.

no_progress <- list(active = FALSE, at = function(done) NULL, end = function() NULL)

# `setting`: FALSE, TRUE, the name of the bar, or a list of arguments to cli::cli_progress_bar().
progress <- function(setting, total) {
  if (isFALSE(setting)) return(no_progress)
  if (requireNamespace("cli", quietly = TRUE)) cli_progress(setting, total) else counter(total)
}

cli_progress <- function(setting, total) {
  arguments <- if (is.list(setting)) setting else if (is.character(setting)) list(name = setting) else list()
  # purrr adds on whose behalf it asks, for a bar of its own.
  arguments$caller <- NULL
  # The bar belongs to this environment, not to a frame, and lives until it is closed.
  owner <- new.env()
  arguments[c("total", "auto_terminate", ".auto_close", ".envir")] <- list(total, TRUE, FALSE, owner)
  id <- do.call(cli::cli_progress_bar, arguments)
  list(
    active = TRUE,
    at = function(done) cli::cli_progress_update(set = done, id = id, .envir = owner),
    end = function() cli::cli_progress_done(id = id, .envir = owner)
  )
}

# A counter on stderr: each number in turn, however many came at once.
counter <- function(total) {
  shown <- -1L
  show <- function(k) cat(sprintf(if (k < total) "\r[ %d / %d .... ]" else "\r[ %d / %d done ]\n", k, total), file = stderr())
  list(
    active = TRUE,
    at = function(done) {
      while (shown < done) {
        shown <<- shown + 1L
        show(shown)
      }
    },
    end = function() {
      if (shown < total) cat("\n", file = stderr())
      # Once.
      shown <<- total
    }
  )
}

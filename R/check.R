# Predicates on arguments. Each check that fails raises an error whose call is the user's.

is_string <- function(x) is.character(x) && length(x) == 1L && !is.na(x) && nzchar(x)

is_flag <- function(x) is.logical(x) && length(x) == 1L && !is.na(x)

# One number of at least 0, `Inf` included.
is_limit <- function(x) is.numeric(x) && length(x) == 1L && !is.na(x) && x >= 0

# A whole number from 0 to `most`.
is_count <- function(x, most = .Machine$integer.max) is_limit(x) && x <= most && x == trunc(x)

# A value as it stands in a message: `"two"`, `c(1, 2)`, cut where it is long.
shown <- function(x) {
  text <- deparse(x, nlines = 1L)[1L]
  if (nchar(text) > 40L) text <- paste0(substr(text, 1L, 37L), "...")
  text
}

# A whole number, as an integer. `otherwise` is what to say of what is no number at all.
check_count <- function(n, call, otherwise = NULL) {
  is_number <- is.numeric(n) && length(n) == 1L && !is.na(n)
  if (!is.null(otherwise) && !is.numeric(n) && !identical(n, NA)) abort(otherwise, call)
  if (is_number && n < 0) abort("the number of daemons must be zero or greater", call)
  if (!is_number || n != trunc(n)) abort(sprintf("`n` must be a whole number, not `%s`.", shown(n)), call)
  if (n > .Machine$integer.max) abort(sprintf("`n` must be at most %d, not `%s`.", .Machine$integer.max, shown(n)), call)
  as.integer(n)
}

# Of functions with an argument `url` beside `n`.
no_number <- "`n` must be numeric, did you mean to provide `url`?"

# An address: the first element of a character vector.
check_url <- function(url, call) {
  if (!is.character(url)) abort(sprintf("`url` must be of type character, not %s", typeof(url)), call)
  if (!length(url) || is.na(url[1L]))
    abort(sprintf("%s: `url` must be an address, not `%s`.", coded(3L), shown(url)), call)
  url[1L]
}

# Where a pool listens: the first address or, for daemons of both kinds, the first of the network and then the first of this
# machine.
check_pool_url <- function(url, call) {
  first <- check_url(url, call)
  is_local <- grepl("^(abstract|ipc)://", url)
  is_remote <- grepl("^(tls\\+)?tcp://|^wss?://", url)
  if (!any(is_local) || !any(is_remote)) return(first)
  if (!all(is_local | is_remote)) abort(sprintf("%s: `url` must be addresses, not `%s`.", coded(3L), shown(url)), call)
  c(url[is_remote][1L], url[is_local][1L])
}

# A limit of daemon(): a time, or a count.
check_limit <- function(x, name, call) {
  is_good <- if (name == "maxtasks") is_count(x, Inf) else is_limit(x)
  if (!is_good) abort(sprintf("`%s` must be a %s of at least 0, or `Inf`, not `%s`.", name,
                              if (name == "maxtasks") "whole number" else "number", shown(x)), call)
}

# Megabytes, as bytes; NULL for no limit.
check_memory <- function(memory, call) {
  if (is.null(memory)) return(NULL)
  if (!is_limit(memory))
    abort(sprintf("`memory` must be a number of megabytes, or `0`, `Inf` or `NULL` for no limit, not `%s`.", shown(memory)), call)
  # Below one byte there would never be room.
  if (memory > 0 && is.finite(memory)) max(memory * 1e6, 1)
}

# Milliseconds; NULL for no limit.
check_timeout <- function(timeout, call) {
  first <- if (is.numeric(timeout) && length(timeout)) timeout[1L] else NA
  if (is.na(first) || first < 0)
    abort(sprintf("`.timeout` must be a number of milliseconds of at least 0, or `Inf` or `NULL` for none, not `%s`.",
                  shown(timeout)), call)
  if (is.finite(first)) trunc(as.double(first))
}

# How often a task may begin again after its daemon has died.
check_retries <- function(retries, name, call) {
  if (!is_count(retries)) abort(sprintf("`%s` must be a whole number of at least 0, not `%s`.", name, shown(retries)), call)
  as.integer(retries)
}

check_port <- function(port, call = sys.call(-1L)) {
  if (!is_count(port, 65535)) abort(sprintf("`port` must be a whole number between 0 and 65535, not `%s`.", shown(port)), call)
}

check_flag <- function(x, name, call) {
  if (is.numeric(x) && length(x) == 1L && !is.na(x)) return(x != 0)
  if (!is_flag(x)) abort(sprintf("`%s` must be `TRUE` or `FALSE`, not `%s`.", name, shown(x)), call)
  x
}

# The path of a file, or two texts.
check_certificates <- function(x, name, call) {
  if (is.null(x)) return()
  if (!is.character(x) || !length(x) %in% 1:2 || anyNA(x) || !nzchar(x[1L])) {
    second <- if (name == "tls") "its private key" else "a revocation list, or `\"\"`"
    abort(sprintf(
      "`%s` must be the path of a PEM file, or two texts in the form of PEM, the certificate and %s.", name, second
    ), call)
  }
}

# Calls of the native library. Its entry points don't raise errors of their own: what went wrong comes back as a
# "mirai_failure" and becomes an R condition here, once no native frame is left on the stack. R's own errors and
# interrupts inside an entry go on as they are.

checked <- function(x, call = sys.call(-1L)) if (inherits(x, "mirai_failure")) raise_failure(x, call) else x

# An error with the number that users know it by, if there is one, as field `code`.
raise_failure <- function(failure, call) {
  error <- simpleError(printable(failure$message), without_secrets(call))
  error$code <- failure$code
  stop(error)
}

# An error in the user's terms: its call is the user's call.
abort <- function(message, call = sys.call(-1L)) stop(simpleError(printable(message), without_secrets(call)))

# The error for a missing argument, in R's words.
absent <- function(name, call = sys.call(-1L)) abort(sprintf("argument \"%s\" is missing, with no default", name), call)

warn <- function(message, call = sys.call(-1L)) warning(simpleWarning(printable(message), without_secrets(call)))

secret_arguments <- c("tlscert", "tls", "pass", "token", "cookie", "headers")

# A call for an error or a warning, which may end in a log: commands that launch a daemon have a private key and a token in
# their text, and a configuration may be made within the call that it is for.
without_secrets <- function(call) {
  if (!is.call(call)) return(call)
  for (name in intersect(secret_arguments, names(call)))
    if (is.character(call[[name]]) || is.call(call[[name]])) call[[name]] <- quote(...)
  texts <- vapply(as.list(call), is.character, NA)
  if (any(texts)) call[texts] <- lapply(as.list(call)[texts], hide_credentials)
  nested <- vapply(as.list(call), is.call, NA)
  if (any(nested)) call[nested] <- lapply(as.list(call)[nested], without_secrets)
  call
}

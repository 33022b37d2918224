# Serialization of reference objects that R cannot send: hooks by class, for the pools that have them.

serial_config <- function(class, sfunc, ufunc) make_serial(class, sfunc, ufunc, sys.call())

# Later ones are appended: the first one to match is used.
register_serial <- function(class, sfunc, ufunc) {
  config <- make_serial(class, sfunc, ufunc, sys.call())
  session$registered <- if (is.null(session$registered)) config else unname(Map(c, session$registered, config))
  note_change()
  invisible()
}

make_serial <- function(class, sfunc, ufunc, call) {
  if (missing(class)) absent("class", call)
  if (missing(sfunc)) absent("sfunc", call)
  if (missing(ufunc)) absent("ufunc", call)
  if (!is.character(class) || anyNA(class)) abort("`class` must be a character vector", call)
  sfunc <- function_list(sfunc, "sfunc", call)
  ufunc <- function_list(ufunc, "ufunc", call)
  if (length(class) != length(sfunc) || length(class) != length(ufunc))
    abort("`class`, `sfunc` and `ufunc` must all be the same length", call)
  list(class, sfunc, ufunc)
}

function_list <- function(x, name, call) {
  if (is.function(x)) return(list(x))
  if (!is.list(x) || !all(vapply(x, is.function, NA)))
    abort(sprintf("`%s` must be a function or list of functions", name), call)
  x
}

# The configuration of a pool, or NULL: what daemons() was given, else what has been registered.
pool_serial <- function(serial, dispatcher, call) {
  if (is.null(serial)) return(if (dispatcher) session$registered)
  if (!is.list(serial) || (length(serial) && !is_serial_config(serial)))
    abort("`serial` must be made by `serial_config()`, or be an empty list for none", call)
  if (!dispatcher) {
    warn("`serial` needs dispatcher, so it is ignored", call)
    return(NULL)
  }
  if (length(serial)) serial
}

is_serial_config <- function(x) {
  length(x) == 3L && is.character(x[[1L]]) && is.list(x[[2L]]) && is.list(x[[3L]]) &&
    all(lengths(x) == length(x[[1L]])) && all(vapply(c(x[[2L]], x[[3L]]), is.function, NA))
}

# ---- packing

packed_class <- "mirai_packed"

# An object with what R's serialization leaves to hooks taken out: R's bytes, and for each such reference its class (a
# position in the configuration) and the hook's bytes. An object without any stays as it is.
pack <- function(object, serial) {
  seen <- list()
  parts <- list()
  hook <- function(reference) {
    at <- inherits(reference, serial[[1L]], which = TRUE)
    if (!any(at)) return(NULL)
    # A reference that comes again is the same one after its journey.
    for (i in seq_along(seen)) if (identical(seen[[i]], reference)) return(as.character(i))
    class <- which(at > 0L)[1L]
    parts[[length(parts) + 1L]] <<- list(class, packed_reference(reference, class, serial))
    seen[[length(seen) + 1L]] <<- reference
    as.character(length(seen))
  }
  bytes <- serialize(object, NULL, xdr = FALSE, refhook = hook)
  if (length(parts)) structure(list(bytes, parts), class = packed_class) else object
}

packed_reference <- function(reference, class, serial) {
  name <- serial[[1L]][class]
  bytes <- tryCatch(
    serial[[2L]][[class]](reference),
    error = function(e) stop(simpleError(sprintf("Serialization function for `%s` failed: %s", name, conditionMessage(e))))
  )
  if (is.raw(bytes)) return(bytes)
  stop(simpleError(sprintf("Serialization function for `%s` did not return a raw vector", name)))
}

unpack <- function(object, serial) {
  if (!inherits(object, packed_class)) return(object)
  object <- unclass(object)
  parts <- object[[2L]]
  references <- vector("list", length(parts))
  hook <- function(key) {
    i <- as.integer(key)
    if (is.null(references[[i]])) references[i] <<- list(unpacked_reference(parts[[i]], serial))
    references[[i]]
  }
  unserialize(object[[1L]], refhook = hook)
}

unpacked_reference <- function(part, serial) {
  tryCatch(
    serial[[3L]][[part[[1L]]]](part[[2L]]),
    error = function(e) stop(simpleError(sprintf(
      "Unserialization function for `%s` failed: %s", serial[[1L]][part[[1L]]], conditionMessage(e)
    )))
  )
}

# A value at the host. What cannot be unpacked is an error value, which stays the same however often it is looked at.
unpack_value <- function(value, serial) {
  tryCatch(unpack(value, serial), error = function(e) plain_error(conditionMessage(e)))
}

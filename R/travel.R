# Objects whose contents are memory of the process that made them, such as tables of arrow. R sends what is around that; what
# arrives is empty. An error of a task that has been given one says so, in the terms of the user.

# What has to be done, by class; of others hooks for serialization are told of.
remedies <- c(
  SpatRaster = "send `terra::wrap(x)`, and use `terra::unwrap(x)` in the task",
  SpatVector = "send `terra::wrap(x)`, and use `terra::unwrap(x)` in the task",
  xml_document = "send `as.character(x)`, and use `xml2::read_xml(x)` in the task",
  xml_node = "send `as.character(x)`, and use `xml2::read_xml(x)` in the task",
  xml_nodeset = "send `as.character(x)`, and use `xml2::read_xml(x)` in the task",
  DBIConnection = "connect in the task, or once for all tasks by `everywhere()`"
)

# These make anew what they lack.
renewing <- "merMod"

# A sentence on the first empty object among what the task was given, or NULL.
emptiness <- function() {
  if (is.null(session$given)) return(NULL)
  # An object of somebody's class may fail at being looked at.
  tryCatch(told_emptiness(given_in(session$given)), error = function(e) NULL)
}

# All that came with a task, by name.
given_in <- function(frame) {
  shared <- frame$shared
  if (is.null(shared)) return(c(frame$object[[2L]], frame$object[[3L]]))
  element <- if (frame$flags == flag_map) frame$object else frame$object[[1L]]
  c(list(.x = element), shared[[3L]], shared[[4L]])
}

told_emptiness <- function(given) {
  # Lists of such objects, too.
  for (i in seq_along(given)) for (x in c(given[i], if (is.list(given[[i]]) && !is.object(given[[i]])) given[[i]]))
    if (is_empty(x)) return(sprintf(
      "%s is of class \"%s\" and came without its contents, which are memory of the process that made it: %s.",
      if (names(given)[i] == ".x") "The element" else sprintf("`%s`", names(given)[i]), class(x)[1L], remedy_for(x)
    ))
}

remedy_for <- function(x) {
  known <- names(remedies)[inherits(x, names(remedies), which = TRUE) > 0L]
  if (length(known)) return(remedies[[known[1L]]])
  hooks <- sprintf("`daemons(serial = serial_config(\"%s\", ...))`", class(x)[1L])
  paste0("give the pool hooks, ", hooks, "; see vignette(\"serialization\", \"mirai\")")
}

# Is this, or does it consist of, a pointer that points nowhere?
is_empty <- function(x) {
  if (!is.object(x) || inherits(x, renewing)) return(FALSE)
  if (is_null_pointer(x)) return(TRUE)
  parts <- if (isS4(x) && !is.environment(x)) attributes(x) else parts_of(x)
  any(vapply(parts, function(part) is_null_pointer(part) || any(vapply(parts_of(part), is_null_pointer, NA)), NA))
}

# Elements of a list, variables of an environment. What is computed when it is looked at is left alone.
parts_of <- function(x) {
  if (typeof(x) == "list") return(unclass(x))
  if (!is.environment(x)) return(NULL)
  # An object of S4 may hold one.
  x <- as.environment(x)
  names <- ls(x, all.names = TRUE, sorted = FALSE)
  mget(names[!vapply(names, bindingIsActive, NA, env = x)], envir = x)
}

# R code can tell by what is printed only, which differs by system.
is_null_pointer <- function(x) {
  typeof(x) == "externalptr" && any(grepl("<pointer: (\\(nil\\)|(0x)?0+)>", deparse(x)))
}

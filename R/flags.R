# Marks on functions and environments that R sets, and cannot show or take away: debugonce(), lockEnvironment(). Each is a
# bit, found by what R changes in an object made for that.

# What `mark` sets in an object that `make` has made; 0 if that is not plain to see. A garbage collection in between shows
# in other bits as well.
flag_set_by <- function(mark, make) {
  for (attempt in 1:5) {
    x <- make()
    before <- .Call(wrap__object_flags, x)
    mark(x)
    changed <- bitwXor(before, .Call(wrap__object_flags, x))
    if (changed != 0L && bitwAnd(changed, changed - 1L) == 0L) return(changed)
  }
  0L
}

has_flag <- function(x, flag) bitwAnd(.Call(wrap__object_flags, x), flag) != 0L

unlock_global_environment <- function() {
  flag <- flag_set_by(lockEnvironment, new.env)
  if (flag != 0L && has_flag(globalenv(), flag)) checked(.Call(wrap__clear_flag, globalenv(), flag))
}

# ---- debug() and debugonce() in synchronous profiles

# A copy by serialization, in which the functions are marked for debugging that are so in the original: in lists and
# environments, and around functions. What cannot be gone through, as it is nested too deeply, is a copy without marks.
copied_with_marks <- function(x) {
  copy <- copied(x)
  seen <- new.env(parent = emptyenv())
  on.exit(for (name in names(seen)) attr(seen[[name]], "mirai_seen") <- NULL)
  once <- flag_set_by(debugonce, function() function() NULL)
  tryCatch(copy_marks(x, copy, seen, once), error = function(e) NULL)
  copy
}

copy_marks <- function(from, to, seen, once) {
  switch(typeof(from),
    closure = {
      if (isdebugged(from)) debug(to)
      if (has_flag(from, once)) {
        debugonce(to)
        checked(.Call(wrap__clear_flag, from, once))
      }
      copy_marks(environment(from), environment(to), seen, once)
    },
    list = for (i in which(vapply(unclass(from), typeof, "") %in% marked_types))
      copy_marks(.subset2(from, i), .subset2(to, i), seen, once),
    environment = if (is_unseen(from, to, seen))
      for (name in ls(from, all.names = TRUE, sorted = FALSE)) if (holds_value(name, from))
        copy_marks(get(name, from, inherits = FALSE), get(name, to, inherits = FALSE), seen, once)
  )
}

marked_types <- c("closure", "list", "environment")

# The first time only. The copy of an environment, which nobody knows of yet, is itself the note that it has been seen.
is_unseen <- function(from, to, seen) {
  if (identical(from, to) || !is.null(attr(to, "mirai_seen", TRUE))) return(FALSE)
  attr(to, "mirai_seen") <- TRUE
  assign(as.character(length(seen)), to, envir = seen)
  TRUE
}

# Something to look at without evaluating anything: no promise, whose expression is what substitute() gives, no active
# binding, and no argument that is missing.
holds_value <- function(name, env) {
  !bindingIsActive(name, env) && typeof(eval(call("substitute", as.name(name), env))) %in% marked_types
}

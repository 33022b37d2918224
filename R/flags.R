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
  if (flag != 0L && has_flag(globalenv(), flag)) rust(.Call(wrap__clear_flag, globalenv(), flag))
}

# ---- debug() and debugonce() in synchronous profiles

# A copy by serialization, in which the functions are marked for debugging that are so in the original: in lists and
# environments, and around functions.
copied_with_marks <- function(x) {
  copy <- copied(x)
  seen <- new.env(parent = emptyenv())
  seen$environments <- list()
  seen$once <- flag_set_by(debugonce, function() function() NULL)
  copy_marks(x, copy, seen)
  copy
}

copy_marks <- function(from, to, seen) {
  switch(typeof(from),
    closure = {
      if (isdebugged(from)) debug(to)
      if (has_flag(from, seen$once)) {
        debugonce(to)
        rust(.Call(wrap__clear_flag, from, seen$once))
      }
      copy_marks(environment(from), environment(to), seen)
    },
    list = for (i in seq_along(from)) copy_marks(.subset2(from, i), .subset2(to, i), seen),
    environment = if (!identical(from, to) && !any(vapply(seen$environments, identical, NA, from))) {
      seen$environments <- c(seen$environments, list(from))
      for (name in names(from)) if (holds_value(name, from) && holds_value(name, to))
        copy_marks(get(name, from, inherits = FALSE), get(name, to, inherits = FALSE), seen)
    }
  )
}

# Something to look at without evaluating anything: no promise, whose expression is what substitute() gives, and no
# active binding.
holds_value <- function(name, env) {
  if (!exists(name, env, inherits = FALSE) || bindingIsActive(name, env)) return(FALSE)
  value <- eval(call("substitute", as.name(name), env))
  is.function(value) || is.environment(value) || typeof(value) == "list"
}

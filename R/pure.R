# Functions of maps that can do nothing but compute: their elements leave nothing to put back, so a daemon need not look for it.
#
# Such a function consists of calls of the functions below, by their names, on numbers, strings and the like that have no
# attributes. None of these functions runs code of others for such values, nor changes anything, nor reads what can run code. That
# nothing else has their names where R looks for them is another question: what others have done since may have changed it.

# Functions of base that are part of R itself. Not range(), which looks for a function `range.default`.
pure_functions <- mget(c(
  "{", "(", "if", "for", "while", "repeat", "break", "next", "return", "<-", "=", "&&", "||", "switch",
  "+", "-", "*", "/", "^", "%%", "%/%", "==", "!=", "<", "<=", ">", ">=", "!", "&", "|", ":", "[", "[[",
  "abs", "sign", "sqrt", "exp", "expm1", "log", "log2", "log10", "log1p", "floor", "ceiling", "trunc", "round", "signif",
  "cos", "sin", "tan", "acos", "asin", "atan", "cosh", "sinh", "tanh", "gamma", "lgamma", "digamma", "trigamma",
  "cumsum", "cumprod", "cummax", "cummin", "sum", "prod", "max", "min", "all", "any", "c", "list", "length",
  "seq_len", "seq_along", "rep", "is.na", "is.nan", "is.finite", "is.infinite", "is.null", "is.numeric", "is.character",
  "is.logical", "is.integer", "is.double", "as.integer", "as.double", "as.numeric", "as.character", "as.logical"
), baseenv())

# What all tasks of a map have in common, if its function is pure: a call of it, in which the element is yet to be put in the
# place of the first argument, and the names of functions and of variables that have to be base's. NULL otherwise.
pure_call <- function(shared) {
  call <- shared[[1L]]
  args <- shared[[3L]]
  if (length(shared[[4L]]) || length(call) < 2L || !identical(call[[2L]], quote(.x))) return(NULL)
  if (!is.list(args) || !all(vapply(args, is_plain_value, NA))) return(NULL)
  f <- shared[[2L]]
  with_names <- function(f, names) list(as.call(c(f, list(NULL), args)), names$functions, names$variables)
  if (is.primitive(f)) return(if (is_pure_function(f)) with_names(f, NULL))
  names <- names_in(f)
  # Made anew, as what a compiled function does need not be what it shows.
  if (!is.null(names)) with_names(eval(call("function", formals(f), body(f)), globalenv()), names)
}

is_pure_function <- function(f) typeof(f) == "builtin" && any(vapply(pure_functions, identical, NA, f))

is_plain_value <- function(x) {
  (is.null(x) || is.atomic(x)) && is.null(attributes(x)) && !isS4(x) && !.Call(wrap__is_altrep, x)
}

# The names of functions and variables in a function of the global environment; NULL if there is more in it.
names_in <- function(f) {
  if (!identical(environment(f), globalenv())) return(NULL)
  # To find out is to take less time than it saves.
  found <- list2env(list(functions = new.env(), variables = new.env(), left = 2000L), parent = emptyenv())
  parts <- c(list(body(f)), unname(as.list(formals(f))))
  if (!all(vapply(parts, is_pure_part, NA, found, 0L))) return(NULL)
  list(functions = names(found$functions), variables = setdiff(names(found$variables), names(formals(f))))
}

# Adds the names in a part of a function to those found, each once, as variables of environments. `depth` calls are around it.
is_pure_part <- function(x, found, depth) {
  found$left <- found$left - 1L
  if (found$left < 0L || depth > 100L) return(FALSE)
  if (is.symbol(x)) {
    name <- as.character(x)
    # An argument that is left out is the symbol without a name.
    if (nzchar(name)) found$variables[[name]] <- TRUE
    return(TRUE)
  }
  if (!is.call(x)) return(is_plain_value(x))
  # Methods of a class that somebody has given a call would tell of another one.
  if (is.object(x) || !is.symbol(x[[1L]])) return(FALSE)
  name <- as.character(x[[1L]])
  if (!name %in% names(pure_functions)) return(FALSE)
  if (name %in% c("<-", "=", "for") && !is.symbol(x[[2L]])) return(FALSE)
  found$functions[[name]] <- TRUE
  for (i in seq_along(x)[-1L]) if (!is_pure_part(.subset2(x, i), found, depth + 1L)) return(FALSE)
  TRUE
}

# Whether these names mean what they mean in base, where they are seen from the global environment: nothing else has them, whoever
# asks for them. A variable need not be there, as one that is the function's own; else it is a plain value. The garbage that is
# collected has a say by its finalizers: collections must not be the rule.
are_names_of_base <- function(functions, variables) {
  if (!is_calm()) return(FALSE)
  names <- c(functions, variables)
  env <- globalenv()
  while (!identical(env, baseenv())) {
    # An object of a class may be a database of somebody's, which runs code.
    if (identical(env, emptyenv()) || is.object(env)) return(FALSE)
    for (name in names) if (exists(name, envir = env, inherits = FALSE)) return(FALSE)
    env <- parent.env(env)
  }
  all(vapply(functions, is_function_of_base, NA)) && all(vapply(variables, is_value_of_base, NA))
}

is_function_of_base <- function(name) {
  !bindingIsActive(name, baseenv()) && identical(.subset2(baseenv(), name), pure_functions[[name]])
}

is_value_of_base <- function(name) {
  if (!exists(name, envir = baseenv(), inherits = FALSE)) return(TRUE)
  !bindingIsActive(name, baseenv()) && is_plain_value(.subset2(baseenv(), name))
}

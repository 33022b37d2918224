daemons(2)

test_that("a map is a list of mirai", {
  expect_invisible(mirai_map(1:2, identity))
  x <- mirai_map(c(a = 1, b = 2), identity)
  expect_s3_class(x, "mirai_map", exact = TRUE)
  expect_type(x, "list")
  expect_named(x, c("a", "b"))
  expect_true(is_mirai_map(x))
  expect_true(is_mirai(x[[1]]))
  call_mirai(x)
  expect_identical(printed(x), "< mirai map [2/2] >")
  expect_identical(printed(mirai_map(list(), identity)), "< mirai map [0/0] >")
  held <- hold()
  expect_identical(printed(structure(list(held$m, x[[1]]), class = "mirai_map")), "< mirai map [1/2] >")
  held$open()
  call_mirai(held$m)
})

test_that("wrong arguments are errors", {
  expect_refused(mirai_map(1, "a"), "`.f` must be of type function, not character", "mirai_map")
  expect_error(mirai_map(1), "argument \".f\" is missing, with no default", fixed = TRUE)
  dots <- "all `...` arguments must be named, unless supplying an environment"
  expect_refused(mirai_map(1, identity, 2), dots, "mirai_map")
  expect_refused(mirai_map(1, identity, .args = new.env()), "`.args` must be", "mirai_map")
  expect_refused(mirai_map(1, identity, .args = sum), "`.args` must be", "mirai_map")
  expect_refused(mirai_map(array(1, c(1, 1, 1)), identity), "2 dimensions", "mirai_map")
  expect_error(mirai_map(1, identity, .compute = "nowhere"), "No daemons set for the 'nowhere' compute profile")
  expect_refused(mirai_map(table(c("a", "b")), identity), "2 dimensions, if any, not 1", "mirai_map")
  for (bad in list(environment(), new.env())) expect_refused(mirai_map(1, identity, bad, a = 1), dots, "mirai_map")
})

test_that("without daemons the error is that of require_daemons(), for its call", {
  skip_if_not_installed("cli")
  skip_if_not_installed("rlang")
  e <- tryCatch(mirai_map(1, identity, .compute = "nowhere"), error = identity)
  expect_s3_class(e, "rlang_error")
  expect_identical(conditionCall(e)[[1L]], quote(mirai_map))
})

test_that("the element is the first argument, constants follow", {
  expect_identical(lengths(mirai_map(1:3, rnorm, .args = list(mean = 5))[]), 1:3)
  expect_identical(mirai_map(1:2, function(x, y, z) c(x, y, z), .args = list(10L, z = 20L))[], list(c(1L, 10L, 20L), c(2L, 10L, 20L)))
  expect_identical(mirai_map(1:2, function(x, y) x + y, .args = c(y = 1L))[.flat], 2:3)
})

test_that("elements and constants are values, never evaluated", {
  expect_identical(mirai_map(list(quote(a + b), quote(zz), expression(1)), function(x) x)[], list(quote(a + b), quote(zz), expression(1)))
  expect_identical(mirai_map(1, function(x, y) y, .args = list(y = quote(stop("evaluated"))))[[1]][], quote(stop("evaluated")))
  expect_identical(mirai_map(list(NULL, NA), is.null)[.flat], c(TRUE, FALSE))
  expect_identical(mirai_map(expression(a + b, c), class)[.flat], c("call", "name"))
})

test_that("constants may be NULL, have names that mirai uses itself, or be absent", {
  expect_identical(mirai_map(1, function(x, ...) list(...), .args = list(a = NULL, NULL))[[1]][], list(a = NULL, NULL))
  own <- mirai_map(1:2, function(.x, .args, .f) list(.x, .args, .f), .args = list(.args = 3, .f = "f"))[]
  expect_identical(own, list(list(1L, 3, "f"), list(2L, 3, "f")))
  expect_identical(mirai_map(1:2, function(x, ...) ...length(), .args = NULL)[.flat], c(0L, 0L))
})

test_that("... go to the global environment, host globals are not found", {
  expect_identical(mirai_map(1:2, eval(quote(function(x) helper(x)), globalenv()), helper = function(x) x * 2)[.flat], c(2, 4))
  f <- eval(quote(function(x) x + not_there), globalenv())
  expect_match(mirai_map(1, f)[[1]][], "object 'not_there' not found")
  make <- function(y) function(x) x + y
  expect_identical(mirai_map(1:2, make(10))[.flat], c(11, 12))
  e <- new.env()
  e$k <- 5
  expect_identical(mirai_map(1, eval(quote(function(x) x + k), globalenv()), e)[.flat], 6)
})

test_that("vectors are mapped over as lapply() does, names kept", {
  expect_null(names(mirai_map(letters[1:2], identity)[]))
  expect_identical(mirai_map(c(a = 1L, b = 2L), identity)[], list(a = 1L, b = 2L))
  d <- as.Date("2026-01-01") + 0:1
  expect_identical(mirai_map(d, identity)[], list(d[1], d[2]))
  f <- factor(c("u", "v"))
  expect_identical(mirai_map(f, identity)[], lapply(f, identity))
  p <- as.POSIXct("2026-01-01", tz = "UTC") + 0:1
  expect_identical(mirai_map(p, identity)[], lapply(p, identity))
  env <- list2env(list(u = 1, v = 2))
  expect_identical(mirai_map(env, identity)[], lapply(env, identity))
  d <- as.difftime(1:2, units = "mins")
  expect_identical(mirai_map(d, identity)[], lapply(d, identity))
  lt <- as.POSIXlt(p)
  expect_identical(mirai_map(lt, identity)[], lapply(lt, identity))
  expect_identical(mirai_map(pairlist(a = 1, b = NULL), is.null)[], list(a = FALSE, b = TRUE))
  expect_identical(mirai_map(list(a = 1, NULL, c = NULL), is.null)[], list(a = FALSE, TRUE, c = TRUE))
  expect_identical(mirai_map(NULL, identity)[], list())
  expect_identical(mirai_map(character(), identity)[], list())
})

test_that("data frames are mapped over by rows", {
  df <- data.frame(a = 1:2, b = c("x", "y"))
  expect_identical(mirai_map(df, function(a, b) list(a, b))[], list(list(1L, "x"), list(2L, "y")))
  expect_identical(mirai_map(df, function(b, a) paste(b, a))[.flat], c("x 1", "y 2"))
  df$d <- as.Date("2026-01-01") + 0:1
  expect_identical(mirai_map(df, function(a, b, d) class(d))[.flat], c("Date", "Date"))
  df$l <- list(1:3, "z")
  expect_identical(mirai_map(df, function(a, b, d, l) l)[], list(1:3, "z"))
  expect_identical(mirai_map(df[0, ], function(...) 1)[], list())
  expect_named(mirai_map(mtcars[1:2, ], function(...) 1)[], rownames(mtcars)[1:2])
  expect_identical(mirai_map(data.frame(a = 1:2), function(a, k) a + k, .args = list(k = 1L))[.flat], 2:3)
  expect_length(mirai_map(mtcars[0, ], function(...) 1)[], 0L)
  expect_identical(mirai_map(data.frame(), function(...) 1)[], list())
  # Columns without names of one's own go by the names that data.frame() makes.
  expect_match(mirai_map(data.frame(1:2, 3:4), function(a, b) a + b)[[2]][], "unused arguments")
  expect_identical(mirai_map(data.frame(1:2, 3:4), function(X1.2, X3.4) X1.2 + X3.4)[.flat], c(4L, 6L))
  expect_identical(mirai_map(as.list(df[c("a", "b")]), rev)[], list(a = 2:1, b = c("y", "x")))
})

test_that("a data frame made by hand, as purrr makes them, works", {
  unnamed <- structure(list(1:2, c("x", "y")), class = "data.frame", row.names = 1:2)
  expect_identical(mirai_map(unnamed, function(p, q) list(p, q))[], list(list(1L, "x"), list(2L, "y")))
  strange <- structure(list(a = 1:3), class = "data.frame", row.names = c("u", "", "u"))
  x <- mirai_map(strange, function(a) a)[]
  expect_identical(names(x), c("u", "", "u"))
  expect_identical(unname(x), list(1L, 2L, 3L))
})

test_that("matrices are mapped over by rows", {
  m <- matrix(1:4, 2, dimnames = list(c("r1", "r2"), c("a", "b")))
  expect_identical(mirai_map(m, function(b, a) a - b)[.flat], c(r1 = -2L, r2 = -2L))
  expect_identical(mirai_map(unname(m), function(x, y) x * 10L + y)[.flat], c(13L, 24L))
  expect_identical(mirai_map(m[, "a", drop = FALSE], function(a) a)[.flat], c(r1 = 1L, r2 = 2L))
  named <- function(rows, columns) matrix(1:4, 2, dimnames = list(rows, columns))
  expect_identical(mirai_map(named(c("r", ""), NULL), function(x, y) x + y)[], list(r = 4L, 6L))
  expect_identical(mirai_map(named(NULL, c("x", "y")), function(y, x) y - x)[], list(2L, 2L))
  expect_identical(mirai_map(m["r2", , drop = FALSE], function(a, b) c(a, b))[], list(r2 = c(2L, 4L)))
  expect_identical(mirai_map(matrix(1:3, 3), identity)[], list(1L, 2L, 3L))
  expect_identical(mirai_map(m, function(a, b, k) a + b + k, .args = list(k = 10L))[.flat], c(r1 = 14L, r2 = 16L))
  expect_length(mirai_map(m[0, ], function(...) 1)[], 0L)
  expect_identical(mirai_map(unname(m)[, 0], function(...) ...length())[], list(0L, 0L))
  lm <- matrix(list(1, "a", 2, "b"), 2)
  expect_identical(mirai_map(lm, function(x, y) list(x, y))[], list(list(1, 2), list("a", "b")))
})

test_that("errors name the function as .f()", {
  e <- mirai_map(1, function(x) stop("mm"))[[1]][]
  expect_identical(as.vector(e), "Error in .f(): mm")
  expect_identical(e$call, quote(.f()))
  expect_identical(e$stack.trace, list(quote(stop("mm")), quote(.f())))
})

test_that("local daemons cannot be made from within, at any depth", {
  deny <- "cannot create local daemons from within mirai map"
  expect_match(mirai_map(1, function(x) mirai::daemons(1))[[1]][], deny)
  expect_match(mirai_map(1, function(x) (function() sapply(1, function(i) mirai::daemons(1)))())[[1]][], deny)
  expect_identical(mirai_map(1, function(x) mirai::daemons(0))[], list(FALSE))
  expect_identical(mirai_map(1, function(x) {
    mirai::daemons(url = mirai::local_url())
    on.exit(mirai::daemons(0))
    mirai::launch_local(1)
    mirai::mirai(42)[]
  })[], list(42))
  expect_identical(mirai_map(1, function(x) {
    mirai::daemons(sync = TRUE)
    on.exit(mirai::daemons(0))
    mirai::mirai(43)[]
  })[], list(43))
  expect_identical(mirai({
    mirai::daemons(1)
    on.exit(mirai::daemons(0))
    mirai::mirai(44)[]
  })[], 44)
})

test_that("a function with class and attributes arrives as it is", {
  f <- structure(function(x) x, class = c("crate", "function"), tag = "t")
  expect_identical(mirai_map(1, function(x, f) attributes(f)[c("class", "tag")], .args = list(f = f))[[1]][], attributes(f)[c("class", "tag")])
  expect_identical(mirai_map(1:2, f)[.flat], 1:2)
})

test_that("of constants, those with references are each task's own, whatever is beside them", {
  state <- new.env()
  state$count <- 0
  large <- seq_len(5000) + 0
  counted <- local({
    calls <- 0
    function(x, state, large, table, name) {
      calls <<- calls + 1
      state$count <- state$count + 1
      large[1L] <- large[1L] + x
      table$a[1L] <- 100
      list(calls, state$count, large[1L], length(large), attr(table, "state")$count, name)
    }
  })
  table <- structure(data.frame(a = 1:2), state = state)
  found <- mirai_map(1:4, counted, .args = list(state = state, large = large, table = table, name = "k"))[]
  for (x in 1:4) expect_identical(found[[x]], list(1, 1, 1 + x, 5000L, 1, "k"))
  # Global variables likewise.
  found <- mirai_map(1:3, function(x) c(large_one[1L], { own$count <- own$count + 1; own$count }), large_one = large, own = state)[]
  expect_identical(found, rep(list(c(1, 1)), 3L))
})

test_that("what a package changes where it lies is not for the next task to see", {
  skip_if_not_installed("data.table")
  plain <- data.frame(a = seq_len(2000) + 0)
  change <- function(x, plain, values) {
    before <- c(plain$a[1L], values[1L], is.null(attr(values, "mark")))
    data.table::set(plain, 1L, "a", -1)
    data.table::setattr(values, "mark", TRUE)
    before
  }
  expect_identical(mirai_map(1:20, change, .args = list(plain = plain, values = plain$a))[], rep(list(c(1, 1, 1)), 20L))
})

test_that("tasks of a map don't share state through their constants", {
  env <- new.env()
  env$n <- 0
  x <- mirai_map(1:4, function(x, env) {
    env$n <- env$n + 1
    env$n
  }, .args = list(env = env))
  expect_identical(x[.flat], c(1, 1, 1, 1))
})

test_that("stop_mirai() cancels a whole map", {
  x <- mirai_map(1:5, function(x) Sys.sleep(60))
  expect_identical(stop_mirai(x), rep(TRUE, 5))
  for (v in x[]) expect_code(v, 20L)
})

test_that("a submission that fails on the way leaves no task behind", {
  config <- serial_config("handle", function(x) stop("no luck"), identity)
  local_pool(1, serial = config, .compute = "hooks")
  held <- hold("hooks")
  held$started()
  x <- list(1, 2, structure(new.env(), class = "handle"))
  expect_error(mirai_map(x, identity, .compute = "hooks"), "no luck")
  expect_identical(info("hooks")[["awaiting"]], 0L)
  held$open()
  expect_identical(value(mirai("usable", .compute = "hooks")), "usable")
})

test_that("mirai of a map go each their own way", {
  held <- list(hold(), hold())
  for (h in held) h$started()
  x <- mirai_map(c(a = 1, b = 2, c = 3), function(x) x * 10)
  y <- mirai_map(4:5, identity)
  # One alone does not take the others along.
  expect_identical(length(serialize(x[[1]], NULL)), length(serialize(y[[1]], NULL)))
  expect_identical(unname(c(stop_mirai(x[2]), stop_mirai(x$b), stop_mirai(list(1, x$b)))), c(TRUE, FALSE, FALSE, FALSE))
  expect_identical(race_mirai(x), 2L)
  expect_identical(c(unresolved(x), unresolved(x$b), unresolved(x$c)), c(TRUE, FALSE, TRUE))
  expect_identical(printed(x), "< mirai map [1/3, 1 failed: 2] >")
  expect_identical(sort(vapply(c(x, y), attr, 0L, "id")), vapply(c(x, y), attr, 0L, "id"))
  for (h in held) h$open()
  expect_identical(list(value(x$c), x$c$data, y[[2]][]), list(30, 30, 5L))
  one <- x[[1]]
  values <- x[]
  rm(x)
  gc()
  expect_identical(list(one$data, values$a, values$c), list(10, 10, 30))
  expect_code(values$b, 20L)
  expect_identical(y[], list(4L, 5L))
})

test_that("maps may be made within maps", {
  inner <- function(x) {
    mirai::daemons(sync = TRUE)
    on.exit(mirai::daemons(0))
    mirai::mirai_map(1:2, function(y) 10 * y)[mirai::.flat] + x
  }
  expect_identical(mirai_map(1:2, inner)[], list(c(11, 21), c(12, 22)))
  expect_identical(mirai({
    mirai::daemons(1)
    on.exit(mirai::daemons(0))
    mirai::mirai_map(c(a = 1, b = 2), function(y) 10 * y)[]
  })[], list(a = 10, b = 20))
})

test_that("a large map comes back whole and in order", {
  expect_identical(mirai_map(1:5000, function(x) x)[.flat], 1:5000)
})

test_that("data frames that are more than that work too", {
  skip_if_not_installed("tibble")
  tb <- tibble::tibble(a = 1:2, b = list(1, "x"))
  expect_identical(mirai_map(tb, function(a, b) list(a, b))[], list(list(1L, 1), list(2L, "x")))
})

test_that("purrr's use of a map works", {
  x <- mirai_map(list(a = 1, b = "x"), function(x) x + 1)
  e <- tryCatch(collect_mirai(x, options = c(".stop", ".progress")), error = identity)
  expect_identical(e$location, 2L)
  expect_identical(e$name, "b")
  expect_s3_class(e$parent, c("error", "condition"))
  expect_identical(conditionMessage(e$parent), "non-numeric argument to binary operator")
})

daemons(0)

test_that("a cell of a data frame is what as.list() of its column gives, or the row of one with dimensions", {
  local_pool(1)
  d <- data.frame(i = 1:2)
  d$m <- matrix(1:4, 2)
  d$d <- data.frame(u = c("a", "b"), v = 3:4)
  d$t <- as.difftime(c(1, 90), units = "mins")
  d$s <- structure(c(7, 8), class = "of_my_own")
  d$l <- list("x", 1:3)
  d$p <- as.POSIXlt(c("2026-01-02", "2026-03-04"), tz = "UTC")
  d$f <- factor(c("no", "yes"))
  row <- mirai_map(d, function(i, ...) list(...))[[2L]][]
  expect_identical(row$m, c(2L, 4L))
  expect_identical(row$d, d$d[2L, , drop = FALSE])
  expect_identical(row$t, as.difftime(90, units = "mins"))
  expect_identical(row$s, structure(8, class = "of_my_own"))
  expect_identical(row$l, 1:3)
  expect_identical(as.POSIXct(row$p), as.POSIXct(d$p[2L]))
  expect_identical(row$f, d$f[2L])
})

test_that("a global that looks like an argument of the function, or like an option, is warned about, once", {
  local_pool(1)
  warnings <- character()
  note <- function(expr) withCallingHandlers(expr, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    expect_identical(conditionCall(w)[[1L]], quote(mirai_map))
    invokeRestart("muffleWarning")
  })
  note(mirai_map(1:3, rnorm, mean = 1000)[])
  expect_match(warnings, "`mean` in `...` is a global variable of the daemons, not of `.f`", fixed = TRUE)
  expect_match(warnings, ".args = list(mean = ...)", fixed = TRUE)
  warnings <- character()
  note(mirai_map(1:3, sum, .progress = TRUE)[])
  expect_match(warnings, "mirai_map(...)[.progress]", fixed = TRUE)
  expect_silent(mirai_map(1:3, function(x) x + offset, offset = 1)[])
  expect_silent(mirai_map(1:3, function(x, k) x + k, k = 1, .args = list(k = 2))[])
})

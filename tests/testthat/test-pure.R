# Functions of maps that can do nothing but compute, after which daemons do not look for what is to be put back: what is recognised
# as such a function, and that nobody can tell.

part <- function(f, args = list()) list(mirai:::map_call(NULL, NULL, args), f, args, NULL)
at_global <- function(f) `environment<-`(f, globalenv())
is_pure <- function(f, args = list()) !is.null(mirai:::pure_call(part(at_global(f), args)))

# A function of a test has its frame as its environment.
map <- function(x, f, ...) mirai_map(x, if (is.primitive(f)) f else at_global(f), ...)

# So many that most of them are evaluated when the function has been looked at.
many <- 60L

# What elements before have left, as those see that come later.
state <- function() list(getOption("digits"), setdiff(ls(globalenv(), all.names = TRUE), ".Random.seed"))

test_that("functions of arithmetic and the like on plain values are pure", {
  expect_true(is_pure(function(x) x * x))
  expect_true(is_pure(function(x, k) { y <- x + k; for (i in 1:3) y <- y / i; if (y > 1) return(y); sqrt(abs(-y)) }, list(k = 2)))
  expect_true(is_pure(function(x, k = x * pi, ...) list(x, k, letters[2L])))
  expect_true(is_pure(compiler::cmpfun(function(x) x + 1)))
  expect_false(is.null(mirai:::pure_call(part(sqrt))))
})

test_that("what may do anything else is not", {
  functions <- list(
    function(x) y <<- x, function(x) assign("y", x, globalenv()), function(x) options(digits = x), function(x) eval(x),
    function(x) quote(y), function(x) function() x, function(x) (function(y) y)(x), function(x) on.exit(x), function(x) sys.function(),
    function(x) environment(), function(x) parent.frame(), function(x) get("y"), function(x) x$y, function(x) x@y, function(x) base::sqrt(x),
    function(x) UseMethod("f"), function(x) standardGeneric("f"), function(x) .Internal(setwd("/")), function(x) .Call("f"),
    function(x) Recall(x), function(x) do.call("f", list(x)), function(x) lapply(x, f), function(x) substitute(x), function(x) missing(x),
    function(x) `attr<-`(x, "class", "y"), function(x) structure(x, class = "y"), function(x) { x[1] <- 2; x }, function(x) { names(x) <- "a"; x },
    function(x) runif(1), function(x) set.seed(1), function(x) x |> f(), function(x) print(x), function(x) y(x), function(x) x %y% 2,
    function(x, y = options(digits = 3)) x, function(x) Sys.time(), function(x) unlist(x), function(x) range(x), function(x) switch(x, setwd("/")), function(x) ~ x
  )
  for (f in functions) expect_false(is_pure(f), info = paste(deparse(f), collapse = " "))
  expect_null(mirai:::pure_call(part(local(function(x) x))))
  expect_null(mirai:::pure_call(part(stats::dnorm)))
  expect_null(mirai:::pure_call(part(quote)))
  expect_null(mirai:::pure_call(part(globalenv)))
})

test_that("nor are functions with values or calls in them that have classes or may compute", {
  with_body <- function(body) eval(call("function", as.pairlist(alist(x = )), body), globalenv())
  expect_true(is_pure(with_body(call("+", quote(x), 2))))
  expect_false(is_pure(with_body(call("+", quote(x), factor("a")))))
  expect_false(is_pure(with_body(call("+", quote(x), asS4(1)))))
  expect_false(is_pure(with_body(call("+", quote(x), structure(1, names = "a")))))
  expect_false(is_pure(with_body(call("+", quote(x), list(1)))))
  expect_false(is_pure(with_body(call("+", quote(x), globalenv()))))
  expect_false(is_pure(with_body(call("+", quote(x), 1:1000))))
  expect_false(is_pure(with_body(structure(call("+", quote(x), 2), class = "formula"))))
  expect_false(is_pure(with_body(as.call(list(sqrt, quote(x))))))
  expect_false(is_pure(with_body(as.call(list("sqrt", quote(x))))))
  expect_false(is_pure(function(x, k) x + k, list(k = factor("a"))))
  expect_false(is_pure(function(x, k) x + k, list(k = sqrt)))
  expect_false(is_pure(function(x, k) x + k, list(k = quote(a + b))))
  expect_false(is_pure(function(x, k) x + k, list(k = 1:1000)))
  expect_true(is_pure(function(x, k) x + k, list(k = c(1, 2))))
})

test_that("functions are looked at up to a size, be they deep or wide", {
  with_body <- function(body) eval(call("function", as.pairlist(alist(x = )), body), globalenv())
  wide <- function(n) with_body(as.call(c(quote(c), rep(list(quote(x)), n))))
  deep <- function(n) with_body(Reduce(function(sum, i) call("+", sum, i), seq_len(n), quote(x)))
  expect_true(is_pure(wide(1500L)))
  expect_true(is_pure(deep(100L)))
  expect_false(is_pure(wide(3000L)))
  expect_false(is_pure(deep(101L)))
})

test_that("the values are those of other functions", {
  local_pool(1)
  expect_identical(map(1:many, function(x) x * 2L)[.flat], 2L * (1:many))
  expect_identical(map(1:many, compiler::cmpfun(function(x) x * 2L))[.flat], 2L * (1:many))
  expect_identical(map(1:many / 2, sqrt)[.flat], sqrt(1:many / 2))
  expect_identical(map(1:many, function(x, k, ...) c(x, k, ...), .args = list(k = "a", 3))[[many]][], c(many, "a", "3"))
  expect_identical(map(1:many, function(x) list(x, NULL, rep("b", 2000L)))[[many]][], list(many, NULL, rep("b", 2000L)))
  x <- c(list(NULL, "\u00e4", NA, 1:3, list(1), as.Date("2026-01-01"), quote(a)), as.list(1:many))
  expect_identical(map(x, function(x) c(x, x))[], lapply(x, function(x) c(x, x)))
  # Methods of the elements' classes.
  dates <- rep(list(as.Date("2026-01-01"), 5), many)
  expect_identical(map(dates, function(x) x + 1)[], lapply(dates, function(x) x + 1))
})

test_that("errors and warnings are told as they are elsewhere, and leave nothing", {
  # Errors of a function of the same name that is not pure, to compare with.
  f <- function(x) if (x > 40) x + "a" else x
  g <- function(x) { force(x); if (x > 40) x + "a" else x }
  local_pool(1)
  told <- function(f) lapply(map(1:many, f)[], function(x) if (is_mirai_error(x)) {
    list(as.character(x), conditionMessage(x), conditionCall(x), class(x), length(x$stack.trace))
  } else x)
  expect_identical(told(f), told(g))
  expect_true(is.list(told(f)[[41L]]))
  gone <- map(1:many, function(x) if (x > 40) nobody_has_this else x)[]
  expect_match(conditionMessage(gone[[50L]]), "'nobody_has_this' not found", fixed = TRUE)
  numbers <- c(as.character(1:40), rep(c("1", "a"), many))
  expect_identical(map(numbers, function(x) as.integer(x))[.flat], suppressWarnings(as.integer(numbers)))
  everywhere(options(warn = 2))
  expect_identical(which(vapply(map(numbers, function(x) as.integer(x))[], is_mirai_error, NA)), which(numbers == "a"))
  expect_identical(mirai(state(), state = state)[], list(7L, "state"))
})

test_that("warnings are printed once", {
  log <- run_r('
    library(mirai)
    daemons(1, output = TRUE)
    x <- mirai_map(c(as.character(1:40), "a", "b"), function(x) as.integer(x))[.flat]
    stopifnot(identical(x, c(1:40, NA, NA)))
    daemons(0)
  ')
  expect_length(grep("NAs introduced by coercion", log), 2L)
})

test_that("names that mean something else do, whatever has them", {
  spoilers <- list(
    quote(assign("sqrt", function(x) { options(digits = 3); -x }, envir = globalenv())),
    quote(makeActiveBinding("sqrt", function() { options(digits = 3); function(x) -x }, globalenv())),
    quote(delayedAssign("sqrt", function(x) -x, assign.env = globalenv())),
    quote(attach(list(sqrt = function(x) { options(digits = 3); -x }), name = "attached")),
    quote({
      get("unlockBinding", baseenv())("sqrt", baseenv())
      assign("sqrt", function(x) { options(digits = 3); -x }, envir = baseenv())
    })
  )
  for (spoil in spoilers) {
    local({
      local_pool(1)
      f <- function(x) if (x > 0) sqrt(x) else T
      expect_identical(map(1:many, f)[.flat], sqrt(1:many))
      everywhere(eval(spoil), spoil = spoil)
      x <- map(1:many, f)[]
      expect_identical(unlist(x), -(1:many), info = deparse(spoil)[1L])
      expect_identical(mirai(getOption("digits"))[], 7L, info = deparse(spoil)[1L])
    })
  }
})

test_that("variables of others that run code do so for each element, and it is put back", {
  local_pool(1)
  everywhere(makeActiveBinding("live", function() { options(digits = 3); 1 }, globalenv()))
  see <- quote(getOption("digits"))
  for (f in list(function(x) x + live, function(x) { if (x > 100) live <- 1; x + live })) {
    expect_identical(map(1:many, f)[.flat], 1:many + 1)
    expect_identical(mirai(see)[], 7L)
  }
})

test_that("what a task does to an attached environment counts for the elements after it", {
  local_pool(1)
  everywhere(attach(new.env(), name = "attached"))
  f <- function(x) sqrt(x)
  expect_identical(map(1:many, f)[.flat], sqrt(1:many))
  x <- map(1:many, f)
  mirai(assign("sqrt", function(x) -1, envir = as.environment("attached")))
  y <- map(1:many, f)
  expect_identical(x[.flat], sqrt(1:many))
  expect_identical(y[.flat], rep(-1, many))
})

test_that("elements that change something among others are cleaned up after", {
  local_pool(1)
  pure <- map(1:many, function(x) x + 1)
  other <- map(1:many, function(x) { before <- getOption("digits"); options(digits = 3); left <<- x; before })
  more <- map(1:many, function(x) x - 1)
  expect_identical(pure[.flat], 1:many + 1)
  expect_identical(other[.flat], rep(7L, many))
  expect_identical(more[.flat], 1:many - 1)
  expect_identical(mirai(exists("left"))[], FALSE)
})

test_that("what finalizers do meanwhile is put back", {
  local_pool(1)
  for (i in 1:3) {
    everywhere(local({
      e <- new.env()
      reg.finalizer(e, function(e) options(digits = 3))
    }))
    x <- map(1:300, function(x) sum(rep(x, 1e5)))[.flat]
    expect_equal(x, 1:300 * 1e5)
    expect_identical(mirai(getOption("digits"))[], 7L)
  }
})

test_that("such an element can be cancelled, and times out", {
  local_pool(1)
  f <- function(x) while (x > 60) x
  x <- map(c(1:many, many + 1L), f)
  await(!unresolved(x[[many]]))
  stop_mirai(x)
  expect_code(value(x[[many + 1L]]), 20L)
  expect_identical(map(1:many, function(x) x)[.flat], 1:many)
  x <- map(c(1:many, many + 1L, 1L), f, .timeout = 300)
  expect_code(value(x[[many + 1L]]), 5L)
  expect_identical(mirai(1)[], 1)
})

test_that("streams of random numbers go on as they do without", {
  draw <- function(f) {
    local_pool(1, seed = 1)
    list(map(1:many, f)[.flat], map(1:3, function(x) runif(1))[.flat], mirai(runif(1))[])
  }
  expect_identical(draw(function(x) x * 2), draw(function(x) { Sys.getpid(); x * 2 }))
})

test_that("with cleanup = FALSE what others have left is there", {
  local_pool(1, cleanup = FALSE)
  f <- function(x) sqrt(x)
  expect_identical(map(1:many, f)[.flat], sqrt(1:many))
  mirai(assign("sqrt", function(x) -x, envir = globalenv()))[]
  expect_identical(map(1:many, f)[.flat], -(1:many))
})

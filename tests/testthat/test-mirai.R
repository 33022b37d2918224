daemons(1)

test_that("a mirai is an environment with an id", {
  m <- mirai(1 + 1)
  expect_s3_class(m, c("mirai", "recvAio"), exact = TRUE)
  expect_identical(typeof(m), "environment")
  expect_type(attr(m, "id"), "integer")
  expect_identical(m[], 2)
  expect_gt(attr(mirai(2), "id"), attr(m, "id"))
})

test_that("ids grow over all profiles, without daemons and in this process too", {
  local_pool(1, .compute = "other")
  local_pool(sync = TRUE, .compute = "here")
  local_pool(1, dispatcher = FALSE, .compute = "direct")
  profiles <- c("default", "other", "here", "direct", "unset", "default")
  ids <- vapply(profiles, function(name) suppressWarnings(attr(mirai(1, .compute = name), "id")), 0L)
  expect_true(all(diff(ids) > 0L))
})

test_that("mirai() and try_mirai() return invisibly", {
  expect_invisible(mirai(1))
  expect_invisible(try_mirai(1))
  expect_identical(try_mirai(6 * 7)[], 42)
})

test_that("the value is read in all documented ways", {
  m <- mirai(list(a = 1))
  value <- list(a = 1)
  expect_identical(m[], value)
  expect_identical(m[1], value)
  expect_identical(m["x"], value)
  expect_identical(m[2, "x"], value)
  expect_identical(m$data, value)
  expect_identical(m$value, value)
  expect_identical(m[["data"]], value)
  expect_identical(.subset2(m, "data"), value)
  expect_identical(collect_mirai(m), value)
  expect_null(m$other)
})

test_that("m$value is there once the value has been looked at", {
  m <- mirai(5)
  expect_null(m$value)
  call_mirai(m)
  expect_visible(m$data)
  expect_identical(m$value, 5)
})

test_that("a value may be NULL", {
  m <- mirai(NULL)
  expect_null(m[])
  expect_null(m$data)
  expect_false(unresolved(m))
})

test_that("a pending mirai shows the unresolved value, by every way to read it", {
  held <- hold()
  held$started()
  m <- mirai(5)
  for (data in list(m$data, m[["data"]], .subset2(m, "data"))) {
    expect_s3_class(data, "unresolvedValue", exact = TRUE)
    expect_type(data, "logical")
    expect_true(is.na(data))
    expect_true(unresolved(data))
  }
  expect_null(m$value)
  expect_identical(printed(m), "< mirai [] >")
  expect_identical(printed(m$data), "'unresolved' logi NA")
  expect_true(unresolved(m))
  held$open()
  expect_identical(m[], 5)
  expect_identical(printed(m), "< mirai [$data] >")
})

test_that("a mirai is not changed by assignment but takes attributes", {
  m <- mirai(1)
  m$data <- 5
  m$other <- 6
  m[["data"]] <- 7
  expect_identical(m[], 1)
  expect_null(m$other)
  expect_silent(m$data <- 8)
  expect_s3_class(m, c("mirai", "recvAio"), exact = TRUE)
  attr(m, "tag") <- "x"
  expect_identical(attr(m, "tag"), "x")
  expect_identical(m[], 1)
})

test_that("completion offers data", {
  expect_identical(utils::.DollarNames(mirai(1), ""), "data")
  expect_identical(utils::.DollarNames(mirai(1), "^z"), character())
})

test_that("language objects in variables are evaluated, other things as written", {
  ex <- quote(a + b)
  expect_identical(mirai(ex, a = 1, b = 2)[], 3)
  expect_identical(mirai(.expr = ex, a = 1, b = 2)[], 3)
  expect_identical(try_mirai(ex, a = 1, b = 2)[], 3)
  sy <- quote(zz)
  expect_identical(mirai(sy, zz = 9)[], 9)
  ex2 <- expression(1 + 1, 3 * 4)
  expect_identical(mirai(ex2)[], 12)
  fo <- y ~ x
  expect_s3_class(mirai(fo)[], "formula")
  x <- 5
  expect_match(mirai(x)[], "object 'x' not found", fixed = TRUE)
  expect_identical(mirai(quote(1 + 1))[], quote(1 + 1))
  l <- list(e = quote(1 + 1))
  expect_s3_class(mirai(l$e)[], "miraiError")
  expect_identical(mirai(l$e, l = l)[], quote(1 + 1))
  expect_identical(mirai(sum)[], sum)
})

test_that("a symbol is looked up through enclosing environments", {
  ex <- quote(2 * 21)
  f <- function() mirai(ex)
  expect_identical(f()[], 42)
})

test_that("a symbol that stands for a failing promise fails here, and says so", {
  f <- function(expr) mirai(expr)
  e <- tryCatch(f(nowhere_to_be_found + 1), error = identity)
  expect_match(conditionMessage(e), "object 'nowhere_to_be_found' not found", fixed = TRUE)
  expect_match(conditionMessage(e), "evaluated locally", fixed = TRUE)
  expect_identical(conditionCall(e), quote(mirai(expr)))
  f <- function(expr) try_mirai(expr)
  expect_refused(f(nowhere_to_be_found + 1), "evaluated locally", "try_mirai")
  f <- function(expr) everywhere(expr)
  expect_refused(f(nowhere_to_be_found + 1), "evaluated locally", "everywhere")
})

test_that("the calls of packages that build on mirai work", {
  expr <- quote(x + y)
  envir <- list2env(list(x = 1, y = 2))
  # plumber2
  expect_identical(mirai(.expr = expr, envir)[], 3)
  expect_identical(mirai(.expr = expr, envir, .timeout = 60000, .compute = "default")[], 3)
  # crew
  for (timeout in list(NULL, 60000))
    expect_identical(mirai(.expr = expr, .args = list(x = 3, y = 4), .timeout = timeout, .compute = "default")[], 7)
})

test_that(".args are local, ... are global variables", {
  expect_identical(mirai(x + y, .args = list(x = 1, y = 2))[], 3)
  expect_identical(mirai(a + b, .args = c(a = 1, b = 2))[], 3)
  expect_identical(mirai(x, x = "global", .args = list(x = "local"))[], "local")
  expect_identical(mirai(get("x", globalenv()), x = "global", .args = list(x = "local"))[], "global")
  expect_true(mirai(exists("x", globalenv(), inherits = FALSE), x = 1)[])
  expect_false(mirai(exists("x", globalenv(), inherits = FALSE), .args = list(x = 1))[])
})

test_that("environments are taken whole, dotted names too", {
  env <- new.env()
  env$x <- 1
  env$.y <- 2
  assign(".Random.seed", 1:3, envir = env)
  expect_identical(mirai(x + .y, env)[], 3)
  expect_identical(mirai(x + .y, .args = env)[], 3)
  expect_false(mirai(identical(globalenv()$.Random.seed, 1:3), env)[])
  f <- function(run, time) mirai(run(time), environment())
  expect_identical(f(function(x) x * 2, 21)[], 42)
})

test_that("the evaluation leaves no trace of itself in the user's environment", {
  expect_identical(sort(mirai(ls(all.names = TRUE), .args = list(x = 1, .y = 2))[]), c(".y", "x"))
  expect_identical(mirai(ls(environment(), all.names = TRUE))[], character())
  expect_true(mirai(identical(parent.env(environment()), globalenv()))[])
  expect_identical(mirai(ls(globalenv(), all.names = TRUE) |> setdiff(".Random.seed"))[], character())
})

test_that("assignments are local, super-assignments reach the global environment", {
  expect_identical(mirai({
    x <- 1
    y <<- 2
    list(exists("x", globalenv(), inherits = FALSE), exists("y", globalenv(), inherits = FALSE))
  })[], list(FALSE, TRUE))
  expect_false(mirai(exists("x") || exists("y"))[])
})

test_that("functions travel with their environment, those of top level find globals", {
  make <- function() {
    secret <- 7
    function() secret
  }
  expect_identical(mirai(f(), f = make())[], 7)
  g <- eval(quote(function() helper()), globalenv())
  expect_identical(mirai(g(), g = g, helper = function() "found")[], "found")
  expect_match(mirai(g(), .args = list(g = g, helper = function() "found"))[], "could not find function")
})

test_that("attached packages are not transferred", {
  library(stats4)
  defer(detach("package:stats4"))
  local_pool(1, .compute = "fresh")
  expect_false("package:stats4" %in% mirai(search(), .compute = "fresh")[])
})

test_that("warnings, messages and output are not relayed", {
  expect_silent(mirai({
    warning("not relayed")
    message("nor this")
    print("nor that")
    cat("nor that either")
  })[])
  out <- run_r(c(
    "library(mirai)", "daemons(1)", "mirai({warning('told'); message('told'); cat('told')})[]", "daemons(0)",
    "m <- mirai({warning('told'); message('told'); cat('told\\n')})[]", "cat('end\\n')"
  ))
  expect_false(any(grepl("told", out)))
  expect_true("end" %in% out)
})

test_that("a mirai that nobody holds is evaluated all the same", {
  held <- hold()
  held$started()
  file <- tempfile()
  mirai(file.create(file), file = file)
  for (i in 1:3) gc()
  held$open()
  expect_true(await(file.exists(file)))
})

test_that("results are plain values", {
  expect_identical(mirai(return(5))[], 5)
  expect_identical(mirai(invisible(6))[], 6)
  expect_identical(mirai({
    warning("not relayed")
    message("nor this")
    print("nor that")
    7
  })[], 7)
  expect_identical(mirai(globalenv())[], globalenv())
  m <- mirai(invisible(6))
  expect_visible(m[])
  expect_visible(m$data)
})

test_that("large and odd values make the round trip", {
  for (v in list(NULL, raw(0), as.numeric(1:1e6), letters, list(a = list(1)), mtcars, quote(f(x)), 1i, "\u00e4\u4e2d"))
    expect_identical(mirai(value, value = v)[], v)
})

test_that("plain values come back as they are, those of a row and with attributes, too", {
  latin <- "caf\xe9"
  Encoding(latin) <- "latin1"
  bytes <- "\xff\xfe"
  Encoding(bytes) <- "bytes"
  S4 <- asS4(structure(1:2, note = "of S4"))
  values <- list(
    NULL, TRUE, NA, logical(), 1L, NA_integer_, integer(), 1:3, 1:100000, rev(1:10), 1.5, NA_real_, NaN, -Inf, -0, double(), c(1, NA),
    "", "a", NA_character_, "\u00e4\u4e2d", latin, bytes, character(), c("a", "b"), raw(), as.raw(0:255), 2i,
    c(a = 1), structure(1:4, dim = c(2L, 2L)), factor("x"), Sys.Date(), structure("a", note = "b"), structure(1, class = "own"), S4,
    list(), list(1), list(a = NULL), quote(x + y)
  )
  for (value in values) {
    back <- value(mirai(given, given = value))
    expect_identical(back, value)
    expect_identical(Encoding(as.character(back)), Encoding(as.character(value)))
    expect_identical(isS4(back), isS4(value))
  }
  back <- mirai_map(values, function(x) x)[]
  expect_identical(unname(back), values)
  # The sign of zero, and which of the missing numbers.
  expect_identical(1 / value(mirai(-0)), -Inf)
  expect_identical(is.nan(mirai_map(c(NA, NaN), identity)[.flat]), c(FALSE, TRUE))
})

test_that("many mirai resolve, each to its own value", {
  ms <- lapply(1:500, function(i) mirai(i, .args = list(i = i)))
  expect_identical(collect_mirai(ms), as.list(1:500))
})

test_that("tasks run in the order of submission", {
  file <- tempfile()
  ms <- lapply(1:50, function(i) mirai(cat(i, "\n", file = file, append = TRUE), .args = list(i = i, file = file)))
  call_mirai(ms)
  expect_identical(scan(file, quiet = TRUE), as.numeric(1:50))
})

test_that("the missing argument is a value like others", {
  for (sync in c(FALSE, TRUE)) {
    if (sync) daemons(sync = TRUE, .compute = "one") else daemons(1, .compute = "one")
    m <- mirai(quote(expr = ), .compute = "one")
    expect_true(identical(m[], quote(expr = )))
    expect_true(identical(m$data, quote(expr = )))
    expect_false(unresolved(m))
    x <- mirai_map(1:2, function(x) formals(function(a) a)[[1L]], .compute = "one")
    expect_identical(x[], list(quote(expr = ), quote(expr = )))
    daemons(0, .compute = "one")
  }
})

test_that("wrong arguments are errors of the user's call", {
  before <- info()
  missing <- "missing expression, perhaps wrap in {}?"
  expect_identical(tryCatch(mirai(.timeout = 5), error = identity), simpleError(missing, quote(mirai(.timeout = 5))))
  expect_refused(mirai(), missing, "mirai")
  expect_refused(try_mirai(), missing, "try_mirai")
  expect_refused(everywhere(), missing, "everywhere")
  dots <- "all `...` arguments must be named, unless supplying an environment"
  expect_refused(mirai(1, 2), dots, "mirai")
  expect_refused(mirai(1, a = 1, 2), dots, "mirai")
  expect_refused(mirai(1, environment(), a = 1), dots, "mirai")
  expect_refused(mirai(1, new.env(), new.env()), dots, "mirai")
  expect_refused(try_mirai(1, 2), dots, "try_mirai")
  args <- "all items in `.args` must be named, unless supplying an environment"
  expect_refused(mirai(1, .args = list(1)), args, "mirai")
  expect_refused(mirai(1, .args = list(a = 1, 2)), args, "mirai")
  expect_refused(mirai(1, .args = 1:3), args, "mirai")
  expect_refused(mirai(1, .args = sum), args, "mirai")
  expect_refused(try_mirai(1, .args = list(1)), args, "try_mirai")
  expect_refused(mirai(1, .compute = 1), "`.compute` must be a string", "mirai")
  expect_refused(mirai(1, .compute = c("a", "b")), "`.compute` must be a string", "mirai")
  for (bad in list(NA, -1, -5, "50", NA_real_, numeric()))
    expect_refused(mirai(1, .timeout = bad), "`.timeout` must be a number of milliseconds", "mirai")
  expect_identical(info(), before)
})

test_that("what cannot be serialised is an error here, and nothing is sent", {
  before <- info()
  deep <- NULL
  for (i in 1:1e6) deep <- list(deep)
  # A lack of stack is told to exiting handlers only.
  expect_s3_class(tryCatch(mirai(x, x = deep), error = identity), "error")
  expect_identical(info(), before)
  expect_identical(mirai("still fine")[], "still fine")
})

daemons(0)

test_that("what was saved before it had resolved is printed in another session, and has no value there", {
  local_pool(1)
  held <- hold()
  held$started()
  file <- tempfile()
  saveRDS(list(held$m, mirai_map(1:2, identity)), file)
  out <- run_r(c(
    "library(mirai)",
    sprintf("x <- readRDS('%s')", file),
    "print(x[[1L]])",
    "print(x[[2L]])",
    "tryCatch(x[[1L]][], error = function(e) cat(conditionMessage(e), '\\n'))"
  ))
  expect_identical(out, c("< mirai [of another session] >", "< mirai map [2, of another session] >",
                          "this task belongs to another session, or to one that has ended "))
  held$open()
})

test_that("a value may have the class by which the package knows its own failures", {
  for (dispatcher in c(TRUE, FALSE)) {
    local_pool(1, dispatcher = dispatcher)
    for (value in list(structure(list(message = "no", kind = "error"), class = "mirai_failure"),
                       structure("no", class = c("own", "mirai_failure")))) {
      m <- mirai(value, value = value)
      expect_identical(m[], value)
      expect_identical(m$data, value)
      expect_identical(mirai_map(list(value), identity)[], list(value))
      expect_identical(collect_mirai(list(a = mirai(value, value = value)), ".stop"), list(a = value))
      expect_identical(mirai(identity(x), x = value)[], value)
    }
    daemons(0)
  }
})

test_that("what goes through a mirai as an environment finds its value", {
  local_pool(1)
  done <- function(expr) call_mirai(eval(bquote(mirai(.(expr)))))
  expect_true(all.equal(done(1), done(1)))
  expect_false(isTRUE(all.equal(done(1), done(2))))
  expect_identical(as.list.environment(done(3))$data, 3)
  expect_identical(as.list.environment(done(3), all.names = TRUE, sorted = TRUE)[["value"]], 3)
  expect_identical(eapply(done(4), identity, all.names = TRUE)$data, 4)
  expect_identical(mget("data", envir = done(5)), list(data = 5))
  expect_identical(mirai(data, .args = done(6))[], 6)
  expect_identical(mirai(value, done(7))[], 7)
})

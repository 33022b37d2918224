test_that("profiles are independent", {
  local_pool(1, .compute = "a")
  local_pool(2, .compute = "b")
  expect_true(daemons_set("a"))
  expect_false(daemons_set())
  expect_identical(info("a")[["connections"]], 1L)
  expect_identical(info("b")[["connections"]], 2L)
  expect_false(mirai(Sys.getpid(), .compute = "a")[] %in% everywhere(Sys.getpid(), .compute = "b")[.flat])
  daemons(0, .compute = "a")
  expect_true(daemons_set("b"))
})

test_that("with_daemons() changes the current profile for an expression", {
  local_pool(1, .compute = "a")
  pid <- mirai(Sys.getpid(), .compute = "a")[]
  x <- 5
  expect_identical(with_daemons("a", mirai(Sys.getpid())[] + x), pid + 5)
  expect_visible(with_daemons("a", 1))
  expect_invisible(with_daemons("a", invisible(1)))
  expect_error(with_daemons("a", stop("inside")), "inside")
  expect_false(daemons_set())
  f <- function() daemons_set()
  expect_true(with_daemons("a", f()))
  expect_true(with_daemons("a", with_daemons(NULL, daemons_set())))
  with_daemons("a", daemons(0))
  expect_false(daemons_set("a"))
})

test_that("local_daemons() lasts until the frame ends, and unwinds in order", {
  local_pool(1, .compute = "a")
  local_pool(1, .compute = "b")
  f <- function() {
    expect_invisible(local_daemons("a"))
    first <- nextget("url")
    local_daemons("b")
    c(first, nextget("url"))
  }
  expect_identical(f(), c(nextget("url", "a"), nextget("url", "b")))
  expect_false(daemons_set())
  g <- function() {
    h <- function() local_daemons("a", frame = parent.frame())
    h()
    daemons_set()
  }
  expect_true(g())
  expect_false(daemons_set())
})

test_that("profiles that are not set are refused", {
  for (f in list(with_daemons, local_daemons)) expect_error(f("nowhere", 1), "No daemons set for the 'nowhere' compute profile")
  expect_refused(with_daemons(5, 1), "`.compute` must be a string", "with_daemons")
})

test_that("with(daemons()) scopes a pool to an expression", {
  expect_identical(with(daemons(1), mirai(6 * 7)[]), 42)
  expect_false(daemons_set())
  expect_error(with(daemons(1), stop("inside")), "inside")
  expect_false(daemons_set())
  expect_identical(with(daemons(1, .compute = "x"), c(daemons_set(), daemons_set("x"))), c(TRUE, TRUE))
  expect_false(daemons_set("x"))
  expect_invisible(with(daemons(1), invisible(1)))
  m <- with(daemons(1), mirai(Sys.sleep(60)))
  expect_code(m$data, 19L)
})

test_that("a stored result works once", {
  d <- daemons(1)
  expect_true(with(d, daemons_set()))
  expect_error(with(d, 1), "No daemons set")
  expect_error(with(daemons(0), 1))
  expect_identical(with(if (!TRUE) daemons(1), {
    "default method"
  }), "default method")
})

test_that("require_daemons() says what to do", {
  local_pool(1, .compute = "a")
  expect_invisible(require_daemons("a"))
  expect_true(require_daemons("a"))
  plain <- function(e) cli::ansi_strip(conditionMessage(e))
  skip_if_not_installed("cli")
  skip_if_not_installed("rlang")
  f <- function() require_daemons(call = environment())
  e <- tryCatch(f(), error = identity)
  expect_s3_class(e, c("rlang_error", "error", "condition"), exact = TRUE)
  expect_match(plain(e), "No daemons set.\nUse e.g. `mirai::daemons(6)` to set 6 local daemons.", fixed = TRUE)
  expect_identical(rlang::call_name(conditionCall(e)), "f")
  e <- tryCatch(require_daemons("foo"), error = identity)
  expect_match(plain(e), "No daemons set for the 'foo' compute profile.", fixed = TRUE)
  expect_match(plain(e), "Use e.g. `mirai::daemons(6, .compute = \"foo\")` to set 6 local daemons.", fixed = TRUE)
  expect_identical(rlang::call_name(conditionCall(tryCatch(mirai_map(1, identity), error = identity))), "mirai_map")
  expect_identical(rlang::call_name(conditionCall(tryCatch(everywhere(1), error = identity))), "everywhere")
})

test_that("names with braces are names like others", {
  expect_error(require_daemons("{oops}"), "No daemons set for the '{oops}' compute profile", fixed = TRUE)
})

test_that("profiles are independent", {
  local_pool(1, .compute = "a")
  local_pool(2, .compute = "b")
  expect_true(daemons_set("a"))
  expect_false(daemons_set())
  expect_identical(info("a")[["connections"]], 1L)
  expect_identical(info("b")[["connections"]], 2L)
  expect_false(mirai(Sys.getpid(), .compute = "a")[] %in% everywhere(Sys.getpid(), .compute = "b")[.flat])
  expect_visible(daemons_set("a"))
  expect_visible(daemons_set())
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
  evaluated <- FALSE
  expect_error(with_daemons("nowhere", evaluated <- TRUE), "No daemons set")
  expect_false(evaluated)
  with_daemons("a", assigned <- daemons_set())
  expect_true(assigned)
  with_daemons("a", daemons(0))
  expect_false(daemons_set("a"))
})

test_that("local_daemons() lasts until the frame ends, and unwinds in order", {
  local_pool(1, .compute = "a")
  local_pool(1, .compute = "b")
  f <- function() {
    expect_invisible(returned <- local_daemons("a"))
    expect_null(returned)
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
  failing <- function() {
    local_daemons("a")
    stop("inside")
  }
  expect_error(failing(), "inside")
  expect_false(daemons_set())
})

test_that("local_daemons() at the top of a session stays", {
  out <- run_r(c(
    "library(mirai)", "daemons(url = local_url(), .compute = 'a')", "local_daemons('a')", "cat('set', daemons_set(), '\\n')",
    "f <- function() nextget('url') == nextget('url', 'a')", "cat('current', f(), '\\n')",
    "invisible(daemons(0))", "cat('set', daemons_set('a'), '\\n')"
  ))
  expect_identical(out, c("set TRUE ", "current TRUE ", "set FALSE "))
})

test_that("nextget() and nextstream() are about the current profile", {
  local_pool(url = local_url(), seed = 1, .compute = "a")
  expect_null(nextget("url"))
  expect_null(nextstream())
  expect_identical(with_daemons("a", nextget("url")), nextget("url", "a"))
  peeked <- nextget("stream", "a")
  expect_identical(with_daemons("a", nextstream()), peeked)
})

test_that("profiles that are not set are refused", {
  for (f in list(with_daemons, local_daemons)) expect_error(f("nowhere", 1), "No daemons set for the 'nowhere' compute profile")
  expect_refused(with_daemons(5, 1), "`.compute` must be a string", "with_daemons")
  expect_refused(local_daemons(5), "`.compute` must be a string", "local_daemons")
  for (f in list(with_daemons, local_daemons)) expect_error(f(NULL), "No daemons set.", fixed = TRUE)
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

test_that("with(daemons()) leaves the profiles around it as they were, but for its own", {
  local_pool(1, .compute = "a")
  pid <- mirai(Sys.getpid(), .compute = "a")[]
  f <- function() {
    local_daemons("a")
    inside <- with(daemons(url = local_url(), .compute = "b"), nextget("url") == nextget("url", "b"))
    try(with(daemons(url = local_url(), .compute = "b"), stop("inside")), silent = TRUE)
    c(inside, mirai(Sys.getpid())[] == pid)
  }
  expect_identical(f(), c(TRUE, TRUE))
  expect_visible(with(daemons(url = local_url()), 1))
  # A pool of the same profile has been replaced.
  with(daemons(url = local_url(), .compute = "a"), 1)
  expect_false(daemons_set("a"))
  expect_true(await(!alive(pid)))
})

test_that("a pool is made for an expression only where there is none", {
  scoped <- function() with(if (!daemons_set()) daemons(sync = TRUE), {
    mirai(Sys.getpid())[]
  })
  expect_identical(scoped(), Sys.getpid())
  expect_false(daemons_set())
  local_pool(1)
  expect_false(scoped() == Sys.getpid())
  expect_true(daemons_set())
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
  expect_identical(rlang::call_name(conditionCall(tryCatch(with_daemons("foo", 1), error = identity))), "with_daemons")
  expect_identical(rlang::call_name(conditionCall(tryCatch(local_daemons("foo"), error = identity))), "local_daemons")
  # The code can be clicked on where cli knows how.
  old <- options(cli.num_colors = 256L, cli.hyperlink = TRUE, cli.hyperlink_run = TRUE)
  defer(options(old))
  expect_match(conditionMessage(tryCatch(require_daemons(), error = identity)), "run:mirai::daemons(6)", fixed = TRUE)
})

test_that("names with braces are names like others", {
  expect_error(require_daemons("{oops}"), "No daemons set for the '{oops}' compute profile", fixed = TRUE)
})

test_that("a name is text", {
  name <- "\xff"
  Encoding(name) <- "bytes"
  expect_refused(daemons(1, .compute = name), "`.compute` must be text, not a string of bytes.", "daemons")
  expect_refused(mirai(1, .compute = name), "`.compute` must be text, not a string of bytes.", "mirai")
})

# Custom serialization (contract 07): hooks by class for reference objects.

# An environment that stands for data R cannot send: what it holds only comes through by its hooks.
new_handle <- function(value, class = "handle") {
  handle <- new.env()
  handle$value <- value
  handle$made_in <- Sys.getpid()
  structure(handle, class = class)
}

to_raw <- function(x) serialize(x$value, NULL)

from_raw <- function(bytes) {
  handle <- new.env()
  handle$value <- unserialize(bytes)
  handle$made_in <- Sys.getpid()
  structure(handle, class = "handle")
}

config <- serial_config("handle", to_raw, from_raw)

test_that("serial_config() checks its arguments and returns a list of three", {
  expect_identical(config, list("handle", list(to_raw), list(from_raw)))
  expect_identical(serial_config(c("a", "b"), list(to_raw, to_raw), list(from_raw, from_raw))[[1L]], c("a", "b"))
  expect_refused(serial_config(1, to_raw, from_raw), "`class` must be a character vector", "serial_config")
  expect_refused(serial_config("a", 1, from_raw), "`sfunc` must be a function or list of functions", "serial_config")
  expect_refused(serial_config("a", to_raw, "f"), "`ufunc` must be a function or list of functions", "serial_config")
  expect_refused(serial_config("a", list(1), from_raw), "`sfunc` must be a function or list of functions", "serial_config")
  expect_refused(
    serial_config(c("a", "b"), to_raw, from_raw),
    "`class`, `sfunc` and `ufunc` must all be the same length", "serial_config"
  )
  expect_refused(register_serial(1, to_raw, from_raw), "`class` must be a character vector", "register_serial")
})

test_that("hooks work on arguments and results, at any depth", {
  local_pool(1, serial = config)
  sent <- new_handle(1:3)
  f <- local({
    inner <- sent
    function() inner
  })
  m <- mirai(
    {
      seen <- list(direct$made_in, nested[[1]]$b$made_in, attr(attributed, "h")$made_in, f()$made_in)
      list(pid = Sys.getpid(), seen = seen, back = list(deep = direct), same = identical(direct, again))
    },
    direct = sent, again = sent, nested = list(list(b = sent)), attributed = structure(1, h = sent),
    .args = list(f = f)
  )
  result <- value(m)
  expect_identical(result$seen, rep(list(result$pid), 4L))
  expect_true(result$same)
  expect_s3_class(result$back$deep, "handle")
  expect_identical(result$back$deep$value, 1:3)
  expect_identical(result$back$deep$made_in, Sys.getpid())
})

test_that("maps and everywhere() use the hooks as well", {
  local_pool(2, serial = config)
  sent <- new_handle(10)
  seen <- function(i, h, here) c(h$value * i, h$made_in != here)
  inside <- mirai_map(1:4, seen, .args = list(h = sent, here = Sys.getpid()))[]
  expect_identical(inside, lapply(1:4, function(i) c(10 * i, 1)))
  expect_identical(everywhere(h$value, h = sent)[.flat], c(10, 10))
})

test_that("external pointers are hooked, lists and data frames of a class are not", {
  pointer <- getNamespace("stats")$C_cor$address
  expect_identical(typeof(pointer), "externalptr")
  hooked <- serial_config(class(pointer)[1L], function(x) charToRaw("pointer"), rawToChar)
  local_pool(1, serial = hooked)
  expect_identical(value(mirai(x, x = pointer)), "pointer")
  plain <- serial_config("listing", function(x) raw(1), function(x) "hooked")
  daemons(1, serial = plain)
  listing <- structure(list(1), class = "listing")
  expect_identical(value(mirai(x, x = listing)), listing)
})

test_that("the first class of the configuration to match counts, no match is none", {
  marks <- function(mark) function(x) charToRaw(mark)
  both <- serial_config(c("a", "b"), list(marks("by a"), marks("by b")), list(rawToChar, rawToChar))
  local_pool(1, serial = both)
  seen <- value(mirai(list(x, y, class(z)), x = new_handle(1, c("b", "a")), y = new_handle(2, "b"), z = new_handle(3, "c")))
  expect_identical(seen, list("by a", "by b", "c"))
})

test_that("objects of R6 are hooked, both ways", {
  skip_if_not_installed("R6")
  hooked <- serial_config("Count", function(x) serialize(x$n, NULL), function(bytes) paste("n is", unserialize(bytes)))
  local_pool(1, serial = hooked)
  count <- R6::R6Class("Count", public = list(n = 3))
  expect_identical(value(mirai(x, x = count$new())), "n is 3")
  expect_identical(value(mirai(R6::R6Class("Count", public = list(n = 4))$new())), "n is 4")
})

test_that("weak references are hooked", {
  skip_if_not_installed("rlang")
  hooked <- serial_config("weakref", function(x) charToRaw("weak"), rawToChar)
  local_pool(1, serial = hooked)
  expect_identical(value(mirai(x, x = rlang::new_weakref(globalenv()))), "weak")
})

test_that("what fails in a hook names the class, and the pool goes on", {
  bad <- function(x) stop("no luck")
  broken <- new_handle(1)

  local_pool(1, serial = serial_config("handle", bad, from_raw))
  before <- info()[["completed"]]
  expect_error(mirai(x, x = broken), "`handle`.*no luck")
  expect_identical(info()[["completed"]] + info()[["awaiting"]], before)
  e <- value(mirai(structure(new.env(), class = "handle")))
  expect_s3_class(e, "miraiError")
  expect_match(as.character(e), "`handle`.*no luck")
  pid <- value(mirai(Sys.getpid()))

  expect_identical(value(mirai(Sys.getpid())), pid)
  daemons(1, serial = serial_config("handle", function(x) "text", from_raw))
  expect_error(mirai(x, x = broken), "Serialization function for `handle` did not return a raw vector")

  daemons(1, serial = serial_config("handle", to_raw, bad))
  e <- value(mirai(x, x = broken))
  expect_s3_class(e, "miraiError")
  expect_match(as.character(e), "`handle`.*no luck")
  m <- mirai(structure(list2env(list(value = 1)), class = "handle"))
  expect_match(as.character(value(m)), "`handle`.*no luck")
  expect_identical(m$data, m[])
  expect_identical(value(mirai(1)), 1)
})

test_that("registered hooks serve later pools, an explicit configuration replaces them", {
  registered <- mirai:::session$registered
  defer(assign("registered", registered, envir = mirai:::session))
  expect_identical(withVisible(register_serial("handle", to_raw, from_raw)), list(value = NULL, visible = FALSE))
  made_in <- function(...) {
    daemons(1, ...)
    on.exit(daemons(0))
    result <- value(mirai(list(h$made_in, Sys.getpid()), h = new_handle(1)))
    if (identical(result[[1L]], Sys.getpid())) "host" else if (identical(result[[1L]], result[[2L]])) "daemon"
  }
  expect_identical(made_in(), "daemon")
  expect_identical(made_in(), "daemon")
  expect_identical(made_in(serial = list()), "host")
  expect_identical(made_in(serial = serial_config("other", to_raw, from_raw)), "host")
})

test_that("registered hooks are appended: the first to match counts, pools that are there stay as they are", {
  registered <- mirai:::session$registered
  defer(assign("registered", registered, envir = mirai:::session))
  assign("registered", NULL, envir = mirai:::session)
  marks <- function(mark) function(x) charToRaw(mark)
  seen <- function() {
    x <- value(mirai(list(x, y), x = new_handle(1, "first"), y = new_handle(2, c("second", "first"))))
    vapply(x, function(v) if (is.character(v)) v else "as it is", "")
  }
  local_pool(1)
  register_serial("first", marks("by first"), rawToChar)
  expect_identical(seen(), rep("as it is", 2L))
  daemons(1)
  expect_identical(seen(), rep("by first", 2L))
  register_serial(c("second", "first"), list(marks("by second"), marks("never")), list(rawToChar, rawToChar))
  expect_identical(seen(), rep("by first", 2L))
  daemons(1)
  expect_identical(seen(), rep("by first", 2L))
  # Without dispatcher there are none, which nobody has asked for and nobody is told of.
  expect_no_warning(daemons(1, dispatcher = FALSE))
  expect_identical(seen(), rep("as it is", 2L))
})

test_that("what is no configuration is refused before the pool is reset", {
  local_pool(1)
  expect_refused(daemons(1, serial = 1), "`serial` must be made by `serial_config()`", "daemons")
  expect_refused(daemons(1, serial = list("a")), "`serial` must be made by `serial_config()`", "daemons")
  expect_refused(daemons(1, serial = list("a", 1, 2)), "`serial` must be made by `serial_config()`", "daemons")
  expect_true(daemons_set())
  expect_warning(daemons(1, dispatcher = FALSE, serial = config), "`serial` needs dispatcher, so it is ignored")
})

test_that("daemons that connect later get the hooks too", {
  local_pool(url = local_url(), serial = config)
  m <- mirai(h$made_in == Sys.getpid(), h = new_handle(1))
  launch_local(1)
  expect_true(value(m))
})

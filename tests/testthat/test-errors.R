daemons(1)

test_that("an evaluation error is a string with fields", {
  e <- mirai({
    f(-1)
    f(1)
  }, f = function(x) if (x > 0) stop("positive"))[]
  expect_s3_class(e, c("miraiError", "errorValue", "try-error"), exact = TRUE)
  expect_type(e, "character")
  expect_identical(as.vector(unclass(e))[1L], "Error in f(1): positive")
  expect_identical(e$message, "positive")
  expect_identical(e$call, quote(f(1)))
  expect_identical(e$stack.trace, list(quote(stop("positive")), quote(f(1))))
  expect_identical(e$condition.class, c("simpleError", "error", "condition"))
  expect_identical(e$class, c("miraiError", "errorValue", "try-error"))
  expect_null(e$mess)
  expect_null(e$other)
  expect_length(e, 1L)
  expect_null(names(e))
  expect_identical(printed(e), "'miraiError' chr Error in f(1): positive")
  expect_identical(conditionMessage(e), "positive")
  expect_identical(conditionCall(e), quote(f(1)))
  expect_false(inherits(e, "condition"))
  expect_true("stack.trace" %in% utils::.DollarNames(e, ""))
})

test_that("an error before the expression begins is one like any other, and the daemon goes on", {
  for (dispatcher in c(TRUE, FALSE)) {
    local_pool(1, dispatcher = dispatcher, .compute = "locked")
    pid <- mirai(Sys.getpid(), .compute = "locked")[]
    everywhere({
      fixed <<- 1
      lockBinding("fixed", globalenv())
    }, .compute = "locked")
    e <- mirai(fixed + 1, fixed = 2, .compute = "locked")[]
    expect_s3_class(e, c("miraiError", "errorValue", "try-error"), exact = TRUE)
    expect_identical(e$message, "cannot change value of locked binding for 'fixed'")
    expect_identical(e$stack.trace, list())
    expect_identical(mirai(c(Sys.getpid(), fixed), .compute = "locked")[], c(pid, 1))
    daemons(0, .compute = "locked")
  }
})

test_that("an error keeps call and trace where functions on its way have something to do at their exit", {
  e <- mirai(f(1), f = function(x) {
    on.exit(sum(x))
    stop("on the way")
  })[]
  expect_identical(printed(e), "'miraiError' chr Error in f(1): on the way")
  expect_identical(e$call, quote(f(1)))
  expect_identical(e$stack.trace, list(quote(stop("on the way")), quote(f(1))))
  e <- mirai(f(1), f = function(x) {
    on.exit(tryCatch(stop("inner"), error = identity))
    stop(structure(list(message = "of a class", call = NULL, field = x), class = c("mine", "error", "condition")))
  })[]
  expect_identical(e$field, 1)
})

test_that("errors at the top of an expression have no call of ours", {
  e <- mirai(stop("top"))[]
  expect_identical(as.vector(e), "Error: top")
  expect_null(e$call)
  expect_identical(e$stack.trace, list(quote(stop("top"))))
  e <- mirai(nothing_of_that_name)[]
  expect_match(e, "^Error: object 'nothing_of_that_name' not found$")
  expect_null(e$call)
  expect_identical(e$stack.trace, list())
  e <- mirai(stop("quiet", call. = FALSE))[]
  expect_identical(as.vector(e), "Error: quiet")
})

test_that("builtins don't show in the trace", {
  e <- mirai(log("a"))[]
  expect_identical(as.vector(e), "Error in log(\"a\"): non-numeric argument to mathematical function")
  expect_identical(e$stack.trace, list())
  e <- mirai({
    f <- function() log("a")
    f()
  })[]
  expect_identical(e$stack.trace, list(quote(f())))
})

test_that("the trace has no braces, whatever is nested in what", {
  e <- mirai({
    f <- function() {
      {
        g()
      }
    }
    g <- function() {
      stop("nested")
    }
    {
      f()
    }
  })[]
  expect_identical(e$stack.trace, list(quote(stop("nested")), quote(g()), quote(f())))
})

test_that("calls are without source references", {
  expr <- parse(text = "{\n f <- function(g) stop('x')\n f(function(a) {\n a\n })\n}", keep.source = TRUE)[[1L]]
  e <- mirai(expr)[]
  has_srcref <- function(x) {
    if (!is.null(attr(x, "srcref")) || inherits(x, "srcref")) return(TRUE)
    if (is.call(x)) any(vapply(as.list(x), has_srcref, NA)) else FALSE
  }
  expect_false(any(vapply(c(e$call, e$stack.trace), has_srcref, NA)))
})

test_that("fields of the condition are kept", {
  e <- mirai(stop(structure(
    class = c("custom", "error", "condition"),
    list(message = "own", call = NULL, data = list(1, "b"), extra = 5, parent = simpleError("cause"), trace = 1:3, body = "text")
  )))[]
  expect_identical(e$parent, simpleError("cause"))
  expect_identical(e$trace, 1:3)
  expect_identical(e$body, "text")
  expect_null(e$extr)
  expect_identical(as.vector(e), "Error: own")
  expect_identical(e$condition.class, c("custom", "error", "condition"))
  expect_identical(e$data, list(1, "b"))
  expect_identical(e$extra, 5)
})

test_that("fields that would clash with attributes of a string do no harm", {
  e <- mirai(stop(structure(
    class = c("custom", "error", "condition"),
    list(message = "own", call = NULL, names = 1:3, dim = 7, class = "x", fine = TRUE)
  )))[]
  expect_identical(as.vector(e), "Error: own")
  expect_true(e$fine)
})

test_that("a condition of whatever make is an error value", {
  e <- mirai(stop(structure(class = c("noted", "error", "condition"), list(message = "of a list", call = NULL, comment = 5))))[]
  expect_identical(c(e), "Error: of a list")
  expect_identical(e$condition.class, c("noted", "error", "condition"))
  e <- mirai({
    condition <- list2env(list(message = "of an environment", call = quote(f(1))))
    stop(structure(condition, class = c("shared", "error", "condition")))
  })[]
  expect_identical(c(e), "Error in f(1): of an environment")
  expect_identical(e$condition.class, c("shared", "error", "condition"))
})

test_that("only the first line of a long call is shown", {
  e <- mirai((function(aaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbb) {
    stop("deep")
  })("cccccccccccccccccccccccccccccccccc", "dddddddddddddddddddddddddddddddddddddddddd"))[]
  lines <- deparse(e$call)
  expect_gt(length(lines), 1L)
  expect_identical(as.vector(e), paste0("Error in ", lines[1L], ": deep"))
})

test_that("messages of several lines keep them", {
  expect_identical(as.vector(mirai(stop("one\ntwo"))[]), "Error: one\ntwo")
})

test_that("errors of rlang bring their bullets and their fields", {
  skip_if_not_installed("rlang")
  e <- mirai({
    f <- function() rlang::abort(c("header", i = "bullet"), class = "mine", my = 3)
    f()
  })[]
  expect_match(e, "Error in f(): header\n", fixed = TRUE)
  expect_match(e, "bullet", fixed = TRUE)
  expect_identical(e$condition.class[1L], "mine")
  expect_identical(e$my, 3)
  expect_identical(e$stack.trace[[length(e$stack.trace)]], quote(f()))
})

test_that("warnings made errors have no trace, warnings are dropped", {
  e <- mirai({
    options(warn = 2)
    f <- function() warning("w")
    f()
  })[]
  expect_match(e, "converted from warning")
  expect_identical(e$stack.trace, list())
  expect_identical(mirai({
    warning("w")
    1
  })[], 1)
})

test_that("an infinite recursion is reported as in the session itself", {
  # Not compiled, so that the limit of expressions comes before that of the stack.
  endless <- quote({
    f <- function(n) f(n + 1)
    f(1)
  })
  here <- tryCatch(eval(endless, new.env()), error = identity)
  there <- mirai(endless)[]
  expect_identical(as.vector(there), paste("Error:", conditionMessage(here)))
  expect_match(there$message, "nested too deeply", fixed = TRUE)
  expect_identical(there$condition.class, class(here))
  expect_identical(unique(there$stack.trace), list(quote(f(n + 1))))
  # The stack itself, where there may be no room left to look into it.
  deep <- function(x) lapply(x, deep)
  here <- tryCatch(deep(1), error = identity)
  there <- mirai(deep(1), deep = deep)[]
  expect_identical(there$condition.class, class(here))
  expect_identical(gsub("[0-9]+", "", there$message), gsub("[0-9]+", "", conditionMessage(here)))
  expect_identical(mirai(1)[], 1)
})

test_that("endless recursion is an error, and the daemon goes on", {
  pid <- mirai(Sys.getpid())[]
  e <- mirai({
    f <- function(n) f(n + 1)
    f(1)
  })[]
  expect_s3_class(e, "miraiError")
  expect_identical(mirai(Sys.getpid())[], pid)
})

test_that("a value with the class of an error value is returned like any other", {
  x <- mirai(structure("mine", class = "errorValue"))[]
  expect_identical(x, structure("mine", class = "errorValue"))
  expect_true(is_error_value(x))
})

test_that("predicates tell the kinds apart", {
  e <- mirai(stop("x"))[]
  expect_identical(c(is_error_value(e), is_mirai_error(e), is_mirai_interrupt(e)), c(TRUE, TRUE, FALSE))
  i <- mirai(signalCondition(structure(list(), class = c("interrupt", "condition"))))[]
  expect_identical(c(is_error_value(i), is_mirai_error(i), is_mirai_interrupt(i)), c(TRUE, FALSE, TRUE))
  expect_s3_class(i, c("miraiInterrupt", "errorValue", "try-error"), exact = TRUE)
  expect_identical(as.vector(i), "")
  expect_identical(printed(i), "'miraiInterrupt' chr \"\"")
  t <- mirai(1, .timeout = 0)[]
  expect_identical(c(is_error_value(t), is_mirai_error(t), is_mirai_interrupt(t)), c(TRUE, FALSE, FALSE))
  expect_false(is_error_value(1))
  m <- mirai(1)
  expect_true(is_mirai(m))
  expect_false(is_mirai(1))
  expect_false(is_mirai_map(m))
})

test_that("each code has its text", {
  texts <- c(
    "Hunky dory", "Interrupted", "Out of memory", "Invalid argument", "Resource busy", "Timed out", "Connection refused",
    "Object closed", "Try again", "Not supported", "Address in use", "Incorrect state", "Entry not found", "Protocol error",
    "Destination unreachable", "Address invalid", "Permission denied", "Message too large", "Connection aborted",
    "Connection reset", "Operation canceled", "Out of files", "Out of space", "Resource already exists", "Read only resource",
    "Write only resource", "Cryptographic error", "Peer could not be authenticated", "Option requires argument",
    "Ambiguous option", "Incorrect type", "Connection shutdown", "Unknown error #32"
  )
  shows <- function(code) printed(structure(code, class = c("errorValue", "try-error")))
  expect_identical(vapply(0:32, shows, ""), sprintf("'errorValue' int %d | %s", 0:32, texts))
  expect_identical(shows(-1L), "'errorValue' int -1 | Unknown error #-1")
})

test_that("a code is an int, and compares with ints", {
  x <- mirai(1, .timeout = 0)[]
  expect_type(x, "integer")
  expect_identical(attributes(x), list(class = c("errorValue", "try-error")))
  expect_true(x == 5L)
  expect_false(x == 19L)
})

test_that("codes print with their text, uncut", {
  shows <- function(code) printed(structure(code, class = c("errorValue", "try-error")))
  expect_identical(shows(5L), "'errorValue' int 5 | Timed out")
  expect_identical(shows(19L), "'errorValue' int 19 | Connection reset")
  expect_identical(shows(20L), "'errorValue' int 20 | Operation canceled")
  expect_identical(shows(0L), "'errorValue' int 0 | Hunky dory")
  expect_identical(shows(31L), "'errorValue' int 31 | Connection shutdown")
  expect_identical(shows(27L), "'errorValue' int 27 | Peer could not be authenticated")
  expect_identical(shows(999L), "'errorValue' int 999 | Unknown error #999")
  skip_unless_linux()
  expect_identical(shows(268435553L), "'errorValue' int 268435553 | Address family not supported by protocol")
  expect_identical(shows(as.integer(0x20000000) + 7L), "'errorValue' int 536870919 | Transport error #7")
})

test_that("a result that cannot be serialised is an error of that task alone", {
  pid <- mirai(Sys.getpid())[]
  # Nested too deeply for R's serialiser.
  e <- mirai({
    x <- NULL
    for (i in 1:1e6) x <- list(x)
    x
  })[]
  expect_s3_class(e, "miraiError")
  expect_identical(mirai(Sys.getpid())[], pid)
})

daemons(0)

test_that("what a task lacks and this session has is named, with what to write", {
  local_pool(1)
  assign("mirai_test_x", 1, envir = globalenv())
  assign("mirai_test_f", function() 1, envir = globalenv())
  on.exit(rm(mirai_test_x, mirai_test_f, envir = globalenv()))
  expect_output(print(value(mirai(mirai_test_x + 1))),
                "not found\nThis session has `mirai_test_x`, which the daemon has not: `mirai(..., mirai_test_x = mirai_test_x)`.",
                fixed = TRUE)
  expect_output(print(value(mirai(mirai_test_f()))),
                "This session has `mirai_test_f()`, which the daemon has not: `mirai(..., mirai_test_f = mirai_test_f)`.",
                fixed = TRUE)
  suppressPackageStartupMessages(library(splines))
  on.exit(detach("package:splines"), add = TRUE)
  expect_output(print(value(mirai(ns(1:5)))), "`splines::ns`, or `everywhere(library(splines))`.", fixed = TRUE)
  # As it is written in code.
  assign("%+%", function(a, b) 1, envir = globalenv())
  on.exit(rm("%+%", envir = globalenv()), add = TRUE)
  expect_output(print(value(mirai(1 %+% 2))), "`mirai(..., `%+%` = `%+%`)`.", fixed = TRUE)
  # What is attached everywhere.
  expect_length(capture.output(print(value(mirai(get("mean", envir = emptyenv()))))), 1L)
  # Nothing where there is nothing to say.
  expect_identical(capture.output(print(value(mirai(mirai_test_none)))),
                   "'miraiError' chr Error: object 'mirai_test_none' not found")
  expect_length(capture.output(print(value(mirai(stop("object 'a' not found at all"))))), 1L)
})

test_that("printing tells what has failed", {
  local_pool(1)
  m <- mirai(stop("no"))
  call_mirai(m)
  expect_output(print(m), "< mirai [error] >", fixed = TRUE)
  value(m)
  expect_output(print(m), "< mirai [error] >", fixed = TRUE)
  x <- mirai_map(1:8, function(i) if (i %in% c(3, 5)) stop("odd") else i)
  call_mirai(x)
  expect_output(print(x), "< mirai map [8/8, 2 failed: 3, 5] >", fixed = TRUE)
  x <- mirai_map(1:8, function(i) stop("all"))
  call_mirai(x)
  expect_output(print(x), "< mirai map [8/8, 8 failed: 1, 2, 3, 4, 5, ...] >", fixed = TRUE)
  daemons(sync = TRUE)
  expect_output(print(mirai(stop("no"))), "< mirai [error] >", fixed = TRUE)
})

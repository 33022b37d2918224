daemons(2)

test_that("collect_mirai() takes a mirai, a list, a map", {
  expect_identical(collect_mirai(mirai(1)), 1)
  expect_identical(collect_mirai(list(a = mirai(1), b = mirai("x"))), list(a = 1, b = "x"))
  expect_identical(collect_mirai(list()), list())
  expect_identical(collect_mirai(mirai_map(1:2, identity)), list(1L, 2L))
  expect_identical(collect_mirai(mirai(1), ".flat"), 1)
  expect_identical(collect_mirai(mirai(1), "ignored"), 1)
  expect_identical(collect_mirai(list(a = mirai(1), mirai(2))), list(a = 1, 2))
  expect_null(names(collect_mirai(list(mirai(1), mirai(2)))))
  expect_visible(collect_mirai(mirai(1)))
  expect_visible(collect_mirai(list(mirai(1))))
})

test_that("collect_mirai() refuses anything else, in words of its own", {
  for (bad in list(NULL, 1, "a", list(1), list(mirai(1), 2)))
    expect_refused(collect_mirai(bad), "must be a mirai or a list of mirai", "collect_mirai")
})

test_that("call_mirai() waits and returns its argument, whatever it is", {
  m <- mirai(1)
  expect_invisible(call_mirai(m))
  expect_identical(call_mirai(m), m)
  expect_false(unresolved(m))
  x <- mirai_map(1:3, identity)
  expect_identical(call_mirai(x), x)
  expect_false(unresolved(x))
  mixed <- list(mirai(1), 2)
  call_mirai(mixed)
  expect_false(unresolved(mixed))
  for (other in list(NULL, 1, "a", list(), list(1), sum, globalenv(), mtcars)) {
    expect_identical(call_mirai(other), other)
    expect_invisible(call_mirai(other))
  }
})

test_that("unresolved() knows mirai, lists of them, and the unresolved value", {
  held <- hold()
  m <- mirai(1)
  call_mirai(m)
  expect_true(unresolved(held$m))
  expect_false(unresolved(m))
  expect_true(unresolved(list(m, held$m)))
  expect_true(unresolved(list(1, held$m)))
  expect_true(unresolved(held$m$data))
  for (other in list(NA, NULL, list(), list(1), 5, structure(NA, class = "unresolvedValue"))) expect_false(unresolved(other))
  expect_visible(unresolved(m))
  expect_identical(utils::capture.output(utils::str(held$m$data)), " 'unresolvedValue' logi NA")
  expect_length(held$m$data, 1L)
  held$open()
  expect_false(unresolved(list(call_mirai(held$m))))
})

test_that("options may be strings, named vectors or lists", {
  x <- mirai_map(c(a = 1, b = 2), identity)
  flat <- c(a = 1, b = 2)
  expect_identical(collect_mirai(x, ".flat"), flat)
  expect_identical(collect_mirai(x, c(".flat", ".stop")), flat)
  expect_identical(collect_mirai(x, c(.flat = TRUE)), flat)
  expect_identical(collect_mirai(x, list(.flat = TRUE)), flat)
  expect_identical(collect_mirai(x, list(.stop = TRUE, .flat = TRUE)), flat)
  expect_identical(collect_mirai(x, list(.flat = FALSE)), as.list(flat))
  expect_identical(collect_mirai(x, c(.flat = "FALSE", .stop = "TRUE")), as.list(flat))
  expect_identical(collect_mirai(x, NULL), as.list(flat))
  expect_identical(collect_mirai(x, character()), as.list(flat))
  expect_identical(collect_mirai(x, list()), as.list(flat))
  expect_identical(collect_mirai(unclass(x), ".flat"), flat)
  expect_refused(collect_mirai(x, "flat"), "unknown option `flat`", "collect_mirai")
  expect_refused(collect_mirai(x, list(.flat = TRUE, .other = 1)), "unknown option `.other`", "collect_mirai")
  expect_refused(collect_mirai(x, 5), "`options` must be", "collect_mirai")
})

test_that("a stop that is switched off does not stop", {
  x <- mirai_map(1:2, function(x) stop("no"))
  expect_length(collect_mirai(x, list(.stop = FALSE)), 2L)
  expect_length(collect_mirai(x, c(.stop = FALSE)), 2L)
})

test_that("tokens work bare, in any order, whatever the user calls so", {
  x <- mirai_map(c(a = 1, b = 2), identity)
  .flat <- "mine"
  expect_identical(x[.flat], c(a = 1, b = 2))
  expect_identical(x[.stop, .flat], c(a = 1, b = 2))
  expect_identical(x[], list(a = 1, b = 2))
  token <- mirai::.stop
  expect_identical(x[token], list(a = 1, b = 2))
  rm(.flat)
  expect_identical(x[mirai::.flat], c(a = 1, b = 2))
  expect_identical(x[mirai::.stop, mirai::.flat], c(a = 1, b = 2))
  expect_identical(x[.flat, token], c(a = 1, b = 2))
})

test_that("tokens work where mirai is not attached", {
  out <- run_r("mirai::daemons(1); x <- mirai::mirai_map(1:2, identity); print(x[.flat]); mirai::daemons(0)")
  expect_match(out, "[1] 1 2", fixed = TRUE, all = FALSE)
})

test_that("any other index makes a smaller map", {
  x <- mirai_map(c(a = 1, b = 2, c = 3), identity)
  expect_s3_class(x[1], "mirai_map", exact = TRUE)
  expect_identical(x[c("a", "c")][], list(a = 1, c = 3))
  expect_identical(x[-1][], list(b = 2, c = 3))
  expect_s3_class(x[[1]], "mirai")
  expect_identical(x[c(FALSE, TRUE)][], list(b = 2))
  expect_identical(x[c("c", "c")][.flat], c(c = 3, c = 3))
  for (nothing in list(0, NULL)) expect_length(unclass(x[nothing]), 0L)
  expect_identical(x$b[], 2)
  expect_identical(x[["c"]][], 3)
  expect_refused(x[1, 2], "one index", "[.mirai_map")
  expect_refused(x[mirai::.flat, 2], "one index", "[.mirai_map")
  for (beyond in list(4, "z", c(1, NA), c("a", NA))) expect_refused(x[beyond], "subscript out of bounds", "[.mirai_map")
})

test_that(".flat joins as unlist() does, one level", {
  expect_identical(mirai_map(c(a = 1, b = 2), function(x) c(x, x))[.flat], c(a1 = 1, a2 = 1, b1 = 2, b2 = 2))
  expect_identical(mirai_map(1:2, function(x) list(x, list(x)))[.flat], list(1L, list(1L), 2L, list(2L)))
  expect_null(mirai_map(list(), identity)[.flat])
  expect_identical(mirai_map(as.Date("2026-01-01") + 0:1, identity)[.flat], as.numeric(as.Date("2026-01-01") + 0:1))
})

test_that(".flat refuses values of different types, naming the place", {
  x <- mirai_map(list(p = 1L, q = 2.5), identity)
  e <- tryCatch(x[.flat], error = identity)
  expect_match(conditionMessage(e), "annot flatten outputs of differing type: integer / double")
  expect_identical(e$location, 2L)
  expect_identical(e$name, "q")
  e <- tryCatch(mirai_map(list(1L, NULL), identity)[.flat], error = identity)
  expect_match(conditionMessage(e), "integer / NULL")
  expect_null(e$name)
  skip_if_not_installed("cli")
  skip_if_not_installed("rlang")
  expect_s3_class(e, "rlang_error")
  expect_identical(conditionCall(e), quote(mirai_map()))
})

test_that(".flat cancels the rest", {
  held <- hold()
  x <- structure(list(mirai(1L), mirai(2.5), held$m), class = "mirai_map")
  expect_error(x[.flat], "differing type")
  expect_code(held$m$data, 20L)
})

test_that(".flat fails at an error value wherever it is", {
  for (bad in 1:3) {
    x <- mirai_map(1:3, function(x, bad) if (x == bad) stop("this one") else x, .args = list(bad = bad))
    e <- tryCatch(x[.flat], error = identity)
    expect_identical(e$location, bad)
    expect_match(conditionMessage(e$parent), "this one")
  }
  e <- tryCatch(mirai_map(1, function(x) stop("single"))[.flat], error = identity)
  expect_identical(e$location, 1L)
})

test_that("what was cancelled or has timed out is told by its text, first element or not", {
  late <- function() mirai(Sys.sleep(60), .timeout = 20)
  stopped <- function() {
    held <- hold()
    stop_mirai(held$m)
    held$m
  }
  cases <- list("5 | Timed out" = late, "20 | Operation canceled" = stopped)
  for (text in names(cases)) for (option in list(.flat, .stop)) for (place in 1:2) {
    x <- rep(list(NULL), 2L)
    for (i in 1:2) x[[i]] <- if (i == place) cases[[text]]() else mirai(1)
    e <- tryCatch(collect_mirai(structure(x, class = "mirai_map"), option), error = identity)
    expect_identical(e$location, place)
    expect_match(conditionMessage(e$parent), text, fixed = TRUE)
    expect_match(conditionMessage(e), text, fixed = TRUE)
  }
})

test_that(".stop raises the first error, with its place, name and parent", {
  x <- mirai_map(list(x = 1, y = "a", z = 3), sum)
  expect_identical(mirai_map(1:3, identity)[.stop], list(1L, 2L, 3L))
  e <- tryCatch(x[.stop], error = identity)
  expect_identical(e$location, 2L)
  expect_identical(e$name, "y")
  expect_s3_class(e$parent, c("error", "condition"))
  expect_s3_class(e$parent, "simpleError")
  expect_identical(conditionMessage(e$parent), "invalid 'type' (character) of argument")
  expect_identical(e$parent$condition.class, c("simpleError", "error", "condition"))
  fails <- function(x) (function() stop(structure(class = c("own", "error", "condition"), list(message = "m", call = quote(g(x)), data = 5))))()
  parent <- tryCatch(mirai_map(1, fails)[.stop], error = identity)$parent
  expect_s3_class(parent, c("own", "error", "condition"), exact = TRUE)
  expect_identical(parent[c("message", "call", "data")], list(message = "m", call = quote(g(x)), data = 5))
  expect_identical(parent$stack.trace[[length(parent$stack.trace)]], quote(.f()))
  for (unnamed in list(list(1, "a"), list(a = 1, "a"))) {
    e <- tryCatch(mirai_map(unnamed, sum)[.stop], error = identity)
    expect_identical(e$location, 2L)
    expect_null(e$name)
  }
})

test_that(".stop prints as documented, with cli", {
  skip_if_not_installed("cli")
  skip_if_not_installed("rlang")
  e <- tryCatch(mirai_map(list(x = 1, y = "a"), sum)[.stop], error = identity)
  expect_s3_class(e, "rlang_error")
  expect_identical(rlang::call_name(conditionCall(e)), "mirai_map")
  text <- cli::ansi_strip(conditionMessage(e))
  expect_match(text, "In index: 2.", fixed = TRUE)
  expect_match(text, "With name: y.", fixed = TRUE)
  expect_match(text, "Caused by error:\n! invalid 'type' (character) of argument", fixed = TRUE)
  e <- tryCatch(mirai_map(list(1, "a"), sum)[.stop], error = identity)
  expect_no_match(conditionMessage(e), "With name")
})

test_that(".stop takes codes and interrupts for errors, with their text", {
  e <- tryCatch(mirai_map(1, function(x) Sys.sleep(60), .timeout = 20)[.stop], error = identity)
  expect_identical(e$location, 1L)
  expect_match(conditionMessage(e$parent), "5 | Timed out", fixed = TRUE)
  interrupt <- function(x) signalCondition(structure(list(), class = c("interrupt", "condition")))
  e <- tryCatch(mirai_map(1, interrupt)[.stop], error = identity)
  expect_match(conditionMessage(e$parent), "nterrupt")
})

test_that(".stop says why a task was lost", {
  lost <- function(x) tools::pskill(Sys.getpid(), tools::SIGKILL)
  e <- tryCatch(untold(mirai_map(1, lost)[.stop]), error = identity)
  expect_match(conditionMessage(e), "signal 9", fixed = TRUE)
  expect_match(e$parent$reason, "signal 9", fixed = TRUE)
  untold(daemons(0))
  daemons(2)
  # A field of that name in a task's own condition is that task's matter.
  own <- function(x) stop(structure(class = c("error", "condition"), list(message = "m", call = NULL, reason = function() 1)))
  expect_error(mirai_map(1, own)[.stop], "m")
})

test_that(".stop stops as soon as any element fails, and cancels what is pending", {
  held <- hold()
  held$started()
  x <- structure(list(held$m, mirai(stop("early"))), class = "mirai_map")
  e <- tryCatch(x[.stop], error = identity)
  expect_identical(e$location, 2L)
  expect_code(held$m$data, 20L)
})

test_that(".stop finds errors among values that were read before", {
  m <- mirai(stop("known"))
  call_mirai(m)
  m$data
  e <- tryCatch(collect_mirai(list(mirai(1), m), ".stop"), error = identity)
  expect_identical(e$location, 2L)
})

test_that("without cli, errors and progress are plain", {
  skip_unless_linux()
  lib <- tempfile("lib")
  dir.create(lib)
  file.symlink(find.package("mirai"), file.path(lib, "mirai"))
  code <- c(
    "stopifnot(!requireNamespace('cli', quietly = TRUE))",
    "library(mirai)",
    "e <- tryCatch(require_daemons('foo'), error = identity)",
    "cat('<1>', conditionMessage(e), '</1>', is.null(conditionCall(e)), class(e), '\\n')",
    "daemons(1)",
    "e <- tryCatch(mirai_map(list(x = 1, y = 'a'), sum)[.stop], error = identity)",
    "cat('<2>', conditionMessage(e), '</2>', is.null(conditionCall(e)), e$location, e$name, '\\n')",
    "e <- tryCatch(mirai_map(list(1L, 2), identity)[.flat], error = identity)",
    "cat('<3>', conditionMessage(e), '</3>\\n')",
    "e <- tryCatch(mirai_map(1, function(x) Sys.sleep(60), .timeout = 20)[.stop], error = identity)",
    "cat('<4>', conditionMessage(e), '</4>', e$location, '\\n')",
    "x <- mirai_map(1:3, identity)[.progress]",
    "str(x)",
    "try(mirai_map(list(1, 'a'), function(x) x + 1)[.stop, .progress])",
    "try(mirai_map(list(1, 2L), identity)[.flat, .progress])",
    "daemons(0)"
  )
  libs <- c(paste0("R_LIBS=", lib), "R_LIBS_USER=none", "R_LIBS_SITE=none")
  only_base <- sprintf("Sys.setenv(R_LIBS_SITE = 'none'); assign('.lib.loc', c('%s', .Library), envir = environment(.libPaths))", lib)
  out <- paste(run_r(c(only_base, code), libs = libs), collapse = "\n")
  if (grepl("stopifnot", out)) skip("cli is in R's own library")
  expect_match(out, "<1> No daemons set for the 'foo' compute profile.\nUse e.g. mirai::daemons(6, .compute = \"foo\") to set 6 local daemons. </1> TRUE simpleError", fixed = TRUE)
  expect_match(out, "<2> In index 2:\ninvalid 'type' (character) of argument </2> TRUE 2 y", fixed = TRUE)
  expect_match(out, "<3> Cannot flatten outputs of differing type: integer / double </3>", fixed = TRUE)
  expect_match(out, "<4> In index 1:\n5 | Timed out </4> 1", fixed = TRUE)
  expect_match(out, "[ 0 / 3 .... ]", fixed = TRUE)
  expect_match(out, "[ 1 / 3 .... ]", fixed = TRUE)
  expect_match(out, "[ 2 / 3 .... ]", fixed = TRUE)
  expect_match(out, "[ 3 / 3 done ]\n", fixed = TRUE)
  expect_match(out, "List of 3", fixed = TRUE)
  # An error begins a line.
  expect_match(out, "\nError : In index 2:", fixed = TRUE)
  expect_match(out, "\nError : Cannot flatten", fixed = TRUE)
})

test_that("progress changes nothing about the result", {
  x <- mirai_map(c(a = 1, b = 2), identity)
  utils::capture.output(type = "message", {
    expect_identical(x[.progress], list(a = 1, b = 2))
    expect_identical(x[.flat, .progress], c(a = 1, b = 2))
    expect_identical(collect_mirai(x, list(.stop = TRUE, .progress = "my bar")), list(a = 1, b = 2))
    expect_identical(collect_mirai(x, c(.stop = TRUE, .progress = "my bar")), list(a = 1, b = 2))
    expect_identical(collect_mirai(x, list(.progress = list(name = "bar", type = "tasks"))), list(a = 1, b = 2))
    expect_identical(mirai_map(list(), identity)[.progress], list())
  })
})

test_that("with cli progress is a bar of as many steps as there are elements, which ends with the collection", {
  skip_if_not_installed("cli", "3.0.0")
  gate <- tempfile("gate")
  # cli's own log of its bars. Without its clock it shows each step, however soon it comes after the one before.
  child <- spawn(c(
    "options(cli.progress_handlers_only = 'logger', cli.progress_show_after = 0)",
    "library(mirai)",
    "daemons(1)",
    sprintf("slow <- function(i) {while (i == 3 && !file.exists('%s')) Sys.sleep(0.005); i}", gate),
    "environment(slow) <- globalenv()",
    "x <- mirai_map(1:4, slow)[.progress]",
    "cat('first\\n')",
    "x <- try(mirai_map(1:2, function(i) if (i == 2) stop('no'))[.progress, .stop], silent = TRUE)",
    "cat('second\\n')"
  ), env = "CLI_NO_THREAD=1")
  await(any(grepl("2/4 updated", child$log(), fixed = TRUE)))
  expect_false("first" %in% child$log())
  file.create(gate)
  out <- child$wait()
  first <- which(out == "first")
  expect_match(out[seq_len(first)], "0/4 created", all = FALSE)
  expect_match(out[first - 1L], "4/4 terminated (done)", fixed = TRUE)
  expect_match(out[which(out == "second") - 1L], "/2 terminated (done)", fixed = TRUE)
})

test_that("a big map collects with progress in reasonable steps", {
  utils::capture.output(type = "message", x <- mirai_map(1:2000, identity)[.progress, .flat])
  expect_identical(x, 1:2000)
})

daemons(0)

test_that(".stop reports the first in the list of those that have failed by then", {
  local_pool(2)
  x <- mirai_map(1:4, function(i) stop("at ", i))
  last <- mirai("all done")
  value(last)
  call_mirai(x)
  e <- tryCatch(x[.stop], error = identity)
  expect_identical(e$location, 1L)
  # The second one fails first; by the time that this is looked at, the first one has failed, too.
  gate <- tempfile("gate")
  y <- mirai_map(1:2, function(i, gate) {
    if (i == 1L) while (!file.exists(gate)) Sys.sleep(0.005)
    stop("at ", i)
  }, .args = list(gate = gate))
  await(!unresolved(y[[2L]]))
  file.create(gate)
  await(!unresolved(y[[1L]]))
  e <- tryCatch(y[.stop], error = identity)
  expect_identical(e$location, 1L)
})

test_that("a pending mirai that has travelled says what it is", {
  local_pool(2)
  held <- hold()
  held$started()
  e <- value(mirai(m$data, m = held$m))
  expect_match(conditionMessage(e), "belongs to another session", fixed = TRUE)
  expect_false(grepl("wrap__|.Call|mirai_failure", as.character(e)))
  e <- value(mirai(m[], m = held$m))
  expect_match(conditionMessage(e), "belongs to another session", fixed = TRUE)
  held$open()
})

test_that("values may be read by a finalizer at any moment of collecting", {
  collect <- list(function(x) x[.stop], function(x) x[.flat], call_mirai, function(x) x[[1L]][], function(x) x[[1L]]$data)
  local_pool(1)
  read <- 0L
  failures <- character()
  for (how in collect) for (step in 1:100) {
    x <- mirai_map(1:2, identity)
    await(!unresolved(x))
    finalized <- new.env()
    reg.finalizer(finalized, function(e) {
      read <<- read + 1L
      for (m in unclass(x)) m$data
    })
    rm(finalized)
    # One collection of garbage, at this allocation.
    gctorture2(1000000L, step)
    result <- tryCatch(how(x), error = conditionMessage, finally = gctorture2(0L))
    if (is.character(result)) failures <- c(failures, result)
  }
  expect_identical(failures, character())
  gc()
  expect_gt(read, 100L)
})

test_that("values come in the order of the list, whatever tasks its mirai have", {
  local_pool(1)
  x <- unclass(mirai_map(1:700, identity))
  y <- unclass(mirai_map(701:800, identity))
  x[[300]][]
  single <- mirai(0L)
  order <- c(1:260, 700:261, 5:1)
  mixed <- c(x[order[1:400]], list(single), y, list(single), x[order[-(1:400)]])
  expect_identical(collect_mirai(mixed), as.list(c(order[1:400], 0L, 701:800, 0L, order[-(1:400)])))
  # Again, of those that have their values.
  expect_identical(collect_mirai(rev(mixed)), rev(collect_mirai(mixed)))
  expect_identical(vapply(x, function(m) m$value, 0L), 1:700)
})

test_that("values that have been taken stay where collecting is left by an error", {
  local_pool(1)
  x <- unclass(call_mirai(mirai_map(1:600, identity)))
  # As if it were one of another session.
  x[[500]] <- unserialize(serialize(x[[500]], NULL))
  expect_error(collect_mirai(x), "another session")
  expect_identical(x[[1]]$value, 1L)
  expect_null(x[[600]]$value)
  expect_identical(x[[600]][], 600L)
})

test_that("a mirai is read where its variables are locked", {
  local_pool(1)
  x <- unclass(mirai_map(1:3, identity))
  single <- mirai("not a number")
  for (m in c(x, list(single))) lockEnvironment(m, bindings = TRUE)
  expect_identical(collect_mirai(x), list(1L, 2L, 3L))
  expect_identical(single[], "not a number")
  for (m in c(x, list(single))) {
    expect_identical(m$value, m$data)
    expect_true(bindingIsLocked("value", m))
  }
})

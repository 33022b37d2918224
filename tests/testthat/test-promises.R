skip_if_not_installed("promises")

# Runs the event loop until a condition holds. Each turn waits for an event, at most the seconds given.
turn_until <- function(condition, seconds = 60) {
  condition <- substitute(condition)
  frame <- parent.frame()
  end <- Sys.time() + seconds
  while (!isTRUE(eval(condition, frame))) {
    if (Sys.time() > end) stop("never came true: ", paste(deparse(condition), collapse = " "))
    later::run_now(seconds)
  }
}

# How a promise ends: a list of `value` and `visible`, or of `error`.
outcome <- function(p) {
  result <- NULL
  promises::then(
    p,
    function(value, .visible) result <<- list(value = value, visible = .visible),
    function(reason) result <<- list(error = reason)
  )
  turn_until(!is.null(result))
  result
}

rejection_of <- function(p) outcome(p)$error

# A promise that is of no further interest.
ignored <- function(p) promises::then(p, NULL, function(reason) NULL)

# Before version 1.3.0 of promises nothing but a promise could be promising.
is_generic <- utils::isS3stdGeneric(promises::is.promising)

test_that("mirai and maps are promising", {
  local_pool(1)
  if (is_generic) {
    expect_true(promises::is.promising(mirai(1)))
    expect_true(promises::is.promising(mirai_map(1:2, identity)))
  }
  expect_s3_class(promises::as.promise(mirai(1)), "promise", exact = TRUE)
  expect_null(utils::getS3method("as.promise", "recvAio", optional = TRUE, envir = asNamespace("mirai")))
})

test_that("the methods are there in whatever order packages are loaded, and mirai loads neither promises nor later", {
  check <- c(
    "for (class in c('mirai', 'mirai_map')) for (generic in c('as.promise', 'is.promising'))",
    "  stopifnot(exists(paste(generic, class, sep = '.'), asNamespace('promises')$.__S3MethodsTable__.))",
    "cat('fine\\n')"
  )
  out <- run_r(c(
    "loadNamespace('mirai')",
    "stopifnot(!any(c('promises', 'later') %in% loadedNamespaces()))",
    "loadNamespace('promises')", check
  ))
  expect_true("fine" %in% out)
  expect_true("fine" %in% run_r(c("loadNamespace('promises')", "loadNamespace('mirai')", check)))
})

test_that("a promise is fulfilled with the value, visibly", {
  local_pool(1)
  expect_identical(outcome(mirai(6 * 7)), list(value = 42, visible = TRUE))
  expect_identical(outcome(mirai(NULL)), list(value = NULL, visible = TRUE))
  expect_identical(outcome(mirai(invisible("x"))), list(value = "x", visible = TRUE))
})

test_that("mirai and maps go wherever package promises takes a promise", {
  local_pool(2)
  `%...>%` <- promises::`%...>%`
  `%...!%` <- promises::`%...!%`
  expect_identical(outcome(mirai(1) %...>% {. + 1})$value, 2)
  expect_identical(outcome(mirai_map(1:3, identity) %...>% unlist())$value, 1:3)
  expect_identical(outcome(mirai(stop("caught")) %...!% conditionMessage())$value, "caught")
  expect_identical(outcome(promises::catch(mirai(stop("caught too")), conditionMessage))$value, "caught too")
  finished <- 0
  expect_identical(outcome(promises::finally(mirai("kept"), ~{finished <<- finished + 1}))$value, "kept")
  expect_identical(conditionMessage(rejection_of(promises::finally(mirai(stop("kept too")), ~{finished <<- finished + 1}))), "kept too")
  expect_identical(finished, 2)
  expect_identical(outcome(promises::promise_all(a = mirai(1), b = mirai_map(1:2, identity)))$value, list(a = 1, b = list(1L, 2L)))
  held <- hold()
  expect_identical(outcome(promises::promise_race(held$m, mirai("quick")))$value, "quick")
  held$open()
  # A chain may go on with another mirai.
  expect_identical(outcome(promises::then(mirai(2), function(x) promises::as.promise(mirai(x * 3, x = x))))$value, 6)
  expect_identical(outcome(everywhere("each"))$value, list("each", "each"))
})

test_that("a mirai has one promise", {
  local_pool(1)
  m <- mirai(1)
  p <- promises::as.promise(m)
  expect_identical(promises::as.promise(m), p)
  call_mirai(m)
  expect_identical(promises::as.promise(m), p)
  expect_identical(m[], 1)
  expect_identical(promises::as.promise(m), p)
  expect_identical(outcome(m)$value, 1)
  expect_identical(promises::as.promise(m), p)
})

test_that("the promise of a resolved mirai calls back from the event loop too", {
  local_pool(1)
  unread <- call_mirai(mirai(1))
  read <- mirai(2)
  read[]
  called <- NULL
  for (m in list(read, unread)) promises::then(m, function(value) called <<- c(called, value))
  expect_null(called)
  turn_until(length(called) == 2L)
  expect_identical(called, c(2, 1))
})

test_that("waiting and reading besides neither disturb a promise nor run its callbacks", {
  local_pool(1)
  m <- mirai("v")
  called <- FALSE
  promises::then(m, function(value) called <<- TRUE)
  expect_identical(m[], "v")
  expect_identical(m$data, "v")
  expect_false(called)
  turn_until(called)
  expect_identical(m$data, "v")
})

test_that("errors reject with the original condition", {
  local_pool(1)
  e <- rejection_of(mirai(stop("boo")))
  expect_s3_class(e, c("simpleError", "error", "condition"), exact = TRUE)
  expect_identical(conditionMessage(e), "boo")
  expect_null(conditionCall(e))
  e <- rejection_of(mirai(f(1), f = function(x) stop("boo2")))
  expect_identical(conditionMessage(e), "boo2")
  expect_identical(conditionCall(e), quote(f(1)))
  e <- rejection_of(mirai(stop(structure(class = c("my_error", "error", "condition"), list(message = "m", call = NULL, data = 1:3)))))
  expect_s3_class(e, c("my_error", "error", "condition"), exact = TRUE)
  expect_identical(e$data, 1:3)
  skip_if_not_installed("rlang")
  e <- rejection_of(mirai(rlang::abort("bullets", class = "mine", extra = "data")))
  expect_s3_class(e, c("mine", "rlang_error"))
  expect_identical(e$extra, "data")
  expect_match(conditionMessage(e), "bullets")
})

test_that("interrupts reject", {
  local_pool(1)
  e <- rejection_of(mirai(signalCondition(structure(class = c("interrupt", "condition"), list(message = "", call = NULL)))))
  expect_s3_class(e, c("miraiInterruptError", "simpleError", "error", "condition"), exact = TRUE)
  expect_identical(conditionMessage(e), "Interrupted")
})

test_that("the rejection of a lost task says why", {
  local_pool(1)
  e <- rejection_of(mirai(tools::pskill(Sys.getpid(), tools::SIGKILL)))
  expect_identical(e$code, 19L)
  expect_match(e$reason, "signal 9", fixed = TRUE)
})

expect_code_rejection <- function(p, code, message) {
  e <- rejection_of(p)
  expect_s3_class(e, c("miraiCodeError", "simpleError", "error", "condition"), exact = TRUE)
  expect_identical(conditionMessage(e), message)
  expect_identical(e$code, code)
}

test_that("timeouts, cancellation, lost daemons and resets reject with their code", {
  local_pool(1)
  held <- hold()
  expect_code_rejection(mirai(1, .timeout = 20), 5L, "5 | Timed out")
  m <- mirai(1)
  p <- promises::as.promise(m)
  stop_mirai(m)
  expect_code_rejection(p, 20L, "20 | Operation canceled")
  held$open()
  expect_code_rejection(mirai(tools::pskill(Sys.getpid(), 9L)), 19L, "19 | Connection reset")
  pending <- promises::as.promise(mirai(repeat Sys.sleep(0.005)))
  daemons(0)
  expect_code_rejection(pending, 19L, "19 | Connection reset")
})

test_that("a value with the class of an error value rejects", {
  local_pool(1)
  e <- rejection_of(mirai(structure("odd", class = "errorValue")))
  expect_s3_class(e, c("simpleError", "error", "condition"), exact = TRUE)
  expect_identical(conditionMessage(e), "odd")
})

test_that("a promise keeps itself alive", {
  local_pool(1)
  held <- hold()
  result <- NULL
  local({
    m <- mirai("kept")
    promises::then(promises::as.promise(m), function(value) result <<- value)
    NULL
  })
  for (i in 1:2) gc()
  held$open()
  for (i in 1:2) gc()
  turn_until(!is.null(result))
  expect_identical(result, "kept")
})

test_that("thousands wait without a timer, and are called in order of completion", {
  local_pool(1)
  held <- hold()
  order <- integer()
  for (i in 1:2000) local({
    i <- i
    promises::then(mirai(NULL), function(value) order <<- c(order, i))
  })
  while (later::run_now(0)) NULL
  expect_true(later::loop_empty())
  expect_identical(order, integer())
  held$open()
  turn_until(length(order) == 2000L)
  expect_identical(order, 1:2000)
})

test_that("completion wakes a loop that waits", {
  local_pool(1)
  held <- hold()
  p <- promises::as.promise(held$m)
  while (later::run_now(0)) NULL
  held$open()
  # Nothing but the end of the task can end this.
  expect_true(later::run_now(Inf))
  expect_identical(outcome(p)$value, "held")
})

test_that("without daemons and with synchronous ones it is the same", {
  expect_identical(outcome(mirai("alone"))$value, "alone")
  expect_code_rejection(mirai(quit("no", 3)), 19L, "19 | Connection reset")
  local_pool(sync = TRUE)
  expect_identical(outcome(mirai("here"))$value, "here")
  expect_identical(conditionMessage(rejection_of(mirai(stop("wrong here")))), "wrong here")
  expect_identical(outcome(mirai_map(c(a = 1, b = 2), identity))$value, list(a = 1, b = 2))
})

test_that("errors are raised in a callback of a promise, where promise domains see them", {
  local_pool(1)
  seen <- NULL
  domain <- promises::new_promise_domain(function(onFulfilled) {
    force(onFulfilled)
    function(...) withCallingHandlers(onFulfilled(...), error = function(e) seen <<- c(seen, conditionMessage(e)))
  })
  promises::with_promise_domain(domain, {
    one <- promises::as.promise(mirai(stop("one")))
    map <- promises::as.promise(mirai_map(1, function(x) stop("map")))
  })
  rejection_of(one)
  rejection_of(map)
  expect_identical(seen, c("one", "map"))
})

# ---- maps

test_that("a map is fulfilled with the list of its values", {
  local_pool(2)
  expect_identical(outcome(mirai_map(1:3, function(x) x * 2L)), list(value = list(2L, 4L, 6L), visible = TRUE))
  expect_identical(outcome(mirai_map(c(a = 1, b = 2), identity))$value, list(a = 1, b = 2))
  expect_identical(outcome(mirai_map(list(), identity))$value, list())
  expect_identical(outcome(mirai_map(list(1, NULL), identity))$value, list(1, NULL))
  frame <- structure(list(x = 1:3), class = "data.frame", row.names = c("u", "", "u"))
  expect_identical(names(outcome(mirai_map(frame, function(x) x))$value), c("u", "", "u"))
})

test_that("a map has one promise", {
  local_pool(1)
  x <- mirai_map(c(a = 1, b = 2), identity)
  p <- promises::as.promise(x)
  y <- x
  expect_identical(promises::as.promise(y), p)
  expect_false(identical(promises::as.promise(x[1]), p))
  expect_identical(promises::as.promise(x[1]), promises::as.promise(x["a"]))
  expect_identical(outcome(p)$value, list(a = 1, b = 2))
  expect_identical(outcome(x[1])$value, list(a = 1))
  expect_identical(promises::as.promise(x), p)
  nothing <- mirai_map(NULL, identity)
  expect_identical(promises::as.promise(nothing), promises::as.promise(nothing))
})

test_that("a map is rejected with the first error to occur, and others go on", {
  local_pool(2)
  held <- hold()
  x <- structure(
    c(list(held$m), unclass(mirai_map(1:2, function(x) stop("number ", x)))),
    class = "mirai_map"
  )
  e <- rejection_of(x)
  expect_match(conditionMessage(e), "number 1")
  expect_true(unresolved(x[[1]]))
  held$open()
  expect_identical(value(x[[1]]), "held")
})

test_that("a map of which tasks are stopped, lost, late or reset is rejected with their code", {
  local_pool(1)
  endless <- function(x) repeat Sys.sleep(0.005)
  x <- mirai_map(1:2, endless)
  p <- promises::as.promise(x)
  stop_mirai(x)
  expect_code_rejection(p, 20L, "20 | Operation canceled")
  expect_code_rejection(mirai_map(1:2, endless, .timeout = 50), 5L, "5 | Timed out")
  expect_code_rejection(mirai_map(1, function(x) tools::pskill(Sys.getpid(), 9L)), 19L, "19 | Connection reset")
  p <- promises::as.promise(mirai_map(1:2, endless))
  daemons(0)
  expect_code_rejection(p, 19L, "19 | Connection reset")
})

test_that("a map with an error that has been read is rejected at once", {
  local_pool(2)
  held <- hold()
  bad <- mirai(stop("read"))
  bad[]
  good <- mirai(1)
  good[]
  expect_identical(conditionMessage(rejection_of(structure(list(held$m, good, bad), class = "mirai_map"))), "read")
  expect_true(unresolved(held$m))
  held$open()
  expect_identical(outcome(structure(list(held$m, good), class = "mirai_map"))$value, list("held", 1))
})

test_that("elements of a map have promises of their own", {
  local_pool(1)
  x <- mirai_map(1:2, function(x) if (x == 2) stop("second") else x)
  all <- promises::as.promise(x)
  ignored(all)
  expect_identical(outcome(x[[1]])$value, 1L)
  expect_identical(conditionMessage(rejection_of(x[[2]])), "second")
  expect_identical(conditionMessage(rejection_of(all)), "second")
})

test_that("`.promise` is registered on each element, its results dropped", {
  local_pool(1)
  seen <- NULL
  x <- mirai_map(c(a = 1, b = 2), identity, .promise = function(value) {
    seen <<- c(seen, value)
    stop("dropped") |> try(silent = TRUE)
  })
  expect_s3_class(x, "mirai_map", exact = TRUE)
  turn_until(length(seen) == 2L)
  expect_identical(seen, c(1, 2))
  expect_identical(x[], list(a = 1, b = 2))

  both <- list()
  mirai_map(1:2, function(x) if (x == 2) stop("no") else "yes", .promise = list(
    function(value) both$good <<- value,
    function(reason) both$bad <<- conditionMessage(reason)
  ))
  turn_until(length(both) == 2L)
  expect_identical(both[c("good", "bad")], list(good = "yes", bad = "no"))

  one <- NULL
  mirai_map(3, identity, .promise = list(~ {
    one <<- .x
  }))
  turn_until(!is.null(one))
  expect_identical(one, 3)

  # A first function alone, written as two.
  alone <- NULL
  mirai_map(4, identity, .promise = list(function(value) alone <<- value, NULL))
  turn_until(!is.null(alone))
  expect_identical(alone, 4)
})

test_that("`.promise` without a second function leaves failures unhandled, which promises tells", {
  out <- run_r(c(
    "library(mirai)",
    "daemons(1)",
    "x <- mirai_map(1, function(x) stop('lonely'), .promise = function(value) value)",
    "reason <- NULL",
    "promises::then(x[[1]], NULL, function(e) reason <<- e)",
    "while (is.null(reason)) later::run_now(30)",
    "while (later::run_now(0)) gc()",
    "daemons(0)"
  ))
  expect_match(out, "Unhandled promise error: lonely", fixed = TRUE, all = FALSE)
})

test_that("`.promise` is checked before anything is submitted", {
  local_pool(1)
  wrong <- "`.promise` must be a function, or a list of one or two functions"
  expect_refused(mirai_map(1, identity, .promise = "f"), wrong, "mirai_map")
  expect_refused(mirai_map(1, identity, .promise = list()), wrong, "mirai_map")
  expect_refused(mirai_map(1, identity, .promise = list(identity, 1)), wrong, "mirai_map")
  expect_refused(mirai_map(1, identity, .promise = list(identity, identity, identity)), wrong, "mirai_map")
  expect_refused(mirai_map(1, identity, .promise = y ~ x), wrong, "mirai_map")
  expect_identical(info()[["awaiting"]] + info()[["executing"]] + info()[["completed"]], 0L)
})

# ---- the process around it

test_that("promises resolve while the prompt is idle", {
  skip_on_os("windows")
  done <- tempfile("done")
  log <- tempfile("log")
  command <- sprintf(
    "env R_LIBS=%s %s --interactive --no-readline --vanilla --quiet >%s 2>&1",
    shQuote(paste(.libPaths(), collapse = ":")), shQuote(file.path(R.home("bin"), "R")), shQuote(log)
  )
  prompt <- pipe(command, "w")
  defer(close(prompt))
  writeLines(c(
    "library(mirai)",
    "daemons(1)",
    sprintf("invisible(promises::then(mirai(42), function(value) writeLines(format(value), '%s')))", done)
  ), prompt)
  flush(prompt)
  await(file.exists(done) && length(readLines(done)) == 1L)
  expect_identical(readLines(done), "42")
  writeLines("daemons(0)", prompt)
})

test_that("in a forked child promises of its parent's tasks are rejected, values that are there are passed on", {
  skip_on_os("windows")
  local_pool(1)
  held <- hold()
  ignored(held$m)
  read <- mirai("read")
  known <- mirai("known")
  promises::as.promise(known)
  open <- mirai(1)
  held$open()
  read[]
  call_mirai(open)
  # The turn that `known` has asked for is the parent's.
  child <- parallel::mclapply(1:2, mc.cores = 2, FUN = function(i) {
    turn <- later::run_now(0)
    list(read = outcome(read)$value, open = conditionMessage(rejection_of(open)))
  })[[1L]]
  expect_identical(child$read, "read")
  expect_match(child$open, "forked")
  expect_identical(outcome(known)$value, "known")
})

test_that("an error in the loop's turn does not hold up others", {
  then <- function(f) checked(.Call(wrap__tasks_then, list(), f, 0L))
  environment(then) <- list2env(list(f = NULL), parent = asNamespace("mirai"))
  seen <- NULL
  then(function(failed) stop("not a promise's function"))
  then(function(failed) seen <<- failed)
  expect_error(utils::capture.output(later::run_now(0), type = "message"))
  turn_until(!is.null(seen))
  expect_identical(seen, 0L)
  expect_error(then(1), "`f` must be a function", fixed = TRUE)
})

test_that("promises survive that mirai is unloaded, and a session ends in peace with some pending", {
  out <- run_r(c(
    "library(mirai)",
    "daemons(1)",
    "reason <- NULL",
    "promises::then(mirai(Sys.sleep(60)), NULL, function(e) reason <<- conditionMessage(e))",
    "detach('package:mirai')",
    "unloadNamespace('mirai')",
    "while (is.null(reason)) later::run_now(30)",
    "cat(reason, '\\n')"
  ))
  expect_match(out, "19 | Connection reset", fixed = TRUE, all = FALSE)

  script <- tempfile(fileext = ".R")
  writeLines(c(
    "library(mirai)",
    "daemons(2)",
    "for (i in 1:200) promises::then(mirai(Sys.sleep(if (i > 100) 60 else 0)), ~ NULL, ~ NULL)",
    "later::run_now(30)",
    "quit('no', 7)"
  ), script)
  for (i in 1:3)
    expect_identical(system2(rscript, shQuote(script), stdout = FALSE, stderr = FALSE, env = child_env()), 7L)
})

test_that("a promise made in a private event loop settles there, and stays the one promise", {
  skip_if_not_installed("promises")
  local_pool(1)
  private <- later::create_loop(parent = NULL)
  defer(later::destroy_loop(private))
  seen <- character()
  note <- function(value) seen <<- c(seen, value)
  done <- mirai("resolved before")
  value(done)
  held <- hold()
  later::with_loop(private, {
    first <- promises::as.promise(held$m)
    promises::then(held$m, note)
    promises::then(done, note)
  })
  expect_identical(promises::as.promise(held$m), first)
  # The first turn passes on that the task has an outcome, further ones what was made of it.
  for (i in 1:10) later::run_now(loop = private)
  expect_identical(seen, "resolved before")
  held$open()
  value(held$m)
  for (i in 1:10) later::run_now(loop = later::global_loop())
  expect_identical(seen, "resolved before")
  await({
    later::run_now(loop = private)
    length(seen) == 2L
  })
  expect_identical(seen[2L], "held")
})

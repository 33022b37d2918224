# Synchronous profiles (contract 02): evaluation in this session, which must not notice.

test_that("a mirai is resolved when mirai() returns, by an evaluation in this process", {
  local_pool(sync = TRUE)
  m <- mirai(list(Sys.getpid(), on_daemon = mirai::on_daemon()))
  expect_false(unresolved(m))
  expect_identical(m$data, list(Sys.getpid(), on_daemon = TRUE))
  expect_identical(m[], m$data)
  expect_output(print(m), "< mirai [$data] >", fixed = TRUE)
  expect_false(on_daemon())
  expect_null(mirai(NULL)[])
})

test_that("errors are error values with their trace, and the session goes on", {
  local_pool(sync = TRUE)
  e <- mirai(f(1), f = function(x) stop("boo"))[]
  expect_s3_class(e, "miraiError")
  expect_identical(as.character(e), "Error in f(1): boo")
  expect_identical(e$stack.trace, list(quote(stop("boo")), quote(f(1))))
  expect_identical(mirai(1)[], 1)
})

test_that("stop() with a condition that is not an error is a miraiError, as on a daemon", {
  local_pool(sync = TRUE)
  custom <- structure(class = c("custom", "condition"), list(message = "own", call = quote(f(x)), data = 1:3))
  utils::capture.output(type = "message", {
    e <- mirai(stop(s), s = custom)[]
    left <- mirai(invokeRestart("abort"))[]
  })
  expect_s3_class(e, c("miraiError", "errorValue", "try-error"), exact = TRUE)
  expect_identical(as.vector(e), "Error in f(x): own")
  expect_identical(e$condition.class, c("custom", "condition"))
  expect_identical(e$data, 1:3)
  expect_s3_class(left, "miraiError")
  # What has been put away is there again, and later tasks are evaluated as ever.
  expect_identical(mirai(1)[], 1)
  expect_false(on_daemon())
})

condition <- function(class, message, call = NULL)
  structure(class = c(class, "condition"), list(message = message, call = call))

# Expressions, and `x` in them.
ways_to_leave <- list(
  quote(stop(x)), quote(do.call(stop, list(x))), quote(tryCatch(stop(x), error = identity)),
  quote(tryCatch(stop(x), condition = function(c) class(c))), quote(tryCatch(stop(x), finally = NULL)),
  quote(signalCondition(x)), quote(list(signalCondition(x), "after")), quote(message(x)), quote(warning(x)),
  quote(withCallingHandlers(signalCondition(x), condition = function(c) invokeRestart("abort"))),
  quote(withCallingHandlers(stop(x), condition = function(c) invokeRestart("mine"))),
  quote(withRestarts(withCallingHandlers(stop(x), condition = function(c) invokeRestart("mine", 5)), mine = function(n) n))
)

other_ways_to_leave <- list(
  quote(tryCatch(warning("caught"), warning = function(w) stop(w))), quote(suppressWarnings({warning("w"); 1})),
  quote(invokeRestart("abort")), quote(invokeRestart("muffleWarning")), quote(invokeRestart("muffleMessage")),
  quote(invokeRestart("nothing")), quote(invokeRestart(computeRestarts()[[1L]])), quote(signalCondition("text")),
  quote(withCallingHandlers({warning("w"); 3}, warning = function(w) invokeRestart("muffleWarning"))),
  quote(withCallingHandlers({message("m"); 3}, message = function(m) invokeRestart("muffleMessage"))),
  quote(withCallingHandlers({warning("w"); 3}, warning = function(w) invokeRestart("abort"))),
  quote({options(warn = 2); warning("turned")}), quote(return(7)), quote(break), quote(evalq(return(9), parent.frame())),
  quote((function() {delayedAssign("leave", return(5)); leave; 6})()), quote({f <- function(n) f(n + 1); f(1)}),
  quote(stop(domain = NA)), quote(stop("a", "b", call. = FALSE))
)

test_that("whatever way an expression is left, the outcome is that of a daemon", {
  conditions <- list(
    condition(NULL, "plain"), condition("custom", "own", quote(f(x))), condition("message", "ends the line\n"),
    condition(c("simpleMessage", "message"), "does not"), simpleWarning("warned", quote(g())), simpleError("failed", quote(h(1))),
    condition(c("special", "error"), "special"), condition("interrupt", ""), condition("custom", strrep("long ", 1000))
  )
  # In a process of its own, as the handlers of testthat would have their say in a synchronous evaluation.
  cases <- tempfile("cases")
  saved <- tempfile("outcomes")
  saveRDS(list(conditions, ways_to_leave, other_ways_to_leave), cases)
  log <- run_r(c(
    "library(mirai)",
    sprintf("cases <- readRDS('%s')", cases),
    "one <- function(expr, x = NULL) mirai(eval(expr), .args = list(expr = expr, x = x))[]",
    "outcomes <- function(...) with(daemons(...), c(",
    "  unlist(lapply(cases[[1]], function(x) lapply(cases[[2]], one, x)), recursive = FALSE),",
    "  lapply(cases[[3]], one)",
    "))",
    sprintf("saveRDS(list(here = outcomes(sync = TRUE), there = outcomes(1)), '%s')", saved)
  ))
  if (!file.exists(saved)) stop("no outcomes: ", paste(log, collapse = "\n"))
  here <- readRDS(saved)$here
  there <- readRDS(saved)$there
  expect_length(there, 9L * length(ways_to_leave) + length(other_ways_to_leave))
  for (i in seq_along(there)) expect_identical(here[[i]], there[[i]], info = i)
  said <- vapply(there[seq(1L, by = length(ways_to_leave), length.out = 7L)], as.vector, "")
  expect_identical(said, paste0("Error", c(
    ": plain", " in f(x): own", ": ends the line\n", ": does not", " in g(): warned", " in h(1): failed", ": special"
  )))
})

test_that("an interrupt as a task ends leaves the session as it was", {
  skip_on_os("windows")
  global <- globalenv()
  assign(".sync_kept", 5, global)
  defer(rm(".sync_kept", envir = global))
  local_pool(sync = TRUE)
  # Pending when the task has ended, sooner or later: it is seen where R looks for interrupts.
  for (n in c(0:20, 100, 300, 1000, 3000)) {
    tryCatch(
      {
        m <- mirai({
          tools::pskill(Sys.getpid(), tools::SIGINT)
          for (i in seq_len(n)) identity(i)
        }, n = n)
        if (!is_mirai_interrupt(m[])) Sys.sleep(30)
      },
      interrupt = function(e) NULL
    )
    expect_identical(get0(".sync_kept", global), 5)
    expect_false(on_daemon())
  }
  expect_identical(mirai(1)[], 1)
})

test_that("other arguments are ignored, and profiles have names", {
  local_pool("no number", url = 5, dispatcher = "no", nonsense = 1, memory = "x", serial = 1, sync = TRUE, .compute = "here")
  expect_identical(mirai(Sys.getpid(), .compute = "here")[], Sys.getpid())
  expect_false(daemons_set())
  expect_match(status("here")$daemons, "^inproc://")
  expect_s3_class(try_mirai(1, .compute = "here"), "mirai")
})

test_that("what everywhere() attaches stays attached, in the host too", {
  local_pool(sync = TRUE)
  defer(if ("package:stats4" %in% search()) detach("package:stats4"))
  everywhere(library(stats4))
  expect_true("package:stats4" %in% search())
  expect_true("package:stats4" %in% mirai(search())[])
  expect_true("package:stats4" %in% search())
})

test_that("browser() stops in the task, where its variables can be looked at", {
  code <- c(
    "library(mirai)", "daemons(sync = TRUE)", "y <- 'of the host'",
    "m <- mirai({x <- 41; browser(); x + 1})",
    "cat('in the task:', x, exists('y'), '\\n')", "x <- 99", "c",
    "cat('value:', m[], y, '\\n')",
    "m <- mirai({browser(); 1})", "Q",
    "cat('after:', mirai(2)[], y, on_daemon(), '\\n')"
  )
  out <- system2(file.path(R.home("bin"), "R"), c("--no-save", "--no-restore", "--quiet", "--interactive", "--no-readline"),
                 input = code, stdout = TRUE, stderr = TRUE, env = child_env())
  expect_match(out, "^in the task: 41 FALSE", all = FALSE)
  expect_match(out, "^value: 100 of the host", all = FALSE)
  expect_match(out, "^after: 2 of the host FALSE", all = FALSE)
})

test_that("debug() and debugonce() stop in functions that travel to the task, those of maps and of closures too", {
  code <- c(
    "library(mirai)", "daemons(sync = TRUE)",
    "f <- function(x) x + 1", "debug(f)",
    "m <- mirai(f(41), f = f)", "cat('first:', x, '\\n')", "c", "cat('value:', m[], '\\n')",
    "m <- mirai_map(5, f)", "cat('mapped:', x, '\\n')", "c", "cat('value:', m[][[1]], '\\n')",
    "m <- mirai(l(), l = local({h <- f; function() h(7)}))", "cat('inner:', x, '\\n')", "c", "cat('value:', m[], '\\n')",
    "undebug(f)", "m <- mirai(f(1), f = f)", "cat('undebugged:', m[], '\\n')",
    "debugonce(f)", "m <- mirai(c(f(10), f(20)), f = f)", "cat('once:', x, '\\n')", "c", "cat('value:', m[], '\\n')",
    "cat('here:', f(1), '\\n')"
  )
  out <- system2(file.path(R.home("bin"), "R"), c("--no-save", "--no-restore", "--quiet", "--interactive", "--no-readline"),
                 input = code, stdout = TRUE, stderr = TRUE, env = child_env())
  said <- grep("^(first|value|mapped|inner|undebugged|once|here):", out, value = TRUE)
  expect_identical(trimws(said), c("first: 41", "value: 42", "mapped: 5", "value: 6", "inner: 7", "value: 8", "undebugged: 2",
                                   "once: 10", "value: 11 21", "here: 2"))
})

test_that("looking for functions to debug evaluates nothing", {
  local_pool(sync = TRUE)
  make <- function(promised, forced) {
    force(forced)
    makeActiveBinding("active", function() stop("looked at"), environment())
    function() forced
  }
  f <- make(stop("evaluated"), 5)
  g <- (function(promised) function() 6)(1)
  expect_identical(mirai(c(f(), g()), g = g, f = function() 5)[], c(5, 6))
  env <- new.env()
  env$self <- env
  env$list <- list(env)
  expect_identical(mirai(length(ls(env)), env = env)[], 2L)
  expect_false(mirai:::holds_value("active", environment(f)))
  expect_false(mirai:::holds_value("promised", environment(g)))
  expect_false(mirai:::holds_value("promised", environment(f)))
})

test_that("arguments and values pass through serialization", {
  local_pool(sync = TRUE)
  env <- new.env()
  returned <- mirai({
    env$seen <- TRUE
    env
  }, .args = list(env = env))[]
  expect_null(env$seen)
  expect_true(returned$seen)
})

test_that("the global environment of the host is hidden, and comes back as it was", {
  global <- globalenv()
  assign(".sync_plain", 5, global)
  makeActiveBinding(".sync_active", function() 42, global)
  assign(".sync_locked", 1, global)
  lockBinding(".sync_locked", global)
  on.exit({
    unlockBinding(".sync_locked", global)
    rm(".sync_plain", ".sync_active", ".sync_locked", envir = global)
  })
  local_pool(sync = TRUE)
  seen <- mirai({
    assign(".sync_new", 1, envir = globalenv())
    ls(globalenv(), all.names = TRUE)
  })[]
  expect_false(".sync_plain" %in% seen)
  expect_true(".sync_new" %in% seen)
  expect_identical(get(".sync_plain", global), 5)
  expect_false(exists(".sync_new", global))
  expect_true(bindingIsActive(".sync_active", global))
  expect_true(bindingIsLocked(".sync_locked", global))
  expect_identical(get(".sync_active", global), 42)
})

test_that("where the host's variables cannot be put away, that is an error, and the next task is hidden from them again", {
  global <- globalenv()
  delayedAssign(".sync_promise", stop("cannot be read"), assign.env = global)
  local_pool(sync = TRUE)
  expect_error(mirai(1), "cannot be read", fixed = TRUE)
  rm(.sync_promise, envir = global)
  expect_identical(mirai(.sync_new <<- 1)[], 1)
  expect_false(exists(".sync_new", global))
})

test_that("a task may be given whatever a daemon takes", {
  generics <- c("length", "names", "[[", "$")
  for (name in generics) registerS3method(name, "sync_hostile", function(x, ...) stop("asked"))
  defer(rm(list = paste0(generics, ".sync_hostile"), envir = get(".__S3MethodsTable__.", baseenv())))
  nested <- list()
  for (i in 1:3000) nested <- list(nested)
  with_missing <- (function(x) environment())()
  local_pool(sync = TRUE)
  expect_identical(mirai(class(x), x = structure(list(1), class = "sync_hostile"))[], "sync_hostile")
  expect_identical(mirai(class(x), x = structure(new.env(), class = "sync_hostile"))[], "sync_hostile")
  expect_true(mirai(is.list(x), x = nested)[])
  expect_identical(mirai(ls(x), x = with_missing)[], "x")
  expect_null(attributes(mirai(x, x = new.env())[]))
})

test_that("everywhere() makes one evaluation, whose effects later tasks see", {
  local_pool(sync = TRUE)
  expect_length(everywhere(.sync_x <<- 1), 1L)
  expect_identical(mirai(.sync_x)[], 1)
  expect_identical(everywhere({}, .sync_y = 2)[], list(NULL))
  expect_identical(mirai(.sync_x + .sync_y)[], 3)
  expect_false(exists(".sync_x", globalenv()))
})

test_that("options and attached packages are put back", {
  local_pool(sync = TRUE)
  digits <- getOption("digits")
  before <- search()
  mirai(options(digits = 3, sync.new = TRUE))[]
  mirai(library(stats4))[]
  expect_identical(getOption("digits"), digits)
  expect_null(getOption("sync.new"))
  expect_identical(search(), before)
})

test_that("the host gets its variables back whatever a task has done to the global environment", {
  global <- globalenv()
  assign(".sync_kept", 5, global)
  defer(rm(".sync_kept", envir = global))
  mask <- if (.Platform$OS.type == "unix") Sys.umask()
  level <- compiler::enableJIT(-1L)
  local_pool(sync = TRUE)
  everywhere(.sync_x <<- 1)
  mirai(lockEnvironment(globalenv(), bindings = TRUE))[]
  expect_identical(get(".sync_kept", global), 5)
  mirai({
    rm(.sync_x, envir = globalenv())
    makeActiveBinding(".sync_x", function() stop("looked at"), globalenv())
  })[]
  expect_identical(get(".sync_kept", global), 5)
  mirai({
    Sys.umask("0123")
    compiler::enableJIT(0)
    mirai::daemons(sync = TRUE, .compute = "inner")
  })[]
  if (!is.null(mask)) expect_identical(Sys.umask(), mask)
  expect_identical(compiler::enableJIT(-1L), level)
  expect_false(daemons_set("inner"))
  expect_identical(mirai(.sync_x + a, a = 1)[], 2)
  everywhere(delayedAssign(".sync_y", stop("forced"), assign.env = globalenv()))
  expect_identical(get(".sync_kept", global), 5)
  expect_identical(mirai(.sync_x)[], 1)
})

test_that("a time limit of the session's own outlives a task", {
  local_pool(sync = TRUE)
  setTimeLimit(elapsed = 0.2)
  defer(setTimeLimit())
  mirai(1)[]
  expect_error(for (i in 1:3000) Sys.sleep(0.01), "elapsed time limit")
})

test_that("the host's random numbers are neither used nor changed", {
  local_pool(sync = TRUE)
  set.seed(1)
  before <- get(".Random.seed", globalenv())
  mirai(runif(3))[]
  expect_identical(get(".Random.seed", globalenv()), before)
  set.seed(1)
  a <- mirai(runif(1))[]
  set.seed(1)
  expect_false(identical(a, mirai(runif(1))[]))
})

test_that("with a seed the numbers are those of daemons", {
  draws <- function(...) {
    daemons(..., seed = 123L)
    on.exit(daemons(0))
    call_mirai(everywhere(runif(1)))
    c(mirai(runif(1))[], unlist(mirai_map(1:3, function(i) runif(1))[]), try_mirai(rnorm(1))[])
  }
  expect_identical(draws(sync = TRUE), draws(2))
})

test_that("maps, collection and races work", {
  local_pool(sync = TRUE)
  expect_identical(mirai_map(c(a = 1, b = 2), function(x, y) x + y, .args = list(y = 1))[], list(a = 2, b = 3))
  expect_error(mirai_map(1:3, function(x) if (x == 2) stop("two") else x)[.stop], "two")
  expect_identical(race_mirai(list(mirai(1), mirai(2))), 1L)
  expect_false(stop_mirai(mirai(1)))
})

test_that("a task may submit to its own profile", {
  local_pool(sync = TRUE)
  expect_identical(mirai(mirai::mirai(1 + 1)[] + 1)[], 3)
})

test_that("a timeout of 0 resolves to 5; others don't cut an evaluation", {
  local_pool(sync = TRUE)
  expect_equal(as.integer(mirai(1, .timeout = 0)[]), 5L)
  expect_identical(mirai(1, .timeout = 1)[], 1)
})

test_that("queries know a synchronous profile", {
  local_pool(sync = TRUE)
  expect_identical(info(), c(connections = 0L, cumulative = NA, awaiting = NA, executing = NA, completed = NA))
  expect_identical(status()$connections, 0L)
  expect_match(status()$daemons, "^inproc://[0-9a-f]{24}$")
  expect_identical(nextget("url"), status()$daemons)
  expect_true(daemons_set())
  expect_error(launch_local(1), "daemons cannot be launched for synchronous compute profiles")
})

test_that("ordinary daemons work afterwards", {
  daemons(sync = TRUE)
  mirai(1)[]
  daemons(1)
  on.exit(daemons(0))
  expect_false(identical(mirai(Sys.getpid())[], Sys.getpid()))
})

test_that("output goes to the console", {
  local_pool(sync = TRUE)
  expect_output(mirai(cat("here"))[], "here")
})

# Tasks that wait while nobody will serve them are not waited for in silence.

skip_within_check()

# The value of an expression, and the warnings and messages on the way; `at_first` is called at the first of these.
noted <- function(expr, at_first = function() NULL) {
  notes <- list(warnings = character(), messages = character())
  take <- function(kind, restart) function(condition) {
    if (!length(unlist(notes))) at_first()
    notes[[kind]] <<- c(notes[[kind]], conditionMessage(condition))
    invokeRestart(restart)
  }
  value <- withCallingHandlers(expr, warning = take("warnings", "muffleWarning"), message = take("messages", "muffleMessage"))
  c(list(value = value), notes)
}

start_one <- function() launch_local(1)

test_that("a wait for tasks that nobody will serve warns once, goes on, and ends with a daemon", {
  for (wait in list(
    function() list(mirai("late")[]),
    function() mirai_map("late", identity)[],
    function() {
      m <- mirai("late")
      expect_identical(race_mirai(list(m)), 1L)
      list(m[])
    }
  )) {
    local_pool(1, maxtasks = 1)
    mirai(1)[]
    await(info()[["connections"]] == 0L)
    got <- noted(wait(), start_one)
    expect_identical(got$value, list("late"))
    expect_length(got$messages, 0L)
    expect_length(got$warnings, 1L)
    expect_match(got$warnings, "^mirai: a task waits, and no daemon is there or being started: launch_local\\(\\) starts one\\.$")
  }
})

test_that("it names another profile than the default one", {
  local_pool(1, maxtasks = 1, .compute = "other \"one\"")
  mirai(1, .compute = "other \"one\"")[]
  await(info("other \"one\"")[["connections"]] == 0L)
  m <- mirai("late", .compute = "other \"one\"")
  got <- noted(m[], function() launch_local(1, .compute = "other \"one\""))
  expect_identical(got$value, "late")
  expect_match(got$warnings, "mirai: a task of profile \"other \\\"one\\\"\" waits, and", fixed = TRUE)
  expect_match(got$warnings, "launch_local(.compute = \"other \\\"one\\\"\") starts one.", fixed = TRUE)
})

test_that("it says how many wait, and how the last daemon died; status() tells who is being started", {
  local_pool(1, heal = FALSE)
  expect_identical(status()$starting, 0L)
  tools::pskill(daemon_pids(), tools::SIGKILL)
  await(info()[["connections"]] == 0L)
  x <- mirai_map(1:3, identity)
  got <- noted(x[.flat], function() {
    launch_local(1)
    expect_lte(status()$starting, 1L)
  })
  expect_identical(got$value, 1:3)
  expect_match(got$warnings, "3 tasks wait, .* The last death: daemon 1 \\(process [0-9]+\\) was ended by signal 9")
  expect_identical(status()$starting, 0L)
})

test_that("where daemons come from elsewhere a message says it, once", {
  local_pool(url = local_url())
  m <- mirai("late")
  got <- noted(m[], start_one)
  expect_identical(got$value, "late")
  expect_length(got$warnings, 0L)
  expect_identical(got$messages, "mirai: a task waits, and no daemon has connected yet\n")
})

test_that("where warnings are errors, what is told of daemons is a message, and no value is lost", {
  local_pool(1, maxtasks = 1)
  mirai(1)[]
  await(info()[["connections"]] == 0L)
  before <- options(warn = 2)
  defer(options(before))
  m <- mirai("late")
  got <- noted(m[], start_one)
  expect_identical(got$value, "late")
  expect_length(got$warnings, 0L)
  expect_match(got$messages, "^mirai: a task waits")
  # So it is with a death.
  daemons(1)
  dead <- mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))
  got <- noted({
    expect_code(value(dead), 19L)
    await({info(); info()[["cumulative"]] == 2L})
    value(mirai("fine"))
  })
  expect_identical(got$value, "fine")
  expect_length(got$warnings, 0L)
  expect_match(got$messages, "^mirai: a daemon has died")
})

test_that("who has switched warnings off is told nothing", {
  child <- spawn(c(
    "library(mirai)",
    "options(warn = -1)",
    "daemons(1)",
    "print(mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))[])",
    "while (!nrow(status()$deaths)) Sys.sleep(0.01)",
    "cat('end\n')"
  ))
  log <- child$wait()
  expect_false(any(grepl("a daemon has died", log)))
  expect_identical(utils::tail(log, 1L), "end")
})

test_that("the event loop tells it by a message to who waits by promises", {
  needs_package("promises", "1.2.0")
  # In a process of its own: what the event loop calls has no handlers around it.
  child <- spawn(c(
    "library(mirai)",
    "options(warn = 2)",
    "daemons(1, maxtasks = 1)",
    "mirai(1)[]",
    "while (info()[['connections']] > 0L) Sys.sleep(0.01)",
    "come <- FALSE",
    "promises::then(promises::as.promise(mirai('late')), function(value) come <<- value == 'late')",
    "told <- tempfile()",
    "sink(file(told, 'w'), type = 'message')",
    "run_until <- function(f) while (!f()) later::run_now(1)",
    "run_until(function() any(grepl('^mirai: a task waits, and no daemon is there', readLines(told))))",
    "launch_local(1)",
    "run_until(function() come)",
    "cat('come after', length(readLines(told)), 'message\n')"
  ))
  expect_identical(utils::tail(child$wait(), 1L), "come after 1 message")
})

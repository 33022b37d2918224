

skip_within_check()
skip_if_not_installed("shiny")

# A process that runs these lines, in which `tell(url)` says where the app is, `replace(text, path)` writes a file in one step,
# and `%s` stands for the app's folder. Returns once the app is up.
app_process <- function(app, lines, env = character(), frame = parent.frame()) {
  address <- tempfile("address")
  process <- spawn(c(
    "library(mirai)",
    "replace <- function(text, path) {",
    "  writeLines(as.character(text), paste0(path, '.new'))",
    "  file.rename(paste0(path, '.new'), path)",
    "}",
    sprintf("tell <- function(url) replace(url, '%s')", address),
    sub("%s", normalizePath(test_path("apps", app)), lines, fixed = TRUE)
  ), env = env, frame = frame)
  await(file.exists(address) || !alive(process$pid))
  if (!file.exists(address)) stop("the app did not start: ", paste(process$log(), collapse = "\n"))
  c(process, url = readLines(address), interrupt = function() tools::pskill(process$pid, tools::SIGINT))
}

# The app in a process of its own, and a function to open a task's gate.
local_app <- function(style, frame = parent.frame()) {
  gates <- tempfile("gates")
  dir.create(gates)
  app <- app_process(
    "tasks", "with(daemons(4), shiny::runApp('%s', launch.browser = tell))",
    c(paste0("MIRAI_APP_GATES=", gates), paste0("MIRAI_APP_STYLE=", style)), frame
  )
  open_gate <- function(name, code) {
    file <- file.path(gates, name)
    writeLines(code, paste0(file, ".new"))
    file.rename(paste0(file, ".new"), file)
  }
  c(app, open_gate = open_gate)
}

# The app of the article on promises, with a file that has the number of tasks its daemons are at.
local_cancel_app <- function(frame = parent.frame()) {
  executing <- tempfile("executing")
  app <- app_process("cancel", c(
    "look <- function() {",
    sprintf("  if (daemons_set()) replace(info()[['executing']], '%s')", executing),
    "  later::later(look, 0.02)",
    "}",
    "look()",
    "tryCatch(shiny::runApp('%s', launch.browser = tell),",
    "  interrupt = function(e) cat('daemons set:', daemons_set(), '\\n'))"
  ), frame = frame)
  c(app, await_executing = function(n) await(identical(readLines(executing), as.character(n))))
}

# The app of many users on four daemons: `await_counts()` waits for these counts at the same time.
local_crowd_app <- function(frame = parent.frame()) {
  gate <- tempfile("gate")
  counts <- tempfile("counts")
  app <- app_process("crowd", c(
    "daemons(4)",
    "pids <- status()$workers$pid",
    "tryCatch(shiny::runApp('%s', launch.browser = tell), interrupt = identity)",
    "daemons(0)",
    "end <- Sys.time() + 30",
    "left <- function() sum(tools::pskill(pids, 0L))",
    "while (left() && Sys.time() < end) Sys.sleep(0.05)",
    "cat('daemons left:', left(), '\\n')"
  ), c(paste0("MIRAI_APP_GATE=", gate), paste0("MIRAI_APP_STATUS=", counts)), frame)
  c(
    app,
    open_gate = function() file.create(gate),
    await_counts = function(...) {
      expected <- c(...)
      await(all(sprintf("%s %d", names(expected), as.integer(expected)) %in% readLines(counts)))
    }
  )
}

# Where what a test leaves to be looked at goes: to target/ in a checkout.
artefact <- function(name) {
  target <- test_path("..", "..", "target")
  file.path(normalizePath(if (dir.exists(target)) target else tempdir()), name)
}

use_app <- function(style) {
  skip_on_os("windows")
  skip_without_browser()
  app <- local_app(style)
  browser <- local_browser()
  shows <- function(id, text) await(browser$text(id) == text)
  browser$open(app$url)
  for (name in c("a", "b", "c", "d")) shows(name, "idle")

  browser$click("start")
  for (name in c("a", "b", "c", "d")) shows(name, "running")
  # All four are in flight, and the session answers.
  browser$click("count")
  shows("clicks", "1")
  browser$click("count")
  shows("clicks", "2")

  # Results appear by themselves, one by one.
  app$open_gate("b", "'b is done'")
  shows("b", "b is done")
  picture <- artefact(sprintf("shiny-%s.png", style))
  browser$screenshot(picture)
  cat("\nscreenshot:", picture, "\n")
  expect_identical(vapply(c("a", "c", "d"), browser$text, ""), c(a = "running", c = "running", d = "running"))
  app$open_gate("a", "stop('a went wrong')")
  shows("a", "a went wrong")
  browser$click("count")
  shows("clicks", "3")
  browser$click("stop")
  shows("d", "20 | Operation canceled")
  expect_identical(browser$text("c"), "running")
  app$open_gate("c", "'c at last'")
  shows("c", "c at last")
  expect_identical(browser$text("b"), "b is done")

  # A mirai as the value of an output.
  browser$click("ask")
  shows("answer", "answer 1")
  browser$click("ask")
  shows("answer", "answer 2")
  # An ExtendedTask itself warns of a task that fails.
  expect_identical(grep("^Error|Unhandled", app$log(), value = TRUE), character())
}

test_that("an app with several tasks in flight stays responsive: observers", {
  use_app("observers")
})

test_that("an app with several tasks in flight stays responsive: ExtendedTask", {
  skip_if_not_installed("shiny", "1.8.1")
  use_app("extended")
})

test_that("an ExtendedTask runs on mirai and on maps", {
  skip_if_not_installed("shiny", "1.8.1")
  local_pool(2)
  server <- function(input, output, session) {
    one <- shiny::ExtendedTask$new(function(...) mirai(x * y, ...))
    many <- shiny::ExtendedTask$new(function(x) mirai_map(x, sqrt))
    wrong <- shiny::ExtendedTask$new(function() mirai(stop("went wrong")))
  }
  shiny::testServer(server, {
    ends <- function(task) {
      end <- Sys.time() + 30
      while (shiny::isolate(task$status()) == "running" && Sys.time() < end) {
        later::run_now(30)
        session$flushReact()
      }
      shiny::isolate(task$status())
    }
    one$invoke(x = 6, y = 7)
    many$invoke(c(a = 1, b = 4))
    wrong$invoke()
    expect_identical(shiny::isolate(one$status()), "running")
    expect_identical(ends(one), "success")
    expect_identical(shiny::isolate(one$result()), 42)
    expect_identical(ends(many), "success")
    expect_identical(shiny::isolate(many$result()), list(a = 1, b = 2))
    suppressWarnings(expect_identical(ends(wrong), "error"))
    expect_error(shiny::isolate(wrong$result()), "went wrong")
  })
})

test_that("an ExtendedTask is cancelled by a button, and by its user's leaving; daemons end with the app", {
  skip_on_os("windows")
  skip_without_browser()
  skip_if_not_installed("shiny", "1.8.1")
  skip_if_not_installed("bslib", "0.7")
  app <- local_cancel_app()
  browser <- local_browser()
  browser$open(app$url)
  await("btn" %in% browser$classes("go"))
  browser$click("go")
  app$await_executing(1)
  browser$click("cancel")
  await(browser$text("outcome") == "Cancelled.")
  # Grey, as validate() has it, not the red of an error.
  expect_true("shiny-output-error-validation" %in% browser$classes("outcome"))
  app$await_executing(0)

  # The button is free again.
  browser$type("seconds", "0")
  browser$click("go")
  await(browser$text("outcome") == "Simulated.")
  expect_false("shiny-output-error" %in% browser$classes("outcome"))

  # What goes wrong otherwise is shown in red.
  browser$type("seconds", "-1")
  browser$click("go")
  await(grepl("invalid 'time' value", browser$text("outcome"), fixed = TRUE))
  expect_true("shiny-output-error" %in% browser$classes("outcome"))
  expect_false("shiny-output-error-validation" %in% browser$classes("outcome"))

  browser$type("seconds", "60")
  browser$click("go")
  app$await_executing(1)
  browser$end()
  app$await_executing(0)

  app$interrupt()
  expect_match(app$wait(), "^daemons set: FALSE", all = FALSE)
})

test_that("twenty users with ten tasks each, of whom some cancel and some leave: nothing is lost, and nothing is left", {
  skip_on_os("windows")
  skip_without_browser()
  app <- local_crowd_app()
  browser <- local_browser()
  windows <- vapply(1:20, function(i) {
    handle <- browser$new_window()
    browser$open(app$url)
    await(browser$text("sum") == "sum 0, 0 cancelled")
    browser$click("start")
    handle
  }, "")
  app$await_counts(awaiting = 196, executing = 4, completed = 0, open = 20)

  for (handle in windows[1:5]) {
    browser$use_window(handle)
    browser$click("cancel")
    await(browser$text("sum") == "sum 0, 10 cancelled")
  }
  for (handle in windows[6:10]) {
    browser$use_window(handle)
    browser$close_window()
  }
  app$await_counts(cancelled = 100, open = 15, awaiting = 96, executing = 4, values = 0)

  app$open_gate()
  for (handle in windows[11:20]) {
    browser$use_window(handle)
    await(browser$text("sum") == "sum 55, 0 cancelled")
  }
  app$await_counts(values = 100, cancelled = 100, other = 0, awaiting = 0, executing = 0, completed = 200)
  browser$end()
  app$await_counts(open = 0)
  app$interrupt()
  expect_match(app$wait(), "^daemons left: 0", all = FALSE)
})

test_that("an app whose daemons are killed under it recovers by itself", {
  skip_on_os("windows")
  skip_without_browser()
  gate <- tempfile("gate")
  pids <- tempfile("pids")
  file.create(pids)
  app <- app_process("deaths", c(
    "daemons(2)",
    "everywhere(NULL, setting = 'its setting')",
    "tryCatch(shiny::runApp('%s', launch.browser = tell), interrupt = identity)",
    "cat('whole:', info()[['connections']], '\n')"
  ), c(paste0("MIRAI_APP_GATE=", gate), paste0("MIRAI_APP_PIDS=", pids)))
  browser <- local_browser()
  browser$open(app$url)
  shows <- function(text) await(grepl(text, browser$text("outcome"), fixed = TRUE))
  at_work <- function(n) await(length(readLines(pids)) == n)
  kill_last <- function() tools::pskill(as.integer(utils::tail(readLines(pids), 1L)), tools::SIGKILL)
  shows("idle")

  # Killed twice, and done by the third daemon, which has been set up as the first.
  browser$click("go")
  for (attempt in 1:2) {
    at_work(attempt)
    kill_last()
  }
  at_work(3L)
  expect_identical(browser$text("outcome"), "running")
  file.create(gate)
  shows("done at attempt 3 with its setting")

  # Without a second attempt its user is told, and the next click works.
  file.remove(gate)
  browser$click("fragile")
  at_work(4L)
  kill_last()
  shows("19 | Connection reset")
  browser$click("go")
  at_work(5L)
  file.create(gate)
  shows("done at attempt 1 with its setting")
  browser$screenshot(artefact("shiny-deaths.png"))

  app$interrupt()
  log <- app$wait()
  expect_match(log, "^whole: 2", all = FALSE)
  # Those that are told at the same time are one warning.
  expect_match(log, "died.*SIGKILL", all = FALSE)
})

test_that("the article on promises has the app that is tested here", {
  article <- test_path("..", "..", "vignettes", "promises.Rmd")
  skip_if_not(file.exists(article), "no checkout of the sources: the article is not here")
  app <- paste(readLines(test_path("apps", "cancel", "app.R")), collapse = "\n")
  expect_true(grepl(app, paste(readLines(article), collapse = "\n"), fixed = TRUE))
})

test_that("errors carry Shiny's deep stack traces", {
  local_pool(1)
  outer_function <- function() promises::then(mirai(stop("deep")), function(value) value)
  reason <- NULL
  p <- shiny::captureStackTraces(outer_function())
  promises::then(p, NULL, function(e) reason <<- e)
  while (is.null(reason)) later::run_now(30)
  expect_identical(conditionMessage(reason), "deep")
  deep <- attr(reason, "deep.stack.trace", exact = TRUE)
  expect_gt(length(deep), 0L)
  calls <- vapply(unlist(deep, recursive = FALSE), function(call) paste(deparse(call), collapse = " "), "")
  expect_true(any(grepl("outer_function", calls, fixed = TRUE)))
})

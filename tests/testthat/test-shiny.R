skip_if_not_installed("shiny")

# The app in a process of its own, its address, and a function to open a task's gate.
local_app <- function(style, frame = parent.frame()) {
  gates <- tempfile("gates")
  dir.create(gates)
  address <- tempfile("address")
  app <- spawn(c(
    "library(mirai)",
    "tell <- function(url) {",
    sprintf("  writeLines(url, '%s.new')", address),
    sprintf("  file.rename('%s.new', '%s')", address, address),
    "}",
    sprintf("with(daemons(4), shiny::runApp('%s', launch.browser = tell))", test_path("apps", "tasks") |> normalizePath())
  ), env = c(paste0("MIRAI_APP_GATES=", gates), paste0("MIRAI_APP_STYLE=", style)), frame = frame)
  await(file.exists(address) || !alive(app$pid))
  if (!file.exists(address)) stop("the app did not start: ", paste(app$log(), collapse = "\n"))
  open_gate <- function(name, code) {
    file <- file.path(gates, name)
    writeLines(code, paste0(file, ".new"))
    file.rename(paste0(file, ".new"), file)
  }
  list(url = readLines(address), log = app$log, open_gate = open_gate)
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

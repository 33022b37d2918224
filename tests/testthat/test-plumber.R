# Mirai as the values of plumber's handlers.

skip_if_not_installed("plumber")
skip_if_not_installed("jsonlite")

# The API in a process of its own: its port, what it says, and a function to open a gate.
local_api <- function(frame = parent.frame()) {
  gates <- tempfile("gates")
  dir.create(gates)
  code <- c(
    "library(mirai)",
    sprintf("api <- plumber::plumb('%s')", normalizePath(test_path("apps", "api", "plumber.R"))),
    "port <- httpuv::randomPort()",
    # Once the server listens, for the loop runs only then.
    sprintf("port_file <- '%s'", file.path(gates, "port")),
    "later::later(function() {",
    "  writeLines(as.character(port), paste0(port_file, '.new'))",
    "  file.rename(paste0(port_file, '.new'), port_file)",
    "})",
    "with(daemons(3), plumber::pr_run(api, host = '127.0.0.1', port = port, docs = FALSE, quiet = TRUE))"
  )
  api <- spawn(code, env = paste0("MIRAI_APP_GATES=", gates), frame = frame)
  in_gates <- function(name) file.path(gates, name)
  await(file.exists(in_gates("port")) || !alive(api$pid))
  if (!file.exists(in_gates("port"))) stop("the API did not start: ", paste(api$log(), collapse = "\n"))
  list(
    port = as.integer(readLines(in_gates("port"))),
    log = api$log,
    begun = function(name) await(file.exists(in_gates(paste0(name, ".begun")))),
    open_gate = function(name, code) {
      writeLines(code, in_gates(paste0(name, ".new")))
      file.rename(in_gates(paste0(name, ".new")), in_gates(name))
    }
  )
}

test_that("a handler's mirai is its answer, and others are answered meanwhile", {
  skip_on_os("windows")
  api <- local_api()
  ask <- function(path, method = "GET", body = NULL) http_ask(api$port, method, path, body)
  answer <- function(...) http_answer(ask(...))

  held <- lapply(c(a = "/held?gate=a", b = "/held?gate=b", c = "/held?gate=c"), ask)
  for (name in names(held)) api$begun(name)
  # Three requests are in flight, and R answers a fourth.
  expect_identical(answer("/plain"), list(status = 200L, json = "plain"))
  api$open_gate("b", "'b is done'")
  expect_identical(http_answer(held$b), list(status = 200L, json = "b is done"))
  expect_identical(answer("/plain")$json, "plain")
  api$open_gate("c", "stop('c went wrong')")
  expect_identical(http_answer(held$c)$status, 500L)
  api$open_gate("a", "list(x = 1:2)")
  expect_identical(http_answer(held$a), list(status = 200L, json = list(x = list(1L, 2L))))
  # plumber prints the condition that a promise is rejected with.
  expect_true(any(grepl("c went wrong", api$log(), fixed = TRUE)))

  expect_identical(answer("/map"), list(status = 200L, json = list(a = 1L, b = 2L)))
  expect_identical(answer("/chain"), list(status = 201L, json = list(answer = 42L)))
  expect_identical(answer("/body", "POST", list(x = c("u", "v")))$json, list("v", "u"))
  expect_identical(answer("/stopped")$status, 500L)
  expect_true(any(grepl("20 | Operation canceled", api$log(), fixed = TRUE)))
})

test_that("of a hundred requests at once, some of whose clients leave, each other one has its own answer", {
  skip_on_os("windows")
  api <- local_api()
  counts <- function() unlist(http_answer(http_ask(api$port, "GET", "/counts"))$json)
  asked <- lapply(1:100, function(n) http_ask(api$port, "GET", sprintf("/number?n=%d", n)))
  await(sum(counts()[c("awaiting", "executing")]) == 100L)
  # Of those at work, and of those in the queue.
  leaving <- c(1:2, seq(10L, 100L, by = 5L))
  for (n in leaving) close(asked[[n]])
  api$open_gate("numbers", "")
  staying <- setdiff(1:100, leaving)
  answers <- vapply(staying, function(n) http_answer(asked[[n]])$json, 0L)
  expect_identical(answers, staying)
  await(identical(counts()[c("awaiting", "executing", "completed")], c(awaiting = 0L, executing = 0L, completed = 100L)))
  expect_identical(counts()[["connections"]], 3L)
})

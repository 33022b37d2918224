# Daemons that do not stop when they are asked to, and limits of running time.

skip_within_check()

# Compiled code that does not look for interrupts, for longer than any test takes. One that comes before it is caught.
deaf_code <- quote({
  work <- function(...) stats::filter(numeric(4e6), numeric(2e6))
  tryCatch(work(), interrupt = work)
})

deaf <- function(...) eval(bquote(mirai(.(deaf_code), ...)))

# A task that has begun, and goes on, whatever comes, until its gate is opened: an interrupt is ignored while system() waits.
wait_code <- function(started, gate)
  sprintf("system(\"touch '%s'; until [ -f '%s' ]; do sleep 0.01; done\")", started, gate)

held_deaf <- function(...) {
  started <- tempfile("started")
  gate <- tempfile("gate")
  code <- str2lang(wait_code(started, gate))
  m <- mirai(code, ...)
  await(file.exists(started))
  list(m = m, open = function() file.create(gate))
}

deaths <- function(n) {
  await(nrow(status()$deaths) >= n)
  status()$deaths
}

test_that("timeouts of compiled code that ignores interrupts free the daemons, and neighbours notice nothing", {
  skip_unless_linux()
  local_pool(2, kill_after = 50)
  neighbour <- hold()
  neighbour$started()
  workers <- status()$workers
  pid <- workers$pid[workers$state == "busy"]
  for (i in 1:15) {
    m <- deaf(.timeout = 200)
    following <- mirai(i, .args = list(i = i))
    expect_code(value(m), 5L)
    expect_identical(value(following), i)
  }
  neighbour$open()
  expect_identical(value(neighbour$m), "held")
  killed <- deaths(1)
  expect_match(killed$reason, "^was killed, as it did not stop its task within 50ms of being asked to: it was busy in code")
  expect_true(all(killed$killed))
  expect_false(pid %in% killed$pid)
  await(info()[["connections"]] == 2L)
})

test_that("more deaths of our own than five in a row do not end the healing, and nobody is warned", {
  skip_unless_linux()
  local_pool(1, kill_after = 0)
  expect_no_warning({
    for (i in 1:8) {
      await(info()[["connections"]] == 1L)
      m <- deaf()
      await(info()[["executing"]] == 1L)
      expect_true(stop_mirai(m))
      await(nrow(status()$deaths) == i)
    }
    expect_identical(value(mirai("whole")), "whole")
  })
  expect_identical(unique(status()$deaths$reason), "was killed, as its task was to be stopped")
})

test_that("who stops in time is not killed", {
  local_pool(1, kill_after = 20000)
  pid <- value(mirai(Sys.getpid()))
  held <- held_deaf()
  expect_true(stop_mirai(held$m))
  expect_code(held$m$data, 20L)
  expect_identical(status()$workers$state, "stopping")
  held$open()
  expect_identical(value(mirai(Sys.getpid())), pid)
  expect_identical(nrow(status()$deaths), 0L)
})

test_that("force kills at once, whatever the grace, also what has its value", {
  skip_unless_linux()
  local_pool(2, kill_after = Inf)
  first <- held_deaf()
  second <- held_deaf(.timeout = 100)
  expect_code(value(second$m), 5L)
  expect_true(stop_mirai(first$m, force = TRUE))
  expect_code(first$m$data, 20L)
  expect_true(stop_mirai(second$m, force = TRUE))
  expect_identical(unique(deaths(2)$reason), "was killed, as its task was to be stopped by force")
  expect_false(stop_mirai(second$m, force = TRUE))
  expect_identical(value(mirai("next")), "next")
})

test_that("force takes maps, and what is not begun is only taken off the queue", {
  skip_unless_linux()
  local_pool(1)
  code <- str2lang(wait_code(started <- tempfile(), tempfile()))
  x <- mirai_map(1:3, function(i, code) eval(code), .args = list(code = code))
  await(file.exists(started))
  expect_identical(stop_mirai(x, force = TRUE), rep(TRUE, 3))
  for (v in x[]) expect_code(v, 20L)
  expect_identical(nrow(deaths(1)), 1L)
  # An idle daemon has nothing to be killed for.
  done <- mirai("done")
  expect_identical(value(done), "done")
  expect_false(stop_mirai(done, force = TRUE))
  expect_refused(stop_mirai(done, force = "yes"), "`force` must be `TRUE` or `FALSE`", "stop_mirai")
})

test_that("what was sent ahead to a daemon that is killed waits again, and is no retry", {
  skip_unless_linux()
  local_pool(1, kill_after = 0)
  # So that the pool knows how short they are.
  mirai_map(1:200, function(i) i)[]
  x <- mirai_map(1:400, function(i, code) if (i == 100) eval(code) else mirai::task_attempt(), .args = list(code = deaf_code))
  await(!unresolved(x[[99]]))
  stop_mirai(x[[100]])
  expect_code(x[[100]]$data, 20L)
  expect_identical(unique(unlist(collect_mirai(x[-100]))), 1L)
  expect_identical(deaths(1)$task, attr(x[[100]], "id"))
})

test_that("a command that ends as its daemon was killed on purpose is no loss", {
  skip_unless_linux()
  elsewhere <- remote_config("sh", c("-c", "."), rscript = file.path(R.home("bin"), "Rscript"), quote = TRUE)
  heard <- character()
  withCallingHandlers({
    local_pool(1, url = local_url(), remote = elsewhere, heal = TRUE)
    await(info()[["connections"]] == 1L)
    gate <- tempfile()
    m <- mirai({
      file.create(gate)
      x <- runif(2e7)
      for (i in 1:20) sort(x, method = "quick")
    }, gate = gate)
    await(file.exists(gate))
    pid <- status()$workers$pid
    expect_true(stop_mirai(m, force = TRUE))
    await(!alive(pid))
    # It takes longer for another to come than to tell of the end of that one.
    await(info()[["cumulative"]] == 2L)
    expect_identical(value(mirai(1)), 1)
  }, warning = function(w) {
    heard <<- c(heard, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_false(any(grepl("are lost", heard, fixed = TRUE)))
})

test_that("a daemon that is stopped is shown as that, and killed when it does not stop its task", {
  skip_unless_linux()
  local_pool(1, kill_after = 500)
  held <- hold()
  held$started()
  pid <- daemon_pids()
  tools::pskill(pid, tools::SIGSTOP)
  await(identical(status()$workers$activity, "stopped"))
  expect_identical(status()$workers$state, "busy")
  expect_true(any(grepl("busy, stopped", printed(status()), fixed = TRUE)))
  expect_true(any(grepl(sprintf("kill -CONT %d", pid), printed(status()), fixed = TRUE)))
  stop_mirai(held$m)
  expect_match(deaths(1)$reason, "its process was stopped, as by SIGSTOP", fixed = TRUE)
  expect_identical(value(mirai("whole")), "whole")
})

test_that("what a daemon is at is told while it has a task", {
  skip_unless_linux()
  local_pool(1, kill_after = Inf)
  expect_identical(status()$workers$activity, NA_character_)
  m <- deaf(.timeout = 100)
  expect_code(value(m), 5L)
  await(identical(status()$workers$activity, "computing"))
  await(status()$workers$age > 1)
  shown <- printed(status())
  expect_true(any(grepl("stopping, computing", shown, fixed = TRUE)))
  expect_true(any(grepl("a daemon is still at a task that nobody waits for", shown, fixed = TRUE)))
  expect_true(stop_mirai(m, force = TRUE))
})

test_that("a host that was stopped meanwhile kills nobody for it", {
  skip_unless_linux()
  folder <- tempfile()
  dir.create(folder)
  child <- spawn(c(
    "library(mirai)",
    sprintf("setwd('%s')", folder),
    "daemons(1, kill_after = 400)",
    "pid <- mirai(Sys.getpid())[]",
    sprintf("m <- mirai(%s)", wait_code(file.path(folder, "begun"), file.path(folder, "gate"))),
    "while (!file.exists('begun')) Sys.sleep(0.005)",
    "stop_mirai(m)",
    "tools::pskill(Sys.getpid(), tools::SIGSTOP)",
    "stopifnot(mirai(Sys.getpid())[] == pid, nrow(status()$deaths) == 0L)",
    "cat('the same\n')"
  ))
  await(grepl("\\) T", readLines(sprintf("/proc/%d/stat", child$pid))))
  file.create(file.path(folder, "gate"))
  # It stays so for longer than its daemon has.
  Sys.sleep(0.6)
  tools::pskill(child$pid, tools::SIGCONT)
  expect_identical(child$wait(), "the same")
})

test_that("by default daemons are killed only where they are replaced and keep nothing", {
  check_kill_after <- mirai:::check_kill_after
  after <- function(...) check_kill_after(NULL, ...)
  expect_identical(after(TRUE, TRUE, list(), NULL), 5000)
  expect_identical(after(TRUE, TRUE, list(cleanup = TRUE), NULL), 5000)
  expect_null(after(TRUE, TRUE, list(cleanup = FALSE), NULL))
  expect_null(after(TRUE, TRUE, list(cleanup = 0), NULL))
  expect_null(after(FALSE, TRUE, list(), NULL))
  expect_null(after(TRUE, FALSE, list(), NULL))
  expect_null(check_kill_after(Inf, TRUE, TRUE, list(), NULL))
  expect_identical(check_kill_after(20.7, FALSE, TRUE, list(cleanup = FALSE), NULL), 20)
  expect_refused(daemons(1, kill_after = -1), "`kill_after` must be a number of milliseconds", "daemons")
  expect_refused(daemons(1, kill_after = "5"), "`kill_after` must be a number of milliseconds", "daemons")
  expect_warning(local_pool(1, dispatcher = FALSE, kill_after = 5), "`kill_after` needs dispatcher", fixed = TRUE)
})

test_that("a daemon that this session has not launched is sent away, and ends itself", {
  skip_unless_linux()
  local_pool(url = local_url(), kill_after = 50)
  child <- spawn(sprintf("mirai::daemon('%s')", status()$daemons))
  await(info()[["connections"]] == 1L)
  m <- deaf(.timeout = 100)
  expect_code(value(m), 5L)
  await(!alive(child$pid))
  expect_match(deaths(1)$reason, "^was sent away, as it did not stop its task within 50ms")
})

# ---- running time

test_that("the running time is limited apart from the waiting time, and the error says which it was", {
  local_pool(1)
  held <- hold()
  held$started()
  m <- mirai("not long", .runtime = 10000)
  long <- mirai(Sys.sleep(60), .runtime = 100)
  late <- mirai("late", .runtime = 10000, .timeout = 150)
  expect_code(value(late), 5L)
  expect_identical(printed(late$data), "'errorValue' int 5 | Timed out")
  expect_true(unresolved(long))
  held$open()
  expect_identical(value(m), "not long")
  expect_s3_class(value(long), c("errorValue", "try-error"), exact = TRUE)
  expect_true(long$data == 5L)
  expect_identical(printed(long$data), c("'errorValue' int 5 | Timed out", "it ran for longer than its `.runtime`"))
  expect_identical(value(mirai("free")), "free")
})

test_that("maps and pools have limits of running time, which a task may lift", {
  local_pool(2, runtime = 200)
  slow <- function(i) if (i == 2) Sys.sleep(60) else i
  x <- mirai_map(1:4, slow)[]
  expect_identical(x[-2], list(1L, 3L, 4L))
  expect_true(x[[2]] == 5L)
  expect_identical(value(mirai({Sys.sleep(0.5); "lifted"}, .runtime = Inf)), "lifted")
  x <- mirai_map(list(2), slow, .runtime = 50)[]
  expect_true(x[[1]] == 5L)
  expect_true(try_mirai(Sys.sleep(60))[] == 5L)
})

test_that("each attempt has all of the running time", {
  skip_unless_linux()
  local_pool(2)
  file <- tempfile()
  m <- mirai({
    if (mirai::task_attempt() == 1L) {
      file.create(file)
      Sys.sleep(60)
    }
    Sys.sleep(0.2)
    mirai::task_attempt()
  }, .args = list(file = file), .retries = 1, .runtime = 30000)
  await(file.exists(file))
  workers <- status()$workers
  suppressWarnings({
    tools::pskill(workers$pid[workers$state == "busy"], tools::SIGKILL)
    expect_identical(value(m), 2L)
    deaths(1)
    await(info()[["connections"]] == 2L)
  })
})

test_that("tasks without daemons and without dispatcher have limits of running time", {
  expect_true(value(mirai(Sys.sleep(1), .runtime = 50)) == 5L)
  local_pool(1, dispatcher = FALSE, runtime = 100)
  expect_true(value(mirai(Sys.sleep(0.5))) == 5L)
  expect_identical(value(mirai("next")), "next")
})

test_that("limits of running time are checked", {
  expect_refused(mirai(1, .runtime = 0), "`.runtime` must be a number of milliseconds above 0", "mirai")
  expect_refused(daemons(1, runtime = "a"), "`runtime` must be a number of milliseconds above 0", "daemons")
  local_pool(1)
  expect_refused(mirai_map(1, identity, .runtime = NA), "`.runtime` must be a number", "mirai_map")
  expect_identical(value(mirai(1, .runtime = 1e12)), 1)
})

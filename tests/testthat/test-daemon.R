# A daemon as a process of its own, which prints what daemon() returns.
start_daemon <- function(url, ..., frame = parent.frame()) {
  arguments <- paste0(", ", c(...), collapse = "")
  if (!length(c(...))) arguments <- ""
  code <- sprintf("r <- withVisible(mirai::daemon('%s'%s)); cat('code', r$value, r$visible, '\\n')", url, arguments)
  spawn(code, frame = frame)
}

host <- function(..., frame = parent.frame()) {
  url <- local_url()
  local_pool(url = url, ..., frame = frame)
  url
}

expect_exit <- function(child, code) expect_match(child$wait(), sprintf("^code %d FALSE", code), all = FALSE)

test_that("daemon() run by hand serves, and returns 0 when the pool is reset", {
  child <- start_daemon(host())
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(0)
  expect_exit(child, 0L)
})

test_that("an exit signal ends it with 0, whatever autoexit says", {
  for (autoexit in c("TRUE", "FALSE", "NA")) {
    child <- start_daemon(host(), paste0("autoexit = ", autoexit))
    value(mirai(1))
    daemons(NULL)
    expect_exit(child, 0L)
  }
})

test_that("maxtasks is a number of tasks, everywhere() counts, 0 is like 1", {
  child <- start_daemon(host(), "maxtasks = 2")
  ms <- list(mirai(Sys.getpid()), mirai(Sys.getpid()), mirai("left"))
  expect_identical(value(ms[[1]]), child$pid)
  expect_identical(value(ms[[2]]), child$pid)
  expect_exit(child, 3L)
  await(info()[["connections"]] == 0L)
  expect_identical(info()[["awaiting"]], 1L)
  child <- start_daemon(nextget("url"), "maxtasks = 0")
  expect_identical(value(ms[[3]]), "left")
  expect_exit(child, 3L)
  child <- start_daemon(nextget("url"), "maxtasks = 1")
  await(info()[["connections"]] == 1L)
  call_mirai(everywhere(1))
  expect_exit(child, 3L)
})

test_that("after the last task nothing is cleaned up", {
  url <- host()
  child <- spawn(c(sprintf("mirai::daemon('%s', maxtasks = 1)", url), "print(left)", "print(mirai::on_daemon())"))
  value(mirai(left <<- "still here"))
  out <- child$wait()
  expect_match(out, "still here", all = FALSE)
  expect_match(out, "FALSE", all = FALSE)
})

test_that("idletime ends an idle daemon with 1", {
  url <- host()
  expect_exit(start_daemon(url, "idletime = 0"), 1L)
  child <- start_daemon(url, "idletime = 50")
  expect_exit(child, 1L)
  child <- start_daemon(url, "idletime = 200")
  expect_identical(value(mirai("in time")), "in time")
  expect_exit(child, 1L)
})

test_that("walltime ends an idle daemon with 2, a busy one after its task", {
  url <- host()
  expect_exit(start_daemon(url, "walltime = 100"), 2L)
  child <- start_daemon(url, "walltime = 100")
  started <- Sys.time()
  m <- mirai({
    while (Sys.time() < started + 0.5) Sys.sleep(0.01)
    "whole"
  }, .args = list(started = started))
  expect_identical(value(m), "whole")
  expect_exit(child, 2L)
  expect_exit(start_daemon(url, "walltime = 100", "idletime = 60000"), 2L)
})

test_that("limits hold without dispatcher, also for tasks that were given up", {
  url <- host(dispatcher = FALSE)
  child <- start_daemon(url, "dispatcher = FALSE", "maxtasks = 1")
  started <- tempfile()
  gate <- tempfile()
  m <- mirai({
    file.create(started)
    while (!file.exists(gate)) Sys.sleep(0.005)
  }, .args = list(started = started, gate = gate))
  await(file.exists(started))
  stop_mirai(m)
  file.create(gate)
  expect_exit(child, 3L)
})

test_that("other arguments are swallowed", {
  child <- start_daemon(host(), "timerstart = 0L", "nonsense = 'x'", "maxtasks = 1", "autoexit = 15L")
  expect_identical(value(mirai(1)), 1)
  out <- child$wait()
  expect_identical(out, "code 3 FALSE ")
})

test_that("crew's call of daemon() works", {
  stream <- {
    set.seed(1, kind = "L'Ecuyer-CMRG")
    .Random.seed
  }
  RNGkind("default")
  url <- host()
  child <- spawn(c(
    "arguments <- list(",
    sprintf("  url = '%s', dispatcher = TRUE, asyncdial = FALSE, autoexit = tools::SIGTERM, cleanup = FALSE, output = TRUE,", url),
    "  maxtasks = 3, idletime = Inf, walltime = 60000, timerstart = 0L, tlscert = NULL,",
    sprintf("  rs = c(%s)", paste(stream, collapse = ",")),
    ")",
    "code <- do.call(mirai::daemon, arguments)",
    "cat(mirai::nextcode(code), '\\n')"
  ))
  expect_identical(value(mirai(.Random.seed)), stream)
  value(mirai({
    cat("said\n")
    kept <<- 5
  }))
  expect_identical(value(mirai(kept)), 5)
  out <- child$wait()
  expect_match(out, "^said", all = FALSE)
  expect_match(out, "^3 | Daemon task limit reached", all = FALSE)
})

test_that("errors are plain, and come at once", {
  expect_error(daemon(), "argument \"url\" is missing, with no default", fixed = TRUE)
  expect_refused(daemon(5), "`url` must be of type character", "daemon")
  expect_refused(daemon("nonsense"), "3 | Invalid argument", "daemon")
  expect_refused(daemon(local_url()), "6 | Connection refused", "daemon")
  expect_refused(daemon(local_url(), maxtasks = "a"), "`maxtasks` must be", "daemon")
  expect_refused(daemon(local_url(), tlscert = "x"), "`tlscert` is not available", "daemon")
  expect_false(on_daemon())
})

test_that("a daemon of the wrong kind is refused, in both directions", {
  child <- start_daemon(host(), "dispatcher = FALSE")
  expect_match(child$wait(), "Error", all = FALSE)
  child <- start_daemon(host(dispatcher = FALSE))
  expect_match(child$wait(), "Error", all = FALSE)
})

test_that("asyncdial waits for the host", {
  url <- local_url()
  child <- start_daemon(url, "asyncdial = TRUE")
  local_pool(url = url)
  expect_identical(value(mirai(Sys.getpid())), child$pid)
})

test_that("autoexit = NA finishes the task", {
  file <- tempfile()
  gate <- tempfile()
  started <- tempfile()
  child <- start_daemon(host(), "autoexit = NA")
  mirai({
    file.create(started)
    while (!file.exists(gate)) Sys.sleep(0.005)
    file.create(file)
  }, .args = list(started = started, gate = gate, file = file))
  await(file.exists(started))
  daemons(0)
  file.create(gate)
  expect_exit(child, 0L)
  expect_true(file.exists(file))
})

test_that("autoexit = FALSE stays for the next host, in both modes", {
  for (dispatcher in c(TRUE, FALSE)) {
    url <- host(dispatcher = dispatcher)
    child <- start_daemon(url, "autoexit = FALSE", paste0("dispatcher = ", dispatcher))
    expect_identical(value(mirai(Sys.getpid())), child$pid)
    daemons(0)
    expect_true(alive(child$pid))
    daemons(url = url, dispatcher = dispatcher, seed = 123L)
    expect_identical(value(mirai(Sys.getpid())), child$pid)
    expect_equal(value(mirai(runif(1))), 0.3411064, tolerance = 1e-6)
    daemons(NULL)
    expect_exit(child, 0L)
  }
})

test_that("an exit signal reaches a busy daemon after its task", {
  child <- start_daemon(host(), "autoexit = FALSE")
  held <- hold()
  held$started()
  daemons(NULL)
  held$open()
  expect_exit(child, 0L)
})

test_that("rs is the stream to begin with", {
  stream <- {
    set.seed(1, kind = "L'Ecuyer-CMRG")
    .Random.seed
  }
  RNGkind("default")
  url <- host()
  start_daemon(url, sprintf("rs = c(%s)", paste(stream, collapse = ",")))
  expect_identical(value(mirai(.Random.seed)), stream)
})

test_that("on_daemon() is TRUE in tasks only", {
  expect_false(on_daemon())
  local_pool(1)
  expect_true(mirai(mirai::on_daemon())[])
  daemons(0)
  expect_true(value(mirai(mirai::on_daemon())))
})

test_that("output is discarded, or goes to the process's own", {
  child <- start_daemon(host(), "maxtasks = 1")
  value(mirai({
    print("printed")
    message("told")
    warning("warned")
    cat("catted\n")
  }))
  expect_identical(child$wait(), "code 3 FALSE ")
  child <- start_daemon(host(), "maxtasks = 1", "output = TRUE")
  value(mirai({
    print("printed")
    message("told")
  }))
  out <- child$wait()
  expect_match(out, "printed", all = FALSE)
  expect_match(out, "told", all = FALSE)
})

test_that("with output = TRUE local daemons write to the host's output", {
  out <- run_r(c(
    "library(mirai)", "daemons(1, output = TRUE)", "x <- mirai({cat('from the daemon\\n'); message('and its stderr')})[]",
    "daemons(0)"
  ))
  expect_match(out, "from the daemon", all = FALSE)
  expect_match(out, "and its stderr", all = FALSE)
})

test_that("tasks may use daemons of their own, which go with their daemon", {
  local_pool(1)
  expect_identical(value(mirai(mirai::mirai(6 * 7)[])), 42)
  pid <- value(mirai({
    mirai::daemons(1)
    mirai::mirai(Sys.getpid())[]
  }))
  expect_true(alive(pid))
  # The daemon keeps the profile for later tasks.
  expect_identical(value(mirai(mirai::mirai(Sys.getpid())[])), pid)
  daemons(0)
  expect_true(await(!alive(pid)))
})

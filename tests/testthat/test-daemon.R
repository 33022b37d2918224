skip_within_check()

# A daemon as a process of its own, which prints what daemon() returns.
start_daemon <- function(url, ..., frame = parent.frame()) {
  arguments <- paste0(", ", c(...), collapse = "")
  if (!length(c(...))) arguments <- ""
  code <- sprintf("r <- withVisible(mirai::daemon('%s'%s)); cat('code', r$value, typeof(r$value), r$visible, '\\n')", url, arguments)
  spawn(code, frame = frame)
}

host <- function(..., frame = parent.frame()) {
  url <- local_url()
  local_pool(url = url, ..., frame = frame)
  url
}

expect_exit <- function(child, code) expect_match(child$wait(), sprintf("^code %d integer FALSE", code), all = FALSE)

test_that("daemon() run by hand serves, and returns 0 when the pool is reset", {
  child <- start_daemon(host())
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(0)
  expect_exit(child, 0L)
})

test_that("it returns 0 when the host ends, or is killed", {
  for (killed in c(FALSE, TRUE)) {
    url <- local_url()
    host <- spawn(c(
      "library(mirai)",
      sprintf("daemons(url = '%s')", url),
      "cat('served', mirai(6 * 7)[], '\\n')",
      if (killed) "Sys.sleep(600)"
    ))
    child <- start_daemon(url, "asyncdial = TRUE")
    await("served 42 " %in% host$log())
    if (killed) tools::pskill(host$pid, tools::SIGKILL)
    expect_exit(child, 0L)
  }
})

# A daemon with defaults, and where its exit status will be found.
start_watched <- function(url) {
  file <- tempfile("status")
  call <- sprintf("mirai::daemon(\"%s\")", url)
  script <- sprintf("%s -e %s; echo $? > %s.new; mv %s.new %s", shQuote(rscript), shQuote(call), file, file, file)
  system2("sh", c("-c", shQuote(script)), wait = FALSE, env = child_env(), stdout = FALSE, stderr = FALSE)
  file
}

test_that("a busy daemon that does not end within its grace is terminated, at a reset and by an exit signal", {
  skip_unless_linux()
  for (n in list(0, NULL)) {
    status <- start_watched(host())
    held <- hold()
    held$started()
    daemons(n)
    await(file.exists(status))
    # 128 and SIGTERM.
    expect_identical(readLines(status), "143")
  }
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
  child <- spawn(c(
    sprintf("mirai::daemon('%s', maxtasks = 2)", url),
    "print(left)", "print('package:stats4' %in% search())", "print(getOption('digits'))", "print(mirai::on_daemon())"
  ))
  value(mirai(gone <<- 1))
  expect_false(value(mirai({
    left <<- "still here"
    library(stats4)
    options(digits = 3)
    exists("gone")
  })))
  expect_identical(child$wait(), c("[1] \"still here\"", "[1] TRUE", "[1] 3", "[1] FALSE"))
})

# What limits there are, and how they go together, is tested with a clock of its own in rust/worker.
test_that("idletime ends an idle daemon with 1", {
  url <- host()
  expect_exit(start_daemon(url, "idletime = 0"), 1L)
  child <- start_daemon(url, "idletime = 200")
  expect_identical(value(mirai("in time")), "in time")
  expect_exit(child, 1L)
})

test_that("walltime ends a daemon with 2", {
  expect_exit(start_daemon(host(), "walltime = 100"), 2L)
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

test_that("a walltime of 0 ends a daemon at once", {
  expect_exit(start_daemon(host(), "walltime = 0"), 2L)
})

test_that("other arguments are swallowed", {
  child <- start_daemon(host(), "timerstart = 0L", "nonsense = 'x'", "maxtasks = 1", "autoexit = 15L")
  expect_identical(value(mirai(1)), 1)
  out <- child$wait()
  expect_identical(out, "code 3 integer FALSE ")
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
  expect_refused(daemon(local_url(), tlscert = "x"), "12 | Entry not found: the file `x`", "daemon")
  expect_false(on_daemon())
})

test_that("a session does not become its own daemon, but for a limited time", {
  url <- host()
  expect_refused(daemon(url), "as its own daemon it would never come back", "daemon")
  m <- mirai(6 * 7)
  expect_identical(daemon(url, maxtasks = 1), 3L)
  expect_identical(m[], 42)
  expect_identical(daemon(url, idletime = 0), 1L)
  expect_identical(daemon(url, walltime = 0), 2L)
  expect_false(on_daemon())
})

test_that("its own host is known by other names, too", {
  local_pool(url = "tcp://127.0.0.1:0")
  port <- sub(".*:", "", status()$daemons)
  expect_refused(daemon(paste0("tcp://localhost:", port)), "as its own daemon it would never come back", "daemon")
  expect_true(is_same_address("ipc:///tmp/a", "ipc:///tmp/a"))
  expect_false(is_same_address("ipc:///tmp/a", "ipc:///tmp/b"))
  for (name in c("localhost", "127.0.0.1", "[::1]", Sys.info()[["nodename"]])) {
    expect_true(is_same_address("tcp://0.0.0.0:5555", sprintf("tcp://%s:5555/", name)))
    expect_false(is_same_address("tcp://0.0.0.0:5555", sprintf("tcp://%s:5556", name)))
  }
  expect_false(is_same_address("tcp://0.0.0.0:5555", "tcp://elsewhere:5555"))
})

test_that("Ctrl-C ends an idle daemon that is called at a prompt, also one that looks for its host", {
  skip_on_os("windows")
  url <- host()
  calls <- sprintf(
    c("mirai::daemon('%s')", "mirai::daemon('%s', output = TRUE, autoexit = FALSE)", "mirai::daemon('%s', asyncdial = TRUE)"),
    c(url, url, local_url())
  )
  for (call in calls) {
    child <- spawn(c(
      sprintf("r <- tryCatch({cat('\\nready\\n'); %s}, interrupt = function(e) 'interrupted')", call),
      "cat('\\nthen', r, mirai::on_daemon(), sink.number(), sink.number('message'), '\\n')"
    ), at_prompt = TRUE)
    await("ready" %in% child$log())
    if (grepl(url, call, fixed = TRUE)) await(info()[["connections"]] == 1L)
    tools::pskill(child$pid, tools::SIGINT)
    expect_match(child$wait(), "^then interrupted FALSE 0 2", all = FALSE)
    await(info()[["connections"]] == 0L)
  }
})

test_that("Ctrl-C while a daemon is welcomed ends it where somebody attends to it, and elsewhere leaves it whole", {
  skip_on_os("windows")
  url <- host()
  interrupted_welcome <- c(
    "signal <- quote(tools::pskill(Sys.getpid(), tools::SIGINT))",
    "suppressMessages(trace('take_snapshot', signal, print = FALSE, where = asNamespace('mirai')))",
    sprintf("r <- tryCatch(mirai::daemon('%s'), interrupt = function(e) 'interrupted')", url),
    "cat('\\nthen', r, '\\n')"
  )
  attended <- spawn(interrupted_welcome, at_prompt = TRUE)
  expect_match(attended$wait(), "^then interrupted", all = FALSE)
  await(info()[["connections"]] == 0L)
  script <- spawn(interrupted_welcome)
  expect_identical(value(mirai({left <<- "something"; Sys.getpid()})), script$pid)
  expect_false(value(mirai(exists("left"))))
})

test_that("Ctrl-C ends a daemon whose host says nothing", {
  skip_on_os("windows")
  socket <- NULL
  while (is.null(socket)) {
    port <- 20000L + as.integer(runif(1, 0, 10000))
    socket <- tryCatch(serverSocket(port), error = function(e) NULL)
  }
  defer(close(socket))
  for (scheme in c("tcp", "ws")) {
    child <- spawn(c(
      sprintf("r <- tryCatch(mirai::daemon('%s://127.0.0.1:%d'), interrupt = function(e) 'interrupted')", scheme, port),
      "cat('\\nthen', r, mirai::on_daemon(), '\\n')"
    ), at_prompt = TRUE)
    connection <- socketAccept(socket, timeout = 30)
    tools::pskill(child$pid, tools::SIGINT)
    expect_match(child$wait(), "^then interrupted FALSE", all = FALSE)
    close(connection)
  }
})

test_that("Ctrl-C at a prompt interrupts the task of a busy daemon, which goes on", {
  skip_on_os("windows")
  url <- host()
  child <- spawn(sprintf("tryCatch(mirai::daemon('%s'), interrupt = function(e) cat('\\ninterrupted\\n'))", url), at_prompt = TRUE)
  held <- hold()
  held$started()
  tools::pskill(child$pid, tools::SIGINT)
  expect_s3_class(value(held$m), "miraiInterrupt")
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  tools::pskill(child$pid, tools::SIGINT)
  expect_match(child$wait(), "^interrupted", all = FALSE)
})

test_that("Ctrl-C ends an idle daemon of a script in the foreground of a terminal", {
  skip_on_os("windows")
  skip_if(Sys.which("script") == "", "needs the program script")
  url <- host()
  child <- spawn(sprintf("tryCatch(mirai::daemon('%s'), interrupt = function(e) cat('\\ninterrupted\\n'))", url), in_terminal = TRUE)
  await(info()[["connections"]] == 1L)
  tools::pskill(child$pid, tools::SIGINT)
  expect_match(child$wait(), "interrupted", all = FALSE)
})

test_that("a daemon of the wrong kind is refused, in both directions", {
  child <- start_daemon(host(), "dispatcher = FALSE")
  expect_match(child$wait(), "the host's daemons are set up with dispatcher = TRUE", all = FALSE)
  child <- start_daemon(host(dispatcher = FALSE))
  expect_match(child$wait(), "the host's daemons are set up with dispatcher = FALSE", all = FALSE)
})

test_that("asyncdial waits for the host", {
  url <- local_url()
  child <- spawn(c(
    sprintf("cat(tryCatch(mirai::daemon('%s'), error = conditionMessage), '\\n')", url),
    sprintf("cat('code', mirai::daemon('%s', asyncdial = TRUE), '\\n')", url)
  ))
  await(any(grepl("^6 \\| Connection refused: no host listens at", child$log())))
  local_pool(url = url)
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(0)
  expect_identical(child$wait()[2L], "code 0 ")
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

test_that("autoexit = FALSE outlives a host that is killed", {
  url <- local_url()
  first <- spawn(c(
    "library(mirai)",
    sprintf("daemons(url = '%s')", url),
    "cat('served', mirai(6 * 7)[], '\\n')",
    "Sys.sleep(600)"
  ))
  child <- start_daemon(url, "asyncdial = TRUE", "autoexit = FALSE")
  await("served 42 " %in% first$log())
  tools::pskill(first$pid, tools::SIGKILL)
  # The address is free when the last thread of the first host has ended.
  await(tryCatch(isTRUE(daemons(url = url)), error = function(e) FALSE))
  defer(daemons(0))
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(NULL)
  expect_exit(child, 0L)
})

test_that("an exit signal reaches a busy daemon after its task", {
  for (dispatcher in c(TRUE, FALSE)) for (autoexit in c("FALSE", "NA")) {
    url <- host(dispatcher = dispatcher)
    child <- start_daemon(url, paste("dispatcher =", dispatcher), paste("autoexit =", autoexit))
    held <- hold()
    held$started()
    daemons(NULL)
    held$open()
    expect_exit(child, 0L)
  }
})

test_that("a number for autoexit is TRUE or FALSE", {
  child <- start_daemon(host(), "autoexit = 15L")
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(0)
  expect_exit(child, 0L)
  url <- host()
  child <- start_daemon(url, "autoexit = 0")
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(0)
  daemons(url = url)
  expect_identical(value(mirai(Sys.getpid())), child$pid)
  daemons(NULL)
  expect_exit(child, 0L)
})

test_that("limits end a daemon that waits for its next host", {
  child <- start_daemon(host(), "autoexit = FALSE", "walltime = 500")
  await(info()[["cumulative"]] == 1L)
  daemons(0)
  expect_exit(child, 2L)
})

test_that("the next host's settings count: serialization and random numbers", {
  config <- serial_config("handle", function(x) as.raw(7), function(bytes) paste("came as", bytes))
  handle <- structure(new.env(), class = "handle")
  url <- host(serial = config)
  child <- start_daemon(url, "autoexit = FALSE")
  expect_identical(value(mirai(x, x = handle)), "came as 07")
  daemons(url = url)
  expect_s3_class(value(mirai(x, x = handle)), "handle")
  # That of the first daemon of this pool.
  expect_identical(value(mirai(.Random.seed)), parallel::nextRNGStream(nextget("stream")))
  daemons(url = url, serial = config)
  expect_identical(value(mirai(c(x, Sys.getpid()), x = handle)), c("came as 07", child$pid))
  daemons(NULL)
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

test_that("an rs that is no stream is none", {
  url <- host()
  start_daemon(url, "rs = 'x'")
  expect_identical(value(mirai(.Random.seed)), parallel::nextRNGStream(nextget("stream")))
})

test_that("without rs and dispatcher the process keeps its random numbers", {
  url <- host(dispatcher = FALSE)
  spawn(c("set.seed(3)", sprintf("mirai::daemon('%s', dispatcher = FALSE)", url)))
  seed <- value(mirai(.Random.seed))
  old <- .Random.seed
  set.seed(3)
  expected <- .Random.seed
  assign(".Random.seed", old, globalenv())
  expect_identical(seed, expected)
})

test_that("the process keeps its working directory, options and library paths", {
  url <- host()
  file <- tempfile()
  state <- quote(list(getwd(), .libPaths(), Filter(is.atomic, options())))
  child <- spawn(c(
    "options(digits = 5, mirai.test = 'own')",
    paste("state <- function()", paste(deparse(state), collapse = "\n")),
    "before <- state()",
    sprintf("saveRDS(before, '%s')", file),
    sprintf("mirai::daemon('%s', maxtasks = 1)", url),
    "cat('same', identical(before, state()), '\\n')"
  ))
  within <- value(mirai(state))
  expect_identical(within, readRDS(file))
  expect_identical(within[[3L]]$mirai.test, "own")
  expect_identical(child$wait(), "same TRUE ")
})

test_that("on_daemon() is TRUE in tasks only", {
  expect_false(on_daemon())
  local_pool(1)
  expect_true(mirai(mirai::on_daemon())[])
  daemons(0)
  expect_true(value(mirai(mirai::on_daemon())))
})

test_that("on_daemon() is TRUE as a task loads a package, too", {
  local_pool(1)
  expect_true(mirai({
    seen <- NULL
    setHook(packageEvent("splines", "onLoad"), function(...) seen <<- mirai::on_daemon())
    loadNamespace("splines")
    seen
  })[])
})

test_that("output is discarded, or goes to the process's own", {
  child <- start_daemon(host(), "maxtasks = 1")
  value(mirai({
    print("printed")
    message("told")
    warning("warned")
    cat("catted\n")
  }))
  expect_identical(child$wait(), "code 3 integer FALSE ")
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

warner <- c(
  "warner <- function(...) with(daemons(...), {",
  "  mirai({f <- function(x) warning('of f ', x); f(1)})[]",
  "  message('the host')",
  "  mirai({warning('at the top'); as.integer('a')})[]",
  "  message('the host')",
  "  mirai_map(1, function(x) warning('of the map'))[]",
  "  message('the host')",
  "  mirai({warning('of a failure'); stop('failed')})[]",
  "  message('the host')",
  "  mirai({options(warn = 1); warning('at once'); message('third')})[]",
  "  mirai(message('last'))[]",
  "})"
)

test_that("with output = TRUE warnings of a task come after it and before its value, under the user's calls", {
  out <- run_r(c("library(mirai)", warner, "invisible(warner(1, output = TRUE))"))
  expect_identical(trimws(out), c(
    "Warning message:", "In f(1) : of f 1", "the host",
    "Warning messages:", "1: at the top", "2: NAs introduced by coercion", "the host",
    "Warning message:", "In .f() : of the map", "the host",
    "Warning message:", "of a failure", "the host",
    "Warning: at once", "third", "last"
  ))
})

test_that("in a synchronous profile they come as those of the call that has evaluated the task", {
  out <- run_r(c(
    "library(mirai)", "daemons(sync = TRUE)",
    "m <- mirai({f <- function(x) warning('of f ', x); f(1); warning('at the top')})", "message('between')",
    "m <- mirai_map(1, function(x) warning('of the map'))"
  ))
  expect_identical(trimws(out), c(
    "Warning messages:", "1: In f(1) : of f 1", "2: at the top", "between", "Warning message:", "In .f() : of the map"
  ))
})

test_that("warnings don't pile up in a daemon without output, nor is a warning that is raised as an error one", {
  local_pool(1)
  e <- mirai(tryCatch(warning("caught"), warning = function(w) stop(w)))[]
  expect_s3_class(e, "miraiError")
  expect_match(as.vector(e), "caught", fixed = TRUE)
  expect_identical(mirai(signalCondition(simpleWarning("only signalled", quote(eval(.__task_expr__., .__task_env__.)))))[], NULL)
  mirai(for (i in 1:60) warning(i))[]
  expect_null(mirai(mirai:::session$warnings)[])
})

test_that("what a child process of a task writes is not caught", {
  out <- run_r(c(
    "library(mirai)", "daemons(1)", "x <- mirai({cat('from the task\\n'); system('echo from a child'); NULL})[]", "daemons(0)"
  ))
  expect_identical(out, "from a child")
})

test_that("tasks may use daemons of their own, which go with their daemon", {
  local_pool(1)
  expect_identical(value(mirai(mirai::mirai(6 * 7)[])), 42)
  # What a task sets up goes with it, what everywhere() does is for later tasks.
  everywhere(mirai::daemons(1))
  pid <- value(mirai(mirai::mirai(Sys.getpid())[]))
  expect_true(alive(pid))
  expect_identical(value(mirai(mirai::mirai(Sys.getpid())[])), pid)
  daemons(0)
  expect_true(await(!alive(pid)))
})

test_that("a daemon in a PID namespace of its own, as in a container, serves, and its death is told", {
  skip_unless_linux()
  apart <- c("unshare", if (!identical(Sys.info()[["effective_user"]], "root")) "-Ur", "--pid", "--fork", "--mount-proc")
  works <- nzchar(Sys.which("unshare")) &&
    suppressWarnings(system2(apart[1L], c(apart[-1L], "true"), stdout = FALSE, stderr = FALSE)) == 0L
  skip_if_not(works, "needs PID namespaces")
  local_pool(url = local_url())
  call <- shQuote(sprintf("mirai::daemon(\"%s\")", nextget("url")))
  system2("env", c(child_env(), apart, rscript, "-e", call), wait = FALSE)
  pid <- value(mirai(Sys.getpid()))
  expect_lt(pid, 100L)
  # Where it is the first process, the kernel keeps it from killing itself by the usual signals.
  expect_code(value(mirai(quit(save = "no", status = 3L))), 19L)
  await(info()[["connections"]] == 0L)
})

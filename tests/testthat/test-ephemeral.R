skip_within_check()

test_that("without daemons each mirai has a process of its own", {
  expect_false(daemons_set())
  a <- mirai(Sys.getpid())
  b <- mirai(Sys.getpid())
  expect_false(value(a) == value(b))
  expect_false(Sys.getpid() %in% c(a[], b[]))
  await(!alive(a[]) && !alive(b[]))
  expect_null(info())
})

test_that("it does all that a mirai does", {
  expect_identical(value(mirai(x + y, x = 1, .args = list(y = 2))), 3)
  e <- value(mirai({
    f <- function() stop("no")
    f()
  }))
  expect_identical(as.vector(e), "Error in f(): no")
  ms <- lapply(1:4, function(i) mirai(i, .args = list(i = i)))
  expect_identical(collect_mirai(ms), as.list(1:4))
})

# A task that notes its process, has `body` run, and notes that it was interrupted.
noted <- function(body, ..., .timeout = NULL, .runtime = NULL) {
  notes <- tempfile(c("pid", "interrupted"))
  task <- bquote({
    on.exit(file.create(interrupted))
    writeLines(as.character(Sys.getpid()), paste0(pid, ".new"))
    file.rename(paste0(pid, ".new"), pid)
    .(body)
  })
  m <- mirai(task, .args = list(pid = notes[1L], interrupted = notes[2L], ...), .timeout = .timeout, .runtime = .runtime)
  list(
    m = m,
    pid = function() {
      await(file.exists(notes[1L]))
      as.integer(readLines(notes[1L]))
    },
    was_interrupted = function() file.exists(notes[2L])
  )
}

endless <- quote(repeat Sys.sleep(0.01))

test_that("its process prints nothing", {
  expect_identical(run_r("m <- mirai::mirai({print('said'); invisible(1)}); stopifnot(identical(m[], 1))"), character())
})

test_that("stopping resolves to 20, and the process ends", {
  task <- noted(endless)
  pid <- task$pid()
  expect_true(stop_mirai(task$m))
  expect_code(task$m$data, 20L)
  await(!alive(pid))
  expect_true(task$was_interrupted())
  expect_false(stop_mirai(task$m))
})

test_that("a process whose time is up ends", {
  # The times are long enough for R to start in most cases, but it is the same before.
  timed <- noted(endless, .timeout = 3000)
  limited <- noted(endless, .runtime = 500)
  pids <- c(timed$pid(), limited$pid())
  expect_code(value(timed$m), 5L)
  expect_code(value(limited$m), 5L)
  await(!alive(pids[1L]) && !alive(pids[2L]))
  expect_true(timed$was_interrupted() && limited$was_interrupted())
})

test_that("a task that takes no interrupt is killed, whether anybody holds its mirai or not", {
  deaf <- quote(repeat tryCatch(Sys.sleep(60), interrupt = function(e) NULL))
  task <- noted(deaf)
  lost <- noted(deaf, .timeout = 3000)
  pids <- c(task$pid(), lost$pid())
  lost$m <- NULL
  gc()
  stop_mirai(task$m)
  await(!alive(pids[1L]) && !alive(pids[2L]))
  expect_false(task$was_interrupted() || lost$was_interrupted())
})

# A task with a process of its own, which notes that in the file `children`.
with_child <- function(body = NULL) bquote({
  .(body)
  system2("sh", c("-c", shQuote(sprintf("echo $$ >%s.new; mv %s.new %s; exec sleep 600", children, children, children))), wait = FALSE)
  repeat Sys.sleep(0.01)
})

test_that("with a task that is given up ends what it has started", {
  skip_unless_linux()
  for (timeout in list(NULL, 4000)) {
    children <- tempfile("children")
    task <- noted(with_child(), children = children, .timeout = timeout)
    pid <- task$pid()
    await(file.exists(children))
    child <- as.integer(readLines(children))
    if (is.null(timeout)) expect_true(stop_mirai(task$m))
    expect_true(await(!alive(pid) && !alive(child)))
    expect_true(task$was_interrupted())
  }
})

test_that("so is one that hangs on its way out, with its children", {
  skip_unless_linux()
  children <- tempfile("children")
  task <- noted(
    with_child(quote(reg.finalizer(globalenv(), function(e) repeat Sys.sleep(1), onexit = TRUE))), children = children
  )
  pid <- task$pid()
  await(file.exists(children))
  child <- as.integer(readLines(children))
  expect_true(stop_mirai(task$m))
  await(!alive(pid) && !alive(child))
  expect_true(task$was_interrupted())
})

# Where the ephemeral daemons of this session connect to.
ephemeral_url <- function() {
  line <- value(mirai({
    bytes <- readBin("/proc/self/cmdline", "raw", 4096L)
    rawToChar(bytes[bytes != 0L])
  }))
  sub('.*mirai::daemon\\("([^"]+)".*', "\\1", line)
}

test_that("what is settled before its process is there leaves none behind, and all others have one", {
  skip_unless_linux()
  url <- ephemeral_url()
  started <- tempfile(rep("started", 12L))
  tasks <- lapply(started, function(file) mirai({
    file.create(file)
    "done"
  }, .args = list(file = file), .timeout = if (file == started[12L]) 0))
  off <- c(1:4, 7:8)
  expect_identical(stop_mirai(tasks[off]), rep(TRUE, length(off)))
  for (m in tasks[off]) expect_code(m$data, 20L)
  expect_code(tasks[[12L]]$data, 5L)
  on <- setdiff(1:11, off)
  await(!any(vapply(tasks[on], unresolved, NA)))
  expect_identical(collect_mirai(tasks[on]), rep(list("done"), length(on)))
  await(!length(daemon_pids(url = url)))
})

test_that("what is settled at any time leaves no process behind", {
  skip_unless_linux()
  url <- ephemeral_url()
  # Between the launch and the task's first second: whatever the machine makes of that.
  for (pause in seq(0, 0.3, by = 0.02)) {
    tasks <- lapply(1:2, function(i) mirai(repeat Sys.sleep(0.01)))
    Sys.sleep(pause)
    stop_mirai(tasks)
  }
  await(!length(daemon_pids(url = url)))
  expect_identical(value(mirai("another")), "another")
})

test_that("a task whose process cannot be launched does not take that of another", {
  folder <- tempfile("gone")
  dir.create(folder)
  old <- setwd(folder)
  defer(setwd(old))
  unlink(folder, recursive = TRUE)
  expect_error(mirai("first"), "daemons cannot start in the working directory", fixed = TRUE)
  setwd(old)
  tasks <- lapply(1:3, function(i) mirai(i, .args = list(i = i)))
  await(!any(vapply(tasks, unresolved, NA)))
  expect_identical(collect_mirai(tasks), as.list(1:3))
})

test_that("a host that ends meanwhile, in whatever way, leaves none behind either", {
  skip_unless_linux()
  for (end in c("quit('no')", "tools::pskill(Sys.getpid(), tools::SIGKILL)")) {
    code <- c(
      "library(mirai)",
      "deaf <- quote({file.create(started); repeat tryCatch(Sys.sleep(60), interrupt = function(e) NULL)})",
      "started <- tempfile(letters[1:3])",
      "tasks <- lapply(started, function(file) mirai(deaf, .args = list(started = file)))",
      "while (!all(file.exists(started))) Sys.sleep(0.01)",
      "bytes <- mirai(readBin('/proc/self/cmdline', 'raw', 4096L))[]",
      "url <- sub('.*mirai::daemon..([^,]+).,.*', '\\\\1', rawToChar(bytes[bytes != 0L]))",
      "cat(url, '\\n')",
      "stop_mirai(tasks)",
      "late <- lapply(1:3, function(i) mirai(repeat Sys.sleep(0.01)))",
      "stop_mirai(late)",
      end
    )
    url <- trimws(run_r(code)[1L])
    expect_match(url, "^abstract://[0-9a-f]+$")
    await(!length(daemon_pids(url = url)))
  }
})

test_that("one that hangs on its way out is gone soon after its host, as are those of a pool", {
  skip_unless_linux()
  hosts <- list(
    finished = "m[]",
    given_up = c("while (!file.exists(file)) Sys.sleep(0.01)", "stop_mirai(m)"),
    killed = c("m[]", "tools::pskill(Sys.getpid(), tools::SIGKILL)"),
    pool = "m[]",
    reset = c("m[]", "daemons(0)")
  )
  notes <- lapply(hosts, function(end) tempfile())
  for (host in names(hosts)) run_r(c(
    "library(mirai)",
    sprintf("file <- '%s'", notes[[host]]),
    if (host %in% c("pool", "reset")) "daemons(1)",
    "m <- mirai({",
    "  reg.finalizer(globalenv(), function(e) repeat tryCatch(Sys.sleep(60), interrupt = function(e) NULL), onexit = TRUE)",
    "  writeLines(as.character(Sys.getpid()), paste0(file, '.new'))",
    "  file.rename(paste0(file, '.new'), file)",
    if (host == "given_up") "  repeat Sys.sleep(0.01)",
    "}, file = file)",
    hosts[[host]]
  ))
  for (note in notes) expect_true(await(!alive(as.integer(readLines(note)))))
})

test_that("its process goes with the host", {
  skip_unless_linux()
  note <- tempfile()
  child <- spawn(c(
    "library(mirai)",
    sprintf("m <- mirai({writeLines(as.character(Sys.getpid()), '%s.new'); file.rename('%s.new', '%s'); Sys.sleep(600)})", note, note, note),
    "m[]"
  ))
  await(file.exists(note))
  pid <- as.integer(readLines(note))
  expect_true(alive(pid))
  tools::pskill(child$pid, tools::SIGKILL)
  expect_true(await(!alive(pid)))
})

test_that("a mirai that nobody holds is finished all the same", {
  file <- tempfile()
  mirai(file.create(file), .args = list(file = file))
  for (i in 1:3) gc()
  expect_true(await(file.exists(file)))
})

test_that("an unknown profile is warned about when it is named", {
  expect_no_warning(mirai(1)[])
  expect_warning(m <- mirai(1, .compute = "typo"), "typo")
  expect_identical(value(m), 1)
})

test_that("the host's library paths are passed on", {
  lib <- tempfile("lib")
  dir.create(lib)
  paths <- .libPaths()
  defer(.libPaths(paths))
  .libPaths(c(lib, paths))
  expect_identical(value(mirai(.libPaths())), .libPaths())
})

test_that("a process that dies is told from one that ends", {
  expect_code(value(mirai(quit("no"))), 19L)
  expect_code(value(mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))), 19L)
})

test_that("a process that cannot start resolves to an error", {
  profile <- tempfile()
  writeLines("stop('bad start')", profile)
  old <- Sys.getenv("R_PROFILE_USER", NA)
  Sys.setenv(R_PROFILE_USER = profile)
  defer(if (is.na(old)) Sys.unsetenv("R_PROFILE_USER") else Sys.setenv(R_PROFILE_USER = old))
  expect_warning(expect_code(value(mirai(1)), 19L), "no daemon could be started for a task.*bad start")
})

# What the processes of a script have written, read until the last one that has this output is gone, daemons included.
said_by <- function(code, within = character()) {
  script <- tempfile(fileext = ".R")
  writeLines(code, script)
  command <- c(within, rscript, shQuote(script))
  as.character(suppressWarnings(system2(command[1L], command[-1L], stdout = TRUE, stderr = TRUE, env = child_env())))
}

# The first value is there once a fork server is.
test_that("a daemon whose host has ended before it came says nothing", {
  skip_unless_linux()
  expect_identical(said_by("library(mirai); invisible(mirai(1)[]); for (i in 1:20) mirai(1)"), character())
})

test_that("daemons of an interrupted daemons() say nothing", {
  skip_unless_linux()
  # The interrupt comes as soon as they have been launched.
  interrupted <- "tryCatch(daemons(20), interrupt = function(e) cat('interrupted\\n'))"
  code <- c(
    "library(mirai); invisible(mirai(1)[])",
    "space <- asNamespace('mirai'); unlockBinding('wait_for_daemons', space)",
    "space$wait_for_daemons <- function(...) {tools::pskill(Sys.getpid(), tools::SIGINT); Sys.sleep(60)}",
    rep(interrupted, 5)
  )
  expect_identical(said_by(code), rep("interrupted", 5))
})

test_that("so it is where Rscript starts the daemons", {
  within <- without_proc()
  expect_identical(said_by("library(mirai); for (i in 1:5) mirai(1)", within), character())
  profile <- tempfile()
  # The first daemon interrupts its host, in whose environment this process is named.
  writeLines(sprintf(
    "if (!nzchar(Sys.getenv('HOST'))) Sys.setenv(HOST = Sys.getpid()) else
       if (dir.create('%s', FALSE)) tools::pskill(as.integer(Sys.getenv('HOST')), tools::SIGINT)", tempfile("once")), profile)
  code <- "library(mirai); tryCatch(daemons(20), interrupt = function(e) cat('interrupted\\n'))"
  expect_identical(said_by(code, c(within, "env", paste0("R_PROFILE_USER=", profile))), "interrupted")
})

test_that("a daemon that was typed by hand says why it cannot start", {
  skip_unless_linux()
  said <- said_by(sprintf("mirai::daemon('%s')", local_url()))
  expect_match(said, "6 | Connection refused", fixed = TRUE, all = FALSE)
})

test_that("a profile that is named and has no daemons is told of once, unless a package names it", {
  warned <- function(expr) {
    said <- character()
    withCallingHandlers(expr, warning = function(w) {
      said <<- c(said, conditionMessage(w))
      invokeRestart("muffleWarning")
    })
    said
  }
  first <- sprintf("unset-%d", 1:2)
  said <- warned(mirai(1, .compute = first[1L]))
  expect_match(said, sprintf("no daemons set for the '%s' compute profile", first[1L]), fixed = TRUE)
  expect_identical(warned(mirai(1, .compute = first[1L])), character())
  expect_length(warned(try_mirai(1, .compute = first[2L])), 1L)
  expect_identical(warned(mirai(1)), character())
  # As a function of a package calls it, by whatever way.
  within <- function(code) eval(code, new.env(parent = asNamespace("stats")))
  expect_identical(warned(within(quote(mirai::mirai(1, .compute = "unset-3")))), character())
  expect_identical(warned(within(quote(do.call(mirai::mirai, list(1, .compute = "unset-3"))))), character())
  expect_length(warned(do.call(mirai, list(1, .compute = "unset-3"))), 1L)
})

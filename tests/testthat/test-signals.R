# Signals other than an interrupt, which host and daemon get from users and from job schedulers. R itself handles SIGUSR1
# (save the workspace, run .Last, quit), SIGUSR2 (save, quit) and SIGPIPE (an error); the others have their usual effect.

skip_within_check()

signals <- c(HUP = 1L, USR1 = 10L, USR2 = 12L, PIPE = 13L, ALRM = 14L, TERM = 15L, CHLD = 17L)
ending <- setdiff(names(signals), c("PIPE", "CHLD"))

skip_unless_linux()

# What nohup ignores is ignored by all that is started from there.
ignored <- Filter(function(name) {
  mask <- sub("^SigIgn:[[:space:]]+", "", grep("^SigIgn:", readLines("/proc/self/status"), value = TRUE))
  bitwAnd(strtoi(substring(mask, nchar(mask) - 3L), 16L), bitwShiftL(1L, signals[[name]] - 1L)) != 0L
}, ending)
ending <- setdiff(ending, ignored)
if (length(ignored)) test_that("all signals can be tried", {
  skip(sprintf("SIG%s is ignored here, and so in what is started", ignored[1L]))
})

send <- function(pid, name) tools::pskill(pid, signals[[name]])

# Daemons in a folder where R may save their workspace.
pool_apart <- function(frame = parent.frame()) {
  before <- setwd(tempdir())
  on.exit(setwd(before))
  local_pool(1, heal = FALSE, frame = frame)
}

# A session that has a daemon at work, and then does `waiting`.
waiting_host <- function(waiting, memory = "NULL", frame = parent.frame()) {
  ready <- tempfile("ready")
  folder <- tempfile("folder")
  dir.create(folder)
  host <- spawn(c(
    sprintf("setwd('%s')", folder),
    "library(mirai)",
    sprintf("daemons(1, memory = %s)", memory),
    ".Last <- function() { daemons(0); cat('the last of it\\n') }",
    sprintf("m <- mirai({ file.create('%s'); Sys.sleep(600) })", ready),
    waiting
  ), frame = frame)
  await(file.exists(ready))
  host
}

# Is it in a system call that waits? Then the wait of the test is under way.
sleeps <- function(pid) {
  status <- readLines(sprintf("/proc/%d/status", pid), warn = FALSE)
  any(grepl("^State:\\s+S", status))
}

test_that("a signal that ends a session ends one that waits for a value, and .Last may reset daemons", {
  for (name in ending) {
    host <- waiting_host("m[]")
    await(sleeps(host$pid))
    send(host$pid, name)
    log <- host$wait()
    expect_identical(any(grepl("the last of it", log)), name == "USR1", label = name)
  }
})

test_that("a session that waits at its memory limit quits when it is told to", {
  host <- waiting_host("for (i in 1:3) mirai(x, x = raw(2e6))", memory = "1")
  await(sleeps(host$pid))
  send(host$pid, "USR1")
  expect_true(any(grepl("the last of it", host$wait())))
})

# A signal is pending until its handler runs.
is_pending_for <- function(pid) {
  any(grepl("^(Shd|Sig)Pnd:.*[1-9a-f]", readLines(sprintf("/proc/%d/status", pid), warn = FALSE)))
}

test_that("a signal by which R quits is kept while interrupts are suspended", {
  for (name in intersect(c("USR1", "USR2"), ending)) for (waiting in c("while (!file.exists(go)) Sys.sleep(0.01)", "n[]")) {
    go <- tempfile("go")
    ready <- tempfile("ready")
    host <- waiting_host(c(
      sprintf("go <- '%s'", go),
      "launch_local(1)",
      "n <- mirai(while (!file.exists(go)) Sys.sleep(0.01), go = go)",
      sprintf("suspendInterrupts({ file.create('%s'); %s })", ready, waiting),
      "for (i in 1:1000) Sys.sleep(0.01)",
      "cat('it went on\\n')"
    ))
    await(file.exists(ready))
    send(host$pid, name)
    await(!is_pending_for(host$pid))
    expect_true(alive(host$pid))
    file.create(go)
    log <- host$wait()
    expect_false(any(grepl("it went on|ignored", log)), label = paste(c(name, waiting, log), collapse = "\n"))
    expect_identical(any(grepl("the last of it", log)), name == "USR1", label = name)
  }
})

test_that("SIGPIPE is an error of the wait, and the next one is as ever; SIGCHLD is nothing", {
  gate <- tempfile("gate")
  host <- waiting_host(c(
    "r <- tryCatch(m[], error = function(e) conditionMessage(e))",
    "print(r)",
    "daemons(1)",
    sprintf("print(mirai(1 + 1)[]); m <- mirai({ file.create('%s'); Sys.sleep(0.5); 'in the end' }); print(m[])", gate)
  ))
  await(sleeps(host$pid))
  send(host$pid, "PIPE")
  await(file.exists(gate))
  send(host$pid, "CHLD")
  log <- host$wait()
  expect_true(any(grepl("SIGPIPE", log)))
  expect_true(any(grepl("[1] 2", log, fixed = TRUE)))
  expect_true(any(grepl("in the end", log)))
})

test_that("a signal that ends a process ends an idle daemon, and another one gets the task", {
  for (name in ending) {
    pool_apart()
    pid <- daemon_pids()
    send(pid, name)
    await(!alive(pid))
    await(info()[["connections"]] == 0L)
    m <- mirai("from another one")
    launch_local(1)
    expect_identical(value(m), "from another one", label = name)
    daemons(0)
  }
})

test_that("a pool that heals replaces an idle daemon that a signal has R quit, and lists its death", {
  for (name in intersect(c("USR1", "USR2"), ending)) {
    before <- setwd(tempdir())
    local_pool(1)
    setwd(before)
    pid <- daemon_pids()
    send(pid, name)
    suppressWarnings(await(!pid %in% status()$workers$pid && info()[["connections"]] == 1L))
    deaths <- status()$deaths
    expect_identical(deaths$pid, pid)
    expect_match(deaths$reason, "was told to quit, by SIGUSR1 or SIGUSR2", fixed = TRUE)
    expect_identical(suppressWarnings(value(mirai("from another one"))), "from another one")
    daemons(0)
  }
})

test_that("a signal that ends a process ends a busy daemon, whose task is lost", {
  for (name in ending) {
    pool_apart()
    pid <- daemon_pids()
    held <- hold()
    held$started()
    send(pid, name)
    expect_code(value(held$m), 19L)
    await(!alive(pid))
    deaths <- status()$deaths
    expect_match(deaths$reason, paste0("was (told to quit,|ended) by signal [0-9]+ [(]SIG", name, "[)]"))
    expect_identical(deaths$output, NA_character_)
    daemons(0)
  }
})

test_that("R quits by a signal however its daemon's task allocates memory meanwhile, or takes no notice", {
  allocating <- quote({
    file.create(started)
    x <- list()
    repeat {
      x <- c(x, lapply(1:100, function(i) paste("a", i, runif(1))))
      if (length(x) > 5000L) x <- list()
    }
  })
  deaf <- quote({ file.create(started); suspendInterrupts(repeat NULL) })
  for (task in c(rep(list(allocating), 20L), deaf)) for (name in intersect(c("USR1", "USR2"), ending)) {
    pool_apart()
    pid <- daemon_pids()
    started <- tempfile("started")
    m <- mirai(task, .args = list(started = started))
    await(file.exists(started))
    send(pid, name)
    expect_code(value(m), 19L)
    await(!alive(pid))
    daemons(0)
  }
})

test_that("other signals leave an idle daemon and its next task alone", {
  pool_apart()
  pid <- daemon_pids()
  for (name in setdiff(names(signals), ending)) {
    for (i in 1:20) send(pid, name)
    expect_identical(value(mirai(Sys.getpid())), pid, label = name)
    expect_identical(value(mirai("next")), "next", label = name)
  }
})

test_that("SIGPIPE in a task is an error of that task alone", {
  pool_apart()
  pid <- daemon_pids()
  e <- value(mirai({ tools::pskill(Sys.getpid(), 13L); Sys.sleep(0.01); "not this" }))
  expect_match(as.character(e), "SIGPIPE")
  expect_identical(value(mirai(Sys.getpid())), pid)
})

test_that("signals to the fork server are not those of the daemons it starts afterwards, nor of its own end", {
  for (name in c("USR1", "USR2", "PIPE")) {
    folder <- tempfile("folder")
    dir.create(folder)
    host <- spawn(c(
      sprintf("setwd('%s')", folder),
      "library(mirai)",
      "daemons(1)",
      "parent <- grep('^PPid:', mirai(readLines('/proc/self/status'))[], value = TRUE)",
      "server <- as.integer(sub('^PPid:[[:space:]]+', '', parent))",
      "if (server == Sys.getpid()) { cat('no fork server\\n'); quit('no') }",
      sprintf("tools::pskill(server, %d)", signals[[name]]),
      "daemons(0)",
      "daemons(2)",
      "cat('sum', mirai(40 + 2)[], '\\n')",
      "daemons(0)",
      "cat('server', server, '\\n')"
    ))
    log <- host$wait()
    skip_if("no fork server" %in% log, "needs a fork server")
    expect_true("sum 42 " %in% log, label = paste(c(name, log), collapse = "\n"))
    await(!alive(as.integer(sub("server ", "", grep("^server", log, value = TRUE)))))
    expect_identical(list.files(folder, all.files = TRUE, no.. = TRUE), character(), label = name)
  }
})

test_that("a daemon that had a SIGPIPE while it was idle leaves without a word", {
  log <- run_r(c(
    "library(mirai)",
    "daemons(1)",
    "pid <- mirai(Sys.getpid())[]",
    sprintf("tools::pskill(pid, %d)", signals[["PIPE"]]),
    # Until the signal has been taken: it is pending for the process before.
    "pending <- function() any(grepl('^(Shd|Sig)Pnd:.*[1-9a-f]', readLines(sprintf('/proc/%d/status', pid))))",
    "while (pending()) Sys.sleep(0.01)",
    "daemons(0)",
    "while (file.exists(sprintf('/proc/%d/exe', pid))) Sys.sleep(0.01)",
    "cat('gone\\n')"
  ))
  expect_identical(log, "gone")
})

# Whether a process has a handler for SIGTERM.
catches_term <- function(pid) {
  mask <- sub("^SigCgt:[[:space:]]+", "", grep("^SigCgt:", readLines(sprintf("/proc/%d/status", pid)), value = TRUE))
  bitwAnd(strtoi(substring(mask, nchar(mask) - 3L), 16L), bitwShiftL(1L, signals[["TERM"]] - 1L)) != 0L
}

test_that("SIGTERM has a daemon with autoexit = NA leave after its task, and a second one ends it", {
  local_pool(url = local_url())
  code <- sprintf("cat('code', mirai::daemon('%s', autoexit = NA), '\\n')", nextget("url"))
  busy <- spawn(code)
  await(info()[["connections"]] == 1L)
  task <- hold()
  task$started()
  waiting <- mirai("another")
  send(busy$pid, "TERM")
  await(!catches_term(busy$pid))
  task$open()
  expect_identical(value(task$m), "held")
  expect_match(busy$wait(), "code 0", all = FALSE)
  expect_true(unresolved(waiting))

  idle <- spawn(code)
  expect_identical(value(waiting), "another")
  send(idle$pid, "TERM")
  expect_match(idle$wait(), "code 0", all = FALSE)

  stuck <- spawn(code)
  await(info()[["connections"]] == 1L)
  task <- hold()
  task$started()
  send(stuck$pid, "TERM")
  await(!catches_term(stuck$pid))
  send(stuck$pid, "TERM")
  expect_code(value(task$m), 19L)
  expect_false(any(grepl("code", stuck$wait())))
})

test_that("SIGTERM is the end of other daemons at once", {
  local_pool(url = local_url())
  other <- spawn(sprintf("cat('code', mirai::daemon('%s'), '\\n')", nextget("url")))
  await(info()[["connections"]] == 1L)
  expect_false(catches_term(other$pid))
  task <- hold()
  task$started()
  send(other$pid, "TERM")
  expect_code(value(task$m), 19L)
})

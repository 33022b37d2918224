

skip_within_check()
test_that("launch_local() adds daemons and returns their number", {
  local_pool(1)
  expect_visible(launch_local(0))
  expect_identical(launch_local(1), 1L)
  expect_identical(launch_local(1), 1L)
  expect_identical(launch_local(0), 0L)
  await(info()[["connections"]] == 3L)
  expect_identical(info()[["cumulative"]], 3L)
})

test_that("arguments are added to those of the pool", {
  local_pool(url = local_url(), cleanup = FALSE)
  launch_local(1, maxtasks = 3)
  value(mirai(left <<- 1))
  expect_identical(value(mirai(left)), 1)
  expect_identical(value(mirai("last")), "last")
  await(info()[["connections"]] == 0L)
  expect_identical(info()[["completed"]], 3L)
  expect_warning(launch_local(0, nonsense = 1), "`nonsense`")
})

test_that("arguments are written as R reads them, whatever numbers the user likes to see", {
  options <- options(OutDec = ",", scipen = -9, digits = 3)
  defer(options(options))
  local_pool(1, idletime = 1234567, walltime = 3600000.5, maxtasks = 3e9)
  expect_identical(mirai("here")[], "here")
  expect_match(launch_remote(1), "idletime=1.234567e+06,walltime=3.6000005e+06,maxtasks=3e+09", fixed = TRUE)
})

test_that("wrong arguments are errors", {
  expect_refused(launch_local(), "daemons must be set to use this function", "launch_local")
  local_pool(url = local_url())
  expect_refused(launch_local(-1), "zero or greater", "launch_local")
  expect_refused(launch_local("a"), "`n` must be a whole number", "launch_local")
})

test_that("direct pools launch with a stream each", {
  set.seed(3)
  local_pool(url = local_url(), dispatcher = FALSE)
  base <- nextget("stream")
  launch_local(1)
  expect_identical(value(mirai(.Random.seed)), base)
  expect_identical(nextget("stream"), parallel::nextRNGStream(base))
})

test_that("local_url() is new each time and leaves the random numbers alone", {
  set.seed(1)
  before <- .Random.seed
  a <- local_url()
  expect_false(identical(a, local_url()))
  expect_identical(.Random.seed, before)
  expect_match(a, "[0-9a-f]{24}$")
  expect_identical(local_url(tcp = TRUE), "tcp://127.0.0.1:0")
  expect_identical(local_url(tcp = TRUE, port = 80), "tcp://127.0.0.1:80")
  skip_unless_linux()
  expect_match(a, "^abstract://[0-9a-f]{24}$")
})

# ---- daemons that will not come

# New sessions of R end as they start, until the end of the test or until `r_starts()`.
r_ends_at_start <- function(frame = parent.frame()) {
  profile <- tempfile("profile")
  writeLines("quit('no', 7)", profile)
  Sys.setenv(R_PROFILE_USER = profile)
  defer(r_starts(), frame)
}

r_starts <- function() Sys.unsetenv("R_PROFILE_USER")

# The value, and what was warned of on the way; the first time `mend` is called.
with_warnings <- function(expr, mend = function(message) NULL) {
  warned <- character()
  value <- withCallingHandlers(expr, warning = function(w) {
    warned <<- c(warned, conditionMessage(w))
    if (length(warned) == 1L) mend(warned)
    invokeRestart("muffleWarning")
  })
  list(value = value, warned = warned)
}

test_that("a wait for daemons that will not come warns, and status() lists why", {
  local_pool(url = local_url())
  expect_identical(nrow(status()$failed), 0L)
  r_ends_at_start()
  launch_local(2)
  m <- mirai("value")
  mend <- function(message) {
    r_starts()
    launch_local(1)
  }
  got <- with_warnings(m[], mend)
  expect_identical(got$value, "value")
  expect_match(got$warned, "^mirai: [12] launched daemons? will not come.*exit code 7.*The command was: ")
  failed <- status()$failed
  expect_named(failed, c("count", "reason", "command"))
  expect_identical(sum(failed$count), 2L)
  expect_match(failed$reason, "exit code 7", fixed = TRUE)
  expect_true(all(nzchar(failed$command)))
})

test_that("without a wait the next call warns", {
  local_pool(url = local_url())
  r_ends_at_start()
  launch_local(1)
  got <- with_warnings(await({info(); sum(status()$failed$count) == 1L}))
  if (!length(got$warned)) got <- with_warnings(info())
  expect_match(got$warned, "^mirai: 1 launched daemon will not come")
  expect_silent(status())
})

test_that("what daemons() itself reports is not told twice, and a pool that was reset misses nobody", {
  r_ends_at_start()
  expect_error(daemons(1), "exit code 7")
  expect_silent(info())
  daemons(url = local_url())
  launch_local(1)
  daemons(0)
  local_pool(url = local_url())
  expect_silent(info())
})

test_that("an ephemeral task whose daemon cannot start is lost, and the reason is told", {
  r_ends_at_start()
  got <- with_warnings(mirai("value")[])
  expect_code(got$value, 19L)
  expect_match(got$warned, "^mirai: no daemon could be started for a task, which is lost \\(error 19\\).*exit code 7")
})

test_that("a fork server that has been stopped is named, and goes on where it was", {
  skip_unless_linux()
  local_pool(1)
  server <- mirai(as.integer(sub("^PPid:\\s+", "", grep("^PPid:", readLines("/proc/self/status"), value = TRUE))))[]
  skip_if(server == Sys.getpid(), "needs a fork server")
  tools::pskill(server, tools::SIGSTOP)
  launch_local(1)
  # One for the daemon that is there, which it is kept busy with until the other one has come.
  first <- hold()
  first$started()
  got <- with_warnings(mirai("from the second")[])
  expect_identical(got$value, "from the second")
  expect_match(got$warned, sprintf("the process %d is asked for them, and has not answered for 10 seconds. It goes on if it was stopped", server),
               fixed = TRUE)
  first$open()
  expect_identical(value(first$m), "held")
})

test_that("a process that has been stopped as it starts is named, and goes on", {
  skip_unless_linux()
  profile <- tempfile("profile")
  note <- tempfile("note")
  # From within a shell, as R does not go on meanwhile.
  writeLines(sprintf("system(\"echo $PPID >'%s.new'; mv '%s.new' '%s'; kill -STOP $PPID\")", note, note, note), profile)
  Sys.setenv(R_PROFILE_USER = profile)
  defer(r_starts())
  local_pool(url = local_url())
  launch_local(1)
  await(file.exists(note))
  starting <- as.integer(readLines(note))
  defer(tools::pskill(starting, tools::SIGKILL))
  told <- FALSE
  got <- with_warnings(await({info(); told}), function(message) told <<- TRUE)
  expect_match(got$warned[1L], sprintf("R starts for them in the process %d, and has not been up for 10 seconds", starting), fixed = TRUE)
  expect_identical(value(mirai("started")), "started")
})

test_that("daemons that have been stopped end with their pool", {
  skip_unless_linux()
  local_pool(2)
  pids <- daemon_pids()
  server <- parent_of(pids[1L])
  tools::pskill(c(pids[1L], if (server != Sys.getpid()) server), tools::SIGSTOP)
  daemons(0)
  expect_true(await(!any(vapply(pids, alive, NA))))
})

test_that("daemons and fork servers that have been stopped end with their host", {
  skip_unless_linux()
  note <- tempfile("pids")
  for (stopped in c("daemon", "server", "both")) {
    host <- spawn(c(
      "library(mirai)",
      "daemons(1)",
      "pid <- mirai(Sys.getpid())[]",
      sprintf("writeLines(as.character(pid), '%s.new'); file.rename('%s.new', '%s')", note, note, note),
      "Sys.sleep(600)"
    ))
    await(file.exists(note))
    daemon <- as.integer(readLines(note))
    unlink(note)
    server <- parent_of(daemon)
    defer(for (pid in c(daemon, server)) tools::pskill(pid, tools::SIGKILL))
    tools::pskill(switch(stopped, daemon = daemon, server = server, c(daemon, server)), tools::SIGSTOP)
    if (server != host$pid) tools::pskill(host$pid, tools::SIGKILL)
    expect_true(await(!alive(daemon) && !alive(server)))
  }
})

test_that("forked processes of a task end with its daemon", {
  skip_unless_linux()
  note <- tempfile("pids")
  dir.create(note)
  task <- quote({
    parallel::mclapply(1:2, function(i) { file.create(file.path(note, Sys.getpid())); Sys.sleep(600) }, mc.cores = 2)
  })
  for (way in c("daemons(0)", "SIGKILL")) {
    local_pool(1)
    daemon <- mirai(Sys.getpid())[]
    m <- mirai(eval(task), .args = list(task = task, note = note))
    await(length(list.files(note)) == 2L)
    children <- as.integer(list.files(note))
    unlink(file.path(note, children))
    defer(for (pid in children) tools::pskill(pid, tools::SIGKILL))
    if (way == "SIGKILL") tools::pskill(daemon, tools::SIGKILL) else daemons(0)
    got <- with_warnings({
      await(!any(vapply(c(daemon, children), alive, NA)))
      m[]
    })
    expect_code(got$value, 19L)
    if (way == "SIGKILL") expect_match(got$warned, "a daemon has died") else expect_length(got$warned, 0L)
    daemons(0)
  }
})

test_that("what a task has left in the background ends when the pool is reset or the host is gone, not at a limit", {
  skip_unless_linux()
  leave <- "system('sleep 600 >/dev/null 2>&1 & echo $!', intern = TRUE)"
  ended <- function(pid) defer(tools::pskill(pid, tools::SIGKILL), parent.frame())
  local_pool(1, maxtasks = 1)
  stays <- as.integer(value(mirai(eval(task), task = str2lang(leave))))
  ended(stays)
  await(info()[["connections"]] == 0L)
  daemons(0)
  daemons(1)
  left <- as.integer(value(mirai(eval(task), task = str2lang(leave))))
  ended(left)
  expect_true(alive(left))
  daemons(0)
  expect_true(await(!alive(left)))
  expect_true(alive(stays))
  file <- tempfile("pid")
  host <- spawn(c("library(mirai)", "daemons(1)", sprintf("writeLines(mirai(%s)[], '%s')", leave, file), "Sys.sleep(600)"))
  await(file.exists(file) && length(readLines(file)))
  left <- as.integer(readLines(file))
  ended(left)
  tools::pskill(host$pid, tools::SIGKILL)
  expect_true(await(!alive(left)))
})

test_that("the path of the temporary folder may be bytes that are no text", {
  skip_unless_linux()
  # Written by the shell: R would translate it.
  folder <- tempfile("folder")
  dir.create(folder)
  within <- c("sh", "-c", shQuote(sprintf("TMPDIR=$(printf '%s/\\377\\376'); mkdir -p \"$TMPDIR\"; export TMPDIR; exec \"$@\"", folder)), "sh")
  for (locale in c("C", "C.UTF-8")) {
    log <- run_r(c(
      "library(mirai)",
      "daemons(1)",
      "used <- mirai({ file.create(tempfile()); dirname(tempdir()) })[]",
      "cat('same', identical(charToRaw(used), charToRaw(dirname(tempdir()))), '\\n')",
      "cat('ephemeral', mirai(7)[], '\\n')",
      "daemons(0)",
      "cat('ephemeral', mirai(8)[], '\\n')"
    ), env = c(paste0("LC_ALL=", locale)), within = within)
    expect_true(all(c("same TRUE ", "ephemeral 7 ", "ephemeral 8 ") %in% log), label = paste(c(locale, log), collapse = "\n"))
  }
  # What is left of its folder is removed by the last process.
  inside <- function() system2("find", c(shQuote(folder), "-name", "'Rtmp*'"), stdout = TRUE)
  await(!length(inside()))
})

test_that("daemons start in a working folder whose name leads nowhere", {
  skip_unless_linux()
  skip_if(Sys.which("unshare") == "", "needs the program unshare")
  folder <- tempfile("folder")
  dir.create(file.path(folder, "inner"), recursive = TRUE)
  covered <- sprintf("cd '%s/inner' && mount -t tmpfs none '%s' && exec \"$@\"", folder, folder)
  within <- c("unshare", "--mount", "sh", "-c", shQuote(covered), "sh")
  skip_if(suppressWarnings(system2(within[1L], c(within[-1L], "true"), stdout = FALSE, stderr = FALSE)) != 0L,
          "only root can mount")
  log <- run_r(c(
    "library(mirai)",
    "daemons(1)",
    "cat('there', mirai(file.exists('.'))[], '\\n')",
    "daemons(0)"
  ), within = within)
  expect_true("there TRUE " %in% log, label = paste(log, collapse = "\n"))
})

test_that("a daemon that cannot start a thread is none that has a task", {
  skip_unless_linux()
  local_pool(url = local_url())
  m <- mirai(11)
  # More than there are addresses for.
  log <- run_r(sprintf("mirai::daemon('%s')", status()$daemons), env = c("RUST_MIN_STACK=1125899906842624"))
  expect_match(log, "the daemon cannot start a thread", fixed = TRUE, all = FALSE)
  expect_true(unresolved(m))
  launch_local(1)
  expect_identical(value(m), 11)
  expect_identical(info()[["cumulative"]], 1L)
})

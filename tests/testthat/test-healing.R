# Pools whose daemons are replaced when they die.

skip_within_check()

kill_self <- function() tools::pskill(Sys.getpid(), tools::SIGKILL)

# An R that connects as a daemon of another machine would.
elsewhere <- remote_config("sh", c("-c", "."), rscript = file.path(R.home("bin"), "Rscript"), quote = TRUE)

test_that("a daemon that dies is replaced, and the session is told how it died", {
  local_pool(2)
  first <- daemon_pids()
  expect_warning({
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    await(info()[["cumulative"]] == 3L)
    info()
  }, "mirai: a daemon has died: daemon [12] \\(process [0-9]+\\) was ended by signal 9 \\(SIGKILL\\), [0-9]+ MB in memory at most, at task [0-9]+$")
  expect_identical(info()[["connections"]], 2L)
  expect_length(intersect(first, daemon_pids()), 1L)
  expect_identical(status()$deaths$pid, setdiff(first, daemon_pids()))
})

test_that("each death is told once, alone or together with others", {
  local_pool(7)
  warnings <- character()
  withCallingHandlers({
    for (pid in daemon_pids()) tools::pskill(pid, tools::SIGKILL)
    await({info(); info()[["cumulative"]] == 14L})
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  counts <- sub("^mirai: ([0-9a]+) daemons? ha.*", "\\1", warnings)
  counts[counts == "a"] <- "1"
  expect_identical(sum(as.integer(counts)), 7L)
  expect_match(warnings, "^mirai: (a daemon has died: |[2-7] daemons have died:\n)daemon [1-7] .*SIGKILL")
})

test_that("a task that its daemon has not begun is not lost with it, nor blamed", {
  skip_unless_linux()
  local_pool(1)
  file <- tempfile()
  suppressWarnings(for (round in 1:7) {
    pid <- daemon_pids()
    tools::pskill(pid, tools::SIGSTOP)
    await(any(grepl("^State:\\s+T", readLines(sprintf("/proc/%d/status", pid)))))
    m <- mirai({
      cat(mirai::task_attempt(), "\n", file = file, append = TRUE)
      "done"
    }, file = file)
    tools::pskill(pid, tools::SIGKILL)
    expect_identical(value(m), "done")
  })
  expect_identical(readLines(file), rep("1 ", 7L))
  expect_identical(status()$deaths$task, rep(NA_integer_, 7L))
  expect_identical(status()$given_up, NA_character_)
})

test_that("with retries a task that kills its only daemon is done by the next", {
  local_pool(1, heal = TRUE, retries = 2)
  suppressWarnings({
    expect_identical(value(mirai({
      if (mirai::task_attempt() < 3L) kill_self()
      "done"
    }, kill_self = kill_self)), "done")
    await(info()[["cumulative"]] == 3L)
  })
})

test_that("those that are killed while they are idle are replaced, however many", {
  local_pool(3, heal = TRUE)
  # Older than a second, and of some use: not held against the pool.
  value(everywhere(Sys.sleep(1.1)))
  suppressWarnings({
    for (pid in daemon_pids()) tools::pskill(pid, tools::SIGKILL)
    await(info()[["cumulative"]] == 6L && info()[["connections"]] == 3L)
    expect_identical(value(mirai("fine")), "fine")
  })
})

test_that("a young pool that is killed as a whole comes back, also when others are launched meanwhile", {
  local_pool(6, heal = TRUE)
  suppressWarnings({
    for (pid in daemon_pids()) tools::pskill(pid, tools::SIGKILL)
    launch_local(1)
    await(info()[["connections"]] >= 6L)
    before <- daemon_pids()
    for (pid in before) tools::pskill(pid, tools::SIGKILL)
    await(!any(daemon_pids() %in% before) && info()[["connections"]] >= 6L)
    # The hub may be about to learn of the last of these deaths.
    expect_identical(value(mirai("fine", .retries = 6)), "fine")
  })
})

test_that("a set-up that ends its daemon is not tried for ever", {
  local_pool(1, heal = TRUE)
  poison <- tempfile()
  value(everywhere({
    Sys.sleep(1.1)
    if (file.exists(poison)) quit("no")
  }, poison = poison, .replay = TRUE))
  file.create(poison)
  tools::pskill(daemon_pids(), tools::SIGKILL)
  suppressWarnings(await(nrow(status()$deaths) > 0L))
  warnings <- character()
  withCallingHandlers(expect_code(value(mirai("never")), 19L), warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_match(warnings, "does not heal any more: 5 daemons in a row .* as it was set up", all = FALSE)
})

test_that("daemons that leave by themselves are not replaced", {
  local_pool(2, heal = TRUE, maxtasks = 1)
  expect_identical(mirai_map(1:2, identity)[.flat], 1:2)
  await(info()[["connections"]] == 0L)
  launch_local(1)
  expect_identical(value(mirai("another")), "another")
  await(info()[["connections"]] == 0L)
  expect_identical(info()[["cumulative"]], 3L)
})

test_that("what everywhere() has set up is there before the first task of a replacement, in order, and where not asked for not", {
  local_pool(1)
  value(everywhere(first <<- TRUE))
  value(everywhere(NULL, second = TRUE, .replay = TRUE))
  value(everywhere(third <<- first && second))
  value(everywhere(NULL, once = TRUE, .replay = FALSE))
  here <- function() mirai(vapply(c("third", "once"), exists, NA))
  expect_identical(value(here()), c(third = TRUE, once = TRUE))
  suppressWarnings({
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    expect_identical(value(here()), c(third = TRUE, once = FALSE))
  })
  # One that is launched besides has what it always had.
  launch_local(1)
  await(info()[["connections"]] == 2L)
  expect_setequal(everywhere(c(exists("first"), exists("second")))[], list(c(TRUE, TRUE), c(FALSE, TRUE)))
})

test_that("identical set-ups are replayed once, or twice around others", {
  local_pool(1)
  file <- tempfile()
  note <- function(x) value(everywhere(cat(x, file = file, append = TRUE), x = x, file = file))
  for (x in c("a", "a", "b", "a", "a", "b")) note(x)
  file.remove(file)
  suppressWarnings({
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    expect_identical(value(mirai("fine")), "fine")
  })
  expect_identical(readLines(file, warn = FALSE), "abab")
})

test_that("a replacement that is being set up is shown as such, with what its process is at, and why tasks wait", {
  skip_unless_linux()
  local_pool(1)
  gate <- tempfile("gate")
  file.create(gate)
  value(everywhere(while (!file.exists(gate)) Sys.sleep(0.01), gate = gate))
  file.remove(gate)
  pid <- daemon_pids()
  tools::pskill(pid, tools::SIGKILL)
  suppressWarnings(await({info(); !pid %in% status()$workers$pid && info()[["connections"]] == 1L}))
  m <- mirai("in the end")
  await(status()$workers$age > 1)
  s <- status()
  expect_identical(s$workers$state, "setting up")
  expect_identical(s$workers$task, NA_integer_)
  expect_true(s$workers$activity %in% c("waiting", "computing"))
  expect_match(printed(s), "setting up, (waiting|computing)", all = FALSE)
  expect_match(printed(s), "^! a daemon is still at what `everywhere\\(\\)` has set up", all = FALSE)
  file.create(gate)
  expect_identical(value(m), "in the end")
  expect_identical(status()$workers$state, "idle")
})

test_that("in pools by other ways the set-up is replayed as well", {
  skip_unless_linux()
  for (pool in list(
    function() daemons(1, dispatcher = FALSE, heal = TRUE),
    function() daemons(1, url = local_url(tcp = TRUE), remote = elsewhere, heal = TRUE)
  )) {
    local_pool(0)
    pool()
    await(info()[["connections"]] == 1L)
    value(everywhere(NULL, prepared = TRUE))
    suppressWarnings({
      expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
      await({info(); info()[["connections"]] == 1L})
      expect_true(value(mirai(prepared)))
    })
  }
})

test_that("a set-up that has failed on all daemons is not replayed", {
  local_pool(2)
  for (i in 1:5) value(everywhere(stop(i), i = i))
  value(everywhere(x <- 1, .args = list(i = 1)))
  value(everywhere(good <<- 1))
  warnings <- character()
  withCallingHandlers({
    for (round in 1:2) {
      expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
      await({info(); info()[["cumulative"]] == 2L + round})
    }
    expect_identical(mirai_map(1:20, function(i) good)[.flat], rep(1, 20))
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_length(grep("has died|have died", warnings, invert = TRUE, value = TRUE), 0L)
  expect_identical(status()$given_up, NA_character_)
})

test_that("more than is kept for replacements ends the healing, and that is said", {
  before <- options(mirai.replay = c(1, 3))
  defer(options(before))
  local_pool(1)
  for (i in 1:3) value(everywhere(NULL, i = i))
  # Of no account.
  value(everywhere(NULL, x = raw(2e6), .replay = FALSE))
  warnings <- character()
  withCallingHandlers({
    value(everywhere(NULL, i = 4))
    await({info(); length(warnings) > 0L})
    expect_identical(value(mirai(i)), 4)
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    # Rather than wait for ever, or be done by a daemon that is not like the others.
    lost <- value(mirai(i))
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_match(warnings[1L], "the pool does not heal any more: everywhere() has set up more than is kept", fixed = TRUE)
  expect_length(grep("does not heal", warnings), 1L)
  expect_code(lost, 19L)
  expect_match(attr(lost, "reason"), "has set up more than is kept", fixed = TRUE)
  expect_identical(info()[["cumulative"]], 1L)
  # That of the user's own serves the pool, which does not heal all the same.
  launch_local(1)
  expect_identical(value(mirai("served")), "served")
  await(grepl("has set up more than is kept", status()$given_up, fixed = TRUE))
  options(mirai.replay = 5)
  expect_error(daemons(1), "mirai.replay = )` must be two numbers", fixed = TRUE)
  expect_false(daemons_set())
})

test_that("a set-up that fails on every second daemon is told, and the pool stays whole", {
  local_pool(2)
  file <- tempfile()
  writeLines("0", file)
  value(everywhere({
    n <- as.integer(readLines(file)) + 1L
    writeLines(as.character(n), file)
    if (n > 2L && n %% 2L) stop("not on this one")
  }, file = file))
  writeLines("2", file)
  warnings <- character()
  withCallingHandlers(for (round in 1:8) {
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    await({info(); info()[["cumulative"]] == 2L + round})
    expect_identical(value(mirai("fine")), "fine")
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  info()
  expect_identical(info()[["connections"]], 2L)
  expect_match(warnings, "has failed on daemon [0-9]+, which has taken the place", all = FALSE)
  expect_length(grep("does not heal", warnings), 0L)
})

test_that("after five in a row the pool gives up, says so, and loses nothing silently", {
  local_pool(1, heal = TRUE)
  warnings <- character()
  withCallingHandlers({
    x <- mirai_map(1:20, function(i, kill_self) kill_self(), .args = list(kill_self = kill_self))
    values <- x[]
    # Submitted when it is over.
    expect_code(value(mirai(1)), 19L)
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_true(all(vapply(values, identical, NA, values[[1L]]) | vapply(values, is_error_value, NA)))
  expect_identical(info()[["cumulative"]], 5L)
  expect_match(attr(values[[20L]], "reason"), "^no daemon is there: 5 daemons in a row have died")
  expect_match(warnings, "the pool does not heal any more: 5 daemons in a row", all = FALSE)
  expect_match(status()$given_up, "^5 daemons in a row have died")
  expect_match(printed(status()), "^! the pool does not heal any more: 5 daemons in a row .*status\\(\\)\\$given_up", all = FALSE)
  launch_local(1)
  expect_identical(value(mirai("again")), "again")
  expect_identical(status()$given_up, NA_character_)
})

test_that("replacements end with the pool", {
  skip_unless_linux()
  local_pool(2, heal = TRUE)
  suppressWarnings({
    value(mirai(kill_self(), kill_self = kill_self))
    await(info()[["cumulative"]] == 3L)
  })
  pids <- daemon_pids()
  daemons(0)
  await(!any(vapply(pids, alive, NA)))
  expect_false(any(vapply(pids, alive, NA)))
})

test_that("with \"all\" those that leave are replaced as tasks wait, and not before", {
  local_pool(2, heal = "all", maxtasks = 1)
  expect_identical(mirai_map(1:9, identity)[.flat], 1:9)
  expect_gte(info()[["cumulative"]], 9L)
  daemons(1, heal = "all", maxtasks = 1)
  for (round in 1:3) {
    expect_identical(value(mirai(round, round = round)), round)
    await(info()[["connections"]] == 0L)
    expect_identical(info()[["cumulative"]], round)
  }
  expect_identical(nrow(status()$deaths), 0L)
})

test_that("without dispatcher it heals when asked, each with a random stream of its own", {
  local_pool(2, dispatcher = FALSE, heal = TRUE)
  streams <- everywhere(.Random.seed)[]
  suppressWarnings({
    for (pid in daemon_pids()) tools::pskill(pid, tools::SIGKILL)
    await({info(); nrow(status()$deaths) == 2L && info()[["connections"]] == 2L})
    streams <- c(streams, everywhere(.Random.seed)[])
  })
  expect_length(unique(streams), 4L)
})

test_that("a handler that leaves by a warning keeps neither replacements from coming nor other warnings from being told", {
  local_pool(2, dispatcher = FALSE, heal = TRUE)
  local_pool(1, heal = FALSE, maxtasks = 1, .compute = "unserved")
  value(mirai(1, .compute = "unserved"))
  for (pid in daemon_pids()) tools::pskill(pid, tools::SIGKILL)
  waiting <- mirai(2, .compute = "unserved")
  # Both are there to be told by then.
  Sys.sleep(3)
  told <- character()
  await({
    tryCatch(info(), warning = function(w) told <<- c(told, conditionMessage(w)))
    any(grepl("has died|have died", told)) && any(grepl("waits", told))
  })
  await(nrow(status()$workers) == 2L)
  expect_length(unique(unlist(mirai_map(1:2, function(i) Sys.getpid())[])), 2L)
  stop_mirai(waiting)
})

test_that("pools in any number heal by R code, each by itself", {
  names <- paste0("healing-", 1:24)
  for (name in names) local_pool(1, dispatcher = FALSE, heal = TRUE, .compute = name)
  pids <- unlist(lapply(names, daemon_pids))
  suppressWarnings({
    for (pid in pids) tools::pskill(pid, tools::SIGKILL)
    await({info(); all(vapply(names, function(name) nrow(status(name)$deaths) == 1L && info(name)[["connections"]] == 1L, NA))})
  })
  expect_length(intersect(pids, unlist(lapply(names, daemon_pids))), 0L)
})

test_that("a machine is known by its whole name among the words that start daemons", {
  sets <- list(c("-p 22 node10", "."), c("-p 22 user@node1", "."))
  expect_identical(vapply(sets, names_host, NA, "node1"), c(FALSE, TRUE))
  expect_identical(vapply(sets, names_host, NA, "node10"), c(TRUE, FALSE))
  expect_identical(vapply(sets, names_host, NA, "node1.example.org"), c(FALSE, FALSE))
})

test_that("a cluster whose nodes have all died waits for others when they are to come", {
  cl <- make_cluster(2, heal = TRUE)
  defer(stop_cluster(cl))
  suppressWarnings({
    for (pid in unlist(parallel::clusterCall(cl, Sys.getpid))) tools::pskill(pid, tools::SIGKILL)
    await(info(cl)[["connections"]] == 0L)
    # Each node has one of its own.
    expect_length(unique(unlist(parallel::clusterCall(cl, Sys.getpid))), 2L)
  })
})

test_that("a cluster whose node dies has another when asked", {
  cl <- make_cluster(2, heal = TRUE)
  defer(stop_cluster(cl))
  pid <- parallel::clusterCall(cl, Sys.getpid)[[2L]]
  suppressWarnings({
    tools::pskill(pid, tools::SIGKILL)
    await({status(cl); info(cl)[["connections"]] == 2L && nrow(status(cl)$deaths) == 1L})
    expect_identical(parallel::clusterApply(cl, 1:4, identity), as.list(1:4))
  })
  expect_false(pid %in% unlist(parallel::clusterCall(cl, Sys.getpid)))
})

test_that("daemons that were launched elsewhere are launched again by the same way, whatever that asks anew", {
  skip_unless_linux()
  local_pool(2, url = local_url(tcp = TRUE), remote = elsewhere, heal = TRUE)
  await(info()[["connections"]] == 2L)
  suppressWarnings({
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    await({info(); info()[["cumulative"]] == 3L && info()[["connections"]] == 2L})
  })
  expect_identical(value(mirai("fine")), "fine")
})

test_that("daemons are launched again elsewhere also where only unresolved() is called", {
  skip_unless_linux()
  local_pool(1, url = local_url(tcp = TRUE), remote = elsewhere, heal = TRUE)
  await(info()[["connections"]] == 1L)
  lost <- mirai(kill_self(), kill_self = kill_self)
  following <- mirai("fine")
  expect_no_warning(await(!unresolved(following)))
  # Of the command that has ended as well.
  suppressWarnings(expect_warning(info(), "a daemon has died"))
  expect_identical(following$data, "fine")
  expect_code(lost$data, 19L)
})

test_that("each launch asks the functions of a service anew, and what fails in them is no error of who comes by", {
  asked <- 0L
  local_pool(url = local_url(tcp = TRUE))
  pool <- profiles[["default"]]
  pool$key <- "1 default"
  pool$remote <- http_config(url = function() {
    asked <<- asked + 1L
    if (asked > 1L) stop("the token is out of date")
    "http://127.0.0.1:1"
  }, headers = NULL, data = "%s")
  suppressWarnings({
    for (round in 1:2) relaunch("1 default", 1L)
    info()
  })
  expect_identical(asked, 2L)
  expect_match(status()$failed$reason, "refused", all = FALSE)
  # The pool that it was for is gone.
  relaunch("0 default", 1L)
  expect_identical(asked, 2L)
})

test_that("a launch of replacements that is left by a jump is made again", {
  server <- http_server()
  asked <- 0L
  leave <- list(
    interrupt = function() raise_interrupt(),
    restart = function() invokeRestart("leave")
  )
  config <- http_config(url = function() {
    asked <<- asked + 1L
    if (asked %in% 4:5) leave[[asked - 3L]]()
    paste0(server$url, "/start")
  }, headers = NULL, data = "{\"run\":\"%s\"}")
  suppressMessages(local_pool(3, url = local_url(tcp = TRUE), remote = config, heal = TRUE))
  await(info()[["connections"]] == 3L)
  asked <- 2L
  suppressWarnings({
    for (i in 1:3) mirai(kill_self(), kill_self = kill_self)
    # One comes, one launch is left by an interrupt and one, later, by a restart.
    await({
      withRestarts(tryCatch(info(), interrupt = identity), leave = function() NULL)
      asked >= 5L && info()[["connections"]] == 3L
    })
    expect_identical(info()[["cumulative"]], 6L)
  })
  expect_identical(value(mirai("fine")), "fine")
})

test_that("a command that ends well and brings nobody is a launch that failed, and others follow", {
  flag <- tempfile("flag")
  script <- sprintf("-e 'if (file.exists(\"%s\")) quit(\"no\")'", flag)
  local_variables(child_env())
  remote <- remote_config(rscript, ".", script)
  local_pool(1, url = local_url(), remote = remote, heal = TRUE)
  expect_identical(value(mirai("first")), "first")
  file.create(flag)
  tools::pskill(status()$workers$pid, tools::SIGKILL)
  untold(suppressWarnings(await({info(); sum(status()$failed$count) >= 2L})))
  expect_match(status()$failed$reason, "the session that was to start a daemon has ended", fixed = TRUE, all = FALSE)
  unlink(flag)
  suppressWarnings(await(info()[["connections"]] == 1L))
  expect_identical(value(mirai("whole")), "whole")
})

test_that("daemons that cannot be launched at first are an error of daemons(), and not tried again", {
  skip_unless_linux()
  file <- tempfile()
  broken <- remote_config("sh", c("-c", shQuote(sprintf("echo . >> %s; exit 3", file)), "."), quote = TRUE)
  local_pool(0)
  expect_error(daemons(1, url = local_url(tcp = TRUE), remote = broken, heal = TRUE), "daemons could not be started")
  expect_length(readLines(file), 1L)
})

test_that("where daemons may cost something a budget holds, and that is told", {
  skip_unless_linux()
  before <- options(mirai.heal_budget = 1)
  defer(options(before))
  local_pool(1, url = local_url(tcp = TRUE), remote = elsewhere, heal = TRUE)
  await(info()[["connections"]] == 1L)
  warnings <- character()
  withCallingHandlers({
    value(mirai(kill_self(), kill_self = kill_self))
    await({info(); info()[["cumulative"]] == 2L && info()[["connections"]] == 1L})
    value(mirai("it works"))
    value(mirai(kill_self(), kill_self = kill_self))
    await({info(); any(grepl("heal_budget", warnings))})
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  expect_length(grep("heal_budget", warnings), 1L)
  expect_identical(info()[["connections"]], 0L)
  expect_gt(status()$heals_again, Sys.time())
  expect_match(printed(status()), "^! as many daemons were launched as .* the next at [0-9]{2}:[0-9]{2} ", all = FALSE)
  launch_local(1)
  await(info()[["connections"]] == 1L)
  await(is.na(status()$heals_again))
})

test_that("of several machines those are asked again that have lost a daemon, else one after the other", {
  local_pool(0)
  daemons(url = local_url())
  pool <- profiles[["default"]]
  sets <- list(c("-h", "alpha", "."), c("-h", "beta", "."), c("-h", "gamma", "."))
  expect_identical(machines_of_the_dead(pool, sets, 4), c(1L, 2L, 3L, 1L))
  expect_identical(machines_of_the_dead(pool, sets, 1), 2L)
})

test_that("it needs something to launch by", {
  local_pool(0)
  expect_error(daemons(1, heal = NA), '`heal` must be `TRUE`, `FALSE` or "all", not `NA`', fixed = TRUE)
  expect_error(daemons(1, heal = "none"), '`heal` must be', fixed = TRUE)
  for (remote in list(NULL, remote_config()))
    expect_error(daemons(1, url = local_url(), remote = remote, heal = TRUE), "`heal` needs something to launch", fixed = TRUE)
  before <- options(mirai.heal_budget = "two")
  defer(options(before))
  expect_error(daemons(1, heal = TRUE), "heal_budget = )` must be a number", fixed = TRUE)
})

test_that("a pool of which some daemons have not started heals, also where a handler leaves by the warning", {
  within <- without_proc()
  flag <- tempfile("flag")
  profile <- tempfile("profile")
  writeLines(sprintf(
    "if (any(grepl('mirai::daemon', commandArgs(), fixed = TRUE)) && !dir.create('%s', showWarnings = FALSE)) quit('no', 3L)", flag
  ), profile)
  log <- run_r(c(
    "library(mirai)",
    sprintf("Sys.setenv(R_PROFILE_USER = '%s')", profile),
    "tryCatch(daemons(2), warning = function(w) cat(conditionMessage(w), '\\n'))",
    sprintf("unlink('%s', recursive = TRUE)", flag),
    "suppressWarnings({ mirai(tools::pskill(Sys.getpid(), 9L))[]; cat('then', mirai('healed')[], '\\n') })",
    "daemons(0)"
  ), within = within)
  expect_match(log, "^only 1 of 2 daemons started", all = FALSE)
  expect_match(log, "then healed", all = FALSE)
})

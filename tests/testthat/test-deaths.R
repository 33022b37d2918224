skip_within_check()

test_that("a daemon killed during a task: 19 for that task, others go on", {
  local_pool(2, heal = FALSE)
  held <- list(hold(), hold())
  for (h in held) h$started()
  queued <- lapply(1:4, function(i) mirai(i, .args = list(i = i)))
  pids <- daemon_pids()
  skip_if_not(length(pids) == 2L, "needs /proc")
  tools::pskill(pids[1L], tools::SIGKILL)
  await(!unresolved(held[[1]]$m) || !unresolved(held[[2]]$m))
  lost <- if (unresolved(held[[1]]$m)) 2L else 1L
  expect_code(held[[lost]]$m$data, 19L)
  expect_true(unresolved(held[[3L - lost]]$m))
  for (h in held) h$open()
  expect_identical(value(held[[3L - lost]]$m), "held")
  expect_identical(collect_mirai(queued), as.list(1:4))
  expect_identical(info()[["connections"]], 1L)
})

test_that("quit() in a task is a death", {
  local_pool(1, heal = FALSE)
  expect_code(value(mirai(quit("no"))), 19L)
  m <- mirai("for the next")
  expect_true(unresolved(m))
  launch_local(1)
  expect_identical(value(m), "for the next")
})

test_that("without dispatcher all that was dealt to the dead is lost", {
  local_pool(1, dispatcher = FALSE)
  held <- hold()
  held$started()
  queued <- mirai(1)
  pid <- daemon_pids()
  skip_if_not(length(pid) == 1L, "needs /proc")
  tools::pskill(pid, tools::SIGKILL)
  expect_code(value(held$m), 19L)
  expect_code(value(queued), 19L)
})

test_that("a grandchild that keeps the sockets open does not hide a death", {
  skip_unless_linux()
  local_pool(1, heal = FALSE)
  m <- mirai({
    system("sleep 30 &")
    tools::pskill(Sys.getpid(), tools::SIGKILL)
  })
  expect_code(value(m, 10), 19L)
})

test_that("when the host is killed, everything of it goes", {
  skip_unless_linux()
  report <- tempfile()
  child <- spawn(c(
    "library(mirai)",
    "daemons(2)",
    "x <- everywhere(list(Sys.getpid(), tempdir(), as.integer(strsplit(readLines('/proc/self/stat', 1), ' ')[[1]][4])))[]",
    "busy <- mirai(Sys.sleep(600))",
    "while (info()[['executing']] < 1) Sys.sleep(0.01)",
    sprintf("saveRDS(x, '%s.new'); invisible(file.rename('%s.new', '%s'))", report, report, report),
    "busy[]"
  ))
  await(file.exists(report))
  x <- readRDS(report)
  pids <- vapply(x, `[[`, 0L, 1L)
  dirs <- vapply(x, `[[`, "", 2L)
  servers <- setdiff(unique(vapply(x, `[[`, 0L, 3L)), c(0L, 1L))
  expect_true(all(vapply(pids, alive, NA)))
  tools::pskill(child$pid, tools::SIGKILL)
  await(!any(vapply(c(pids, servers), alive, NA)))
  expect_true(await(!any(dir.exists(dirs))))
})

test_that("when the host exits, everything of it goes", {
  skip_unless_linux()
  out <- run_r(c("library(mirai)", "daemons(2)", "cat(everywhere(Sys.getpid())[.flat], '\\n')"))
  pids <- scan(text = out, quiet = TRUE)
  expect_length(pids, 2L)
  expect_true(await(!any(vapply(pids, alive, NA))))
})

test_that("daemons with autoexit = NA finish what they do when the host is killed", {
  skip_unless_linux()
  file <- tempfile()
  gate <- tempfile()
  started <- tempfile()
  child <- spawn(c(
    "library(mirai)",
    "daemons(1, autoexit = NA)",
    sprintf("m <- mirai({file.create('%s'); while (!file.exists('%s')) Sys.sleep(0.005); file.create('%s')})", started, gate, file),
    "m[]"
  ))
  await(file.exists(started))
  tools::pskill(child$pid, tools::SIGKILL)
  await(!alive(child$pid))
  file.create(gate)
  expect_true(await(file.exists(file)))
})

test_that("what is lost with a daemon says how that ended, and so does the status of the pool", {
  skip_unless_linux()
  local_pool(3, heal = FALSE)
  killed <- mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))
  expect_code(value(killed), 19L)
  reason <- attr(value(killed), "reason")
  expect_match(reason, "^its daemon \\(process [0-9]+\\) was ended by signal 9 \\(SIGKILL\\), [0-9]+ MB in memory at most$")
  expect_output(print(killed$data), paste0("'errorValue' int 19 | Connection reset\n", reason), fixed = TRUE)
  expect_identical(as.integer(killed$data), 19L)
  expect_true(killed$data == 19L)

  quitting <- mirai(quit("no", status = 3L))
  expect_match(attr(value(quitting), "reason"), "^its daemon \\(process [0-9]+\\) ended with exit code 3,")

  deaths <- status()$deaths
  expect_identical(deaths$task, c(attr(killed, "id"), attr(quitting, "id")))
  expect_identical(deaths$attempt, c(1L, 1L))
  expect_match(deaths$reason, "signal 9|exit code 3")
  expect_identical(deaths$host, rep(Sys.info()[["nodename"]], 2L))
  expect_s3_class(deaths$time, "POSIXct")
  # One that leaves by itself, or is told to, has not died.
  launch_local(1, maxtasks = 1)
  value(mirai(1))
  expect_identical(nrow(status()$deaths), 2L)
})

test_that("after retries it is said that others have died, too", {
  local_pool(2, heal = FALSE)
  m <- mirai(tools::pskill(Sys.getpid(), tools::SIGKILL), .retries = 1)
  expect_match(attr(value(m), "reason"), "; so did those of 1 before, at which it was tried", fixed = TRUE)
  expect_identical(status()$deaths$attempt, 1:2)
})

test_that("a daemon that the kernel kills for want of memory is told from others", {
  groups <- readLines("/proc/self/cgroup", warn = FALSE)
  group <- sub("^[0-9]+:memory:", "", grep("^[0-9]+:memory:", groups, value = TRUE))
  skip_if_not(length(group) == 1L, "needs control groups of version 1")
  folder <- file.path("/sys/fs/cgroup/memory", group, paste0("mirai-test-", Sys.getpid()))
  skip_if_not(suppressWarnings(dir.create(folder)), "needs the right to make control groups")
  on.exit(await(suppressWarnings(file.remove(folder))))
  report <- tempfile()
  child <- spawn(c(
    sprintf("writeLines(as.character(Sys.getpid()), '%s/cgroup.procs')", folder),
    sprintf("writeLines('400000000', '%s/memory.limit_in_bytes')", folder),
    "library(mirai)",
    "daemons(1)",
    "m <- mirai({ x <- list(); repeat x[[length(x) + 1]] <- rnorm(1e6) })",
    sprintf("writeLines(attr(m[], 'reason'), '%s')", report),
    "daemons(0)"
  ))
  await(file.exists(report) && length(readLines(report)) == 1L)
  expect_match(readLines(report), "was killed by the system for want of memory", fixed = TRUE)
})

test_that("the last lines that a daemon had to say are told, whatever was said before", {
  skip_unless_linux()
  local_pool(1)
  value(mirai(for (i in 1:3e5) cat("line", i, "\n")))
  # Long enough for it to begin anew.
  mirai_map(1:100, function(i) cat("task", i, "\n"))[]
  warnings <- character()
  withCallingHandlers({
    m <- mirai({
      cat("first\nsecond\n")
      message("third: now it ends")
      system("sleep 30 &")
      tools::pskill(Sys.getpid(), tools::SIGKILL)
    })
    expect_code(value(m), 19L)
    await({info(); length(warnings) > 0L})
  }, warning = function(w) {
    warnings <<- c(warnings, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  skip_if(is.na(status()$deaths$output), "needs daemons that are forked")
  last <- "first\nsecond\nthird: now it ends"
  expect_match(attr(value(m), "reason"), paste0(". Its last output, perhaps of an earlier task:\ntask 99 \ntask 100 \n", last), fixed = TRUE)
  expect_match(warnings, paste0(", at task [0-9]+\\. Its last output, perhaps of an earlier task:\ntask 99 \ntask 100 \n", last), all = FALSE)
  expect_identical(status()$deaths$output, paste0("task 99 \ntask 100 \n", last))
  # Nothing of the kind is known of one that was silent, and it is not made up.
  suppressWarnings({
    quiet <- mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))
    expect_match(attr(value(quiet), "reason"), "MB in memory at most$")
    info()
  })
  expect_identical(status()$deaths$output[2L], NA_character_)
})

test_that("of a crash the calls of the task are told, not those of the daemon", {
  skip_unless_linux()
  local_pool(1, heal = FALSE)
  f <- function(pid) tools::pskill(pid, 11L)
  suppressWarnings(expect_code(value(mirai(f(Sys.getpid()), f = f)), 19L))
  skip_if(is.na(status()$deaths$output), "needs daemons that are forked")
  lines <- strsplit(status()$deaths$output, "\n", fixed = TRUE)[[1L]]
  expect_identical(lines[1L], "*** caught segfault ***")
  expect_identical(lines[-(1:2)], c("Traceback:", " 1: tools::pskill(pid, 11L)", " 2: f(Sys.getpid())"))
})

test_that("a task that says more than is kept goes on, and so do the next ones", {
  skip_unless_linux()
  local_pool(1, heal = FALSE)
  big <- strrep("x", 1e6)
  expect_identical(value(mirai({
    for (i in 1:20) cat(big)
    "said"
  }, big = big)), "said")
  mirai_map(1:200, function(i) cat("task", i, "\n"))[]
  suppressWarnings(expect_code(value(mirai(quit("no"))), 19L))
  skip_if(is.na(status()$deaths$output), "needs daemons that are forked")
  expect_match(status()$deaths$output, "task 199 \ntask 200$")
})

test_that("beside the most memory that it had a daemon's last is told, once a task was long enough to look", {
  skip_unless_linux()
  local_pool(1, heal = FALSE)
  value(mirai(Sys.sleep(0.02)))
  m <- mirai({
    x <- rep(1, 4e7)
    tools::pskill(Sys.getpid(), tools::SIGKILL)
  })
  expect_code(value(m), 19L)
  reason <- attr(value(m), "reason")
  skip_if_not(grepl("last looked", reason), "needs daemons that are forked")
  numbers <- sub(".*, ([0-9]+) MB in memory at most, ([0-9]+) when it last looked$", "\\1 \\2", reason)
  numbers <- as.numeric(strsplit(numbers, " ")[[1L]])
  expect_gt(numbers[1L], 320)
  expect_lt(numbers[2L], numbers[1L] - 200)
})

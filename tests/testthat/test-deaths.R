test_that("a daemon killed during a task: 19 for that task, others go on", {
  local_pool(2)
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
  local_pool(1)
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
  local_pool(1)
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

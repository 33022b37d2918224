# What status() shows.

test_that("status() is a list, and prints as a short table", {
  local_pool(2)
  held <- hold()
  held$started()
  s <- status()
  expect_true(is.list(s))
  expect_type(s, "list")
  expect_identical(s$connections, 2L)
  expect_null(attributes(unclass(s)[c("connections", "mirai")])$class)
  lines <- printed(s)
  expect_identical(lines[1:2], c(
    paste0("2 daemons connected, at ", s$daemons),
    "0 tasks awaiting, 1 executing, 0 completed"
  ))
  expect_identical(strsplit(trimws(lines[3L]), " +")[[1L]], c("id", "pid", "state", "task", "age", "done", "busy", "memory"))
  expect_length(lines, 5L)
  expect_match(lines[4:5], sprintf("busy +%d +[0-9]+\\.[0-9] s", attr(held$m, "id")), all = FALSE)
  expect_match(lines[4:5], "idle", all = FALSE)
  held$open()
  value(held$m)
  expect_identical(withVisible(print(s))$visible, FALSE)
})

test_that("the table says what needs attention", {
  local_pool(1, heal = FALSE)
  tools::pskill(daemon_pids(), tools::SIGKILL)
  await(info()[["connections"]] == 0L)
  m <- mirai("late")
  lines <- printed(status())
  expect_length(lines, 4L)
  expect_identical(lines[2:3], c(
    "1 task awaiting, 0 executing, 0 completed",
    "! a task waits, and no daemon is there or being started"
  ))
  expect_match(lines[4L], "^! 1 daemon has died, the last was (ended by signal 9|killed, perhaps by the system) .*\\(`status\\(\\)\\$deaths`\\)$")
  launch_local(1)
  expect_identical(value(m), "late")
  expect_length(printed(status()), 5L)
  # By hand, as such things take effort.
  s <- status()
  s$failed <- data.frame(count = 2L, reason = "R ended before it connected. Its output:\nno licence", command = "Rscript")
  s$refused[c("strangers", "silent")] <- c(3, 1)
  s$starting <- 2L
  s$workers <- s$workers[rep(1L, 25L), ]
  s$memory[] <- c(12.34, 20, 100)
  lines <- printed(s)
  expect_match(lines[1L], "^1 daemon connected, 2 starting, at ")
  expect_identical(lines[2L], "0 tasks awaiting (12.3 MB of 100.0), 0 executing, 1 completed")
  expect_length(lines, 3L + 20L + 1L + 3L)
  expect_identical(utils::tail(lines, 4L)[-2L], c(
    "... and 5 more, in `status()$workers`",
    "! 2 launched daemons will not come: R ended before it connected. Its output: ... (`status()$failed`)",
    "! 4 peers were turned away: 3 strangers, 1 silent (`status()$refused`)"
  ))
})

test_that("the table shows what keeps a daemon from its task", {
  local_pool(1)
  s <- status()
  for (activity in c("stopped", "swapping", "disk")) {
    s$workers$state <- "busy"
    s$workers$activity <- activity
    expect_match(printed(s), paste0("busy, ", activity), fixed = TRUE, all = FALSE)
  }
  s$workers$activity <- "computing"
  expect_no_match(printed(s), "computing")
})

test_that("what is not known is missing, and a column has its type without rows too", {
  local_pool(1)
  s <- status()
  expect_identical(s$workers$age, NA_real_)
  expect_identical(s$workers$job, NA_character_)
  expect_identical(lapply(s$deaths, typeof), list(
    time = "double", id = "integer", pid = "integer", host = "character", job = "character", age = "double", done = "integer",
    task = "integer", attempt = "integer", retried = "logical", killed = "logical", reason = "character", output = "character"
  ))
})

test_that("what is no pool of daemons stays a plain list", {
  local_pool(0)
  expect_identical(status(), list(connections = 0L, daemons = 0L))
  local_pool(sync = TRUE)
  expect_identical(class(status()), "list")
  daemons(1, dispatcher = FALSE)
  expect_match(printed(status())[1L], "^1 daemon connected")
  expect_no_match(printed(status()), "awaiting")
})

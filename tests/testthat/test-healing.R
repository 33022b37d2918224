# Pools whose daemons are replaced when they die.

skip_within_check()

kill_self <- function() tools::pskill(Sys.getpid(), tools::SIGKILL)

test_that("a daemon that dies is replaced, and the session is told how it died", {
  local_pool(2, heal = TRUE)
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

test_that("what is replayed is there before the first task of a replacement", {
  local_pool(1, heal = TRUE)
  value(everywhere(NULL, prepared = TRUE, .replay = TRUE))
  suppressWarnings({
    expect_code(value(mirai(kill_self(), kill_self = kill_self)), 19L)
    expect_true(value(mirai(prepared)))
  })
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
  launch_local(1)
  expect_identical(value(mirai("again")), "again")
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

test_that("it is for daemons of this machine, with dispatcher", {
  local_pool(0)
  expect_error(daemons(1, heal = NA), "`heal` must be `TRUE` or `FALSE`", fixed = TRUE)
  expect_error(daemons(1, dispatcher = FALSE, heal = TRUE), "`heal` needs daemons of this machine", fixed = TRUE)
  expect_error(daemons(url = local_url(), heal = TRUE), "`heal` needs daemons of this machine", fixed = TRUE)
})

test_that("an unset profile has nothing to show", {
  expect_null(info())
  expect_identical(status(), list(connections = 0L, daemons = 0L))
  expect_identical(status("nowhere"), list(connections = 0L, daemons = 0L))
  expect_refused(info(5), "`.compute` must be a string", "info")
})

test_that("info() counts", {
  local_pool(2)
  expect_named(info(), c("connections", "cumulative", "awaiting", "executing", "completed"))
  expect_type(info(), "integer")
  expect_identical(unname(info()), c(2L, 2L, 0L, 0L, 0L))
  held <- list(hold(), hold())
  for (h in held) h$started()
  ms <- lapply(1:3, function(i) mirai(i, .args = list(i = i)))
  expect_identical(unname(info()), c(2L, 2L, 3L, 2L, 0L))
  stop_mirai(ms[[3]])
  expect_identical(unname(info()), c(2L, 2L, 2L, 2L, 1L))
  for (h in held) h$open()
  collect_mirai(c(lapply(held, `[[`, "m"), ms))
  await(info()[["completed"]] == 5L)
  expect_identical(unname(info()), c(2L, 2L, 0L, 0L, 5L))
})

test_that("whatever ends is completed, and everywhere() counts", {
  local_pool(2)
  call_mirai(everywhere(1))
  await(info()[["completed"]] == 2L)
  ends <- list(
    function() call_mirai(mirai(stop("failed"))),
    function() call_mirai(mirai(signalCondition(structure(class = c("interrupt", "condition"), list())))),
    function() call_mirai(mirai(Sys.sleep(60), .timeout = 20)),
    function() call_mirai(mirai(1, .timeout = 0)),
    function() stop_mirai(mirai(Sys.sleep(60))),
    function() call_mirai(mirai(quit("no")))
  )
  for (i in seq_along(ends)) {
    ends[[i]]()
    await(info()[["completed"]] == 2L + i)
  }
  await(info()[["connections"]] == 1L)
  expect_identical(unname(info()), c(1L, 2L, 0L, 0L, 8L))
})

test_that("status() shows the same, the address, and memory", {
  local_pool(1, memory = 5)
  s <- status()
  expect_named(s, c("connections", "daemons", "mirai", "memory", "workers", "failed", "refused", "deaths"))
  expect_identical(s$connections, 1L)
  expect_type(s$daemons, "character")
  expect_identical(s$mirai, c(awaiting = 0L, executing = 0L, completed = 0L))
  expect_identical(s$memory[["capacity"]], 5)
  expect_named(s$memory, c("used", "peak", "capacity"))
  expect_type(s$memory, "double")
  expect_identical(status("default")$daemons, s$daemons)
  daemons(1)
  expect_identical(status()$memory[["capacity"]], NA_real_)
})

test_that("without dispatcher only connections are known", {
  local_pool(2, dispatcher = FALSE)
  expect_identical(info(), c(connections = 2L, cumulative = NA, awaiting = NA, executing = NA, completed = NA))
  expect_named(status(), c("connections", "daemons", "workers", "failed", "refused", "deaths"))
  expect_null(nextget("dispatcher"))
  expect_identical(nextget("n"), 2L)
})

test_that("nextget() gives items of the pool", {
  url <- local_url()
  local_pool(url = url, seed = 7)
  expect_identical(nextget("n"), 1L)
  expect_identical(nextget("url"), url)
  expect_identical(nextget("dispatcher"), url)
  expect_equal(nextget("seed"), 7)
  peeked <- nextget("stream")
  expect_identical(nextget("stream"), peeked)
  expect_identical(nextstream(), peeked)
  expect_identical(nextget("stream"), parallel::nextRNGStream(peeked))
  expect_null(nextget("tls"))
  expect_null(nextget("nonsense"))
  expect_visible(nextget("nonsense"))
  expect_visible(nextget("url", "nowhere"))
  expect_visible(nextstream("nowhere"))
  expect_refused(nextget(5), "`x` must be a string", "nextget")
  expect_null(nextget("url", "nowhere"))
  expect_null(nextstream("nowhere"))
  expect_visible(nextget("url"))
  for (bad in list(5, NULL, c("n", "url"), NA_character_))
    expect_refused(nextget(bad), "`x` must be a string", "nextget")
  daemons(2, .compute = "other")
  defer(daemons(0, .compute = "other"))
  expect_identical(nextget("n", "other"), 2L)
  expect_identical(nextget("url", "other"), status("other")$daemons)
  expect_null(nextget("seed", "other"))
  # Without a profile it is the current one.
  expect_identical(with_daemons("other", nextget("n")), 2L)
  peeked <- nextget("stream", "other")
  expect_identical(with_daemons("other", nextstream()), peeked)
  expect_identical(nextget("stream", "other"), parallel::nextRNGStream(peeked))
})

test_that("nextget() and nextstream() know a synchronous pool", {
  local_pool(sync = TRUE, seed = 5)
  expect_identical(nextget("n"), 1L)
  expect_match(nextget("url"), "^inproc://")
  expect_null(nextget("dispatcher"))
  first <- nextstream()
  expect_identical(nextstream(), parallel::nextRNGStream(first))
  expect_identical(mirai(.Random.seed)[], parallel::nextRNGStream(parallel::nextRNGStream(first)))
})

test_that("nextcode() has a text for each code", {
  expect_identical(nextcode(0), "0 | Daemon connection terminated")
  expect_identical(nextcode(1L), "1 | Daemon idletime limit reached")
  expect_identical(nextcode(2L), "2 | Daemon walltime limit reached")
  expect_identical(nextcode(3L), "3 | Daemon task limit reached")
  expect_visible(nextcode(0))
  expect_identical(nextcode(9), "9 | unknown")
  expect_identical(nextcode(-1), "-1 | unknown")
  expect_identical(nextcode(1e10), "1e+10 | unknown")
  for (bad in list("1", NULL, NA, c(0, 1), 0.5)) expect_refused(nextcode(bad), "`xc` must be an exit code of `daemon()`", "nextcode")
})

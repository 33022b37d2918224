test_that("a running task is interrupted and the daemon takes the next", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  held <- hold()
  held$started()
  expect_invisible(stopped <- stop_mirai(held$m))
  expect_true(stopped)
  expect_code(held$m$data, 20L)
  expect_identical(printed(held$m$data), "'errorValue' int 20 | Operation canceled")
  expect_identical(value(mirai(Sys.getpid())), pid)
})

test_that("a queued task is never evaluated", {
  local_pool(1)
  held <- hold()
  held$started()
  file <- tempfile()
  m <- mirai(file.create(file), file = file)
  expect_true(stop_mirai(m))
  expect_code(m$data, 20L)
  held$open()
  expect_identical(value(mirai("after")), "after")
  expect_false(file.exists(file))
})

test_that("what has ended cannot be stopped", {
  local_pool(1)
  m <- mirai(1)
  call_mirai(m)
  expect_false(stop_mirai(m))
  expect_identical(m[], 1)
  expect_false(stop_mirai(m))
  held <- hold()
  expect_true(stop_mirai(held$m))
  expect_false(stop_mirai(held$m))
  expect_code(held$m[], 20L)
})

test_that("lists give a vector without names, other things FALSE", {
  local_pool(1)
  held <- hold()
  done <- mirai(1, .compute = NULL)
  stopped <- stop_mirai(list(a = held$m, b = 5, c = done))
  expect_identical(stopped, c(TRUE, FALSE, TRUE))
  expect_identical(stop_mirai(NULL), FALSE)
  expect_identical(stop_mirai(5), FALSE)
  expect_identical(stop_mirai(list()), logical())
  expect_invisible(stop_mirai(list()))
  expect_identical(stop_mirai(mirai_map(c(a = 1, b = 2), function(x) Sys.sleep(60))), c(TRUE, TRUE))
})

test_that("lists are cancelled from the last: nothing of it starts meanwhile", {
  local_pool(1)
  folder <- tempfile()
  dir.create(folder)
  held <- hold()
  held$started()
  ms <- lapply(1:20, function(i) mirai(file.create(file.path(folder, i)), .args = list(folder = folder, i = i)))
  expect_identical(stop_mirai(c(list(held$m), ms)), rep(TRUE, 21L))
  expect_identical(value(mirai("after")), "after")
  expect_length(list.files(folder), 0L)
})

test_that("lists are cancelled from the last to the first", {
  skip_if_not_installed("promises")
  local_pool(1)
  ms <- lapply(1:5, function(i) mirai(Sys.sleep(60)))
  # Promises are rejected in the order in which their tasks ended.
  order <- integer()
  for (i in 1:5) local({
    i <- i
    promises::then(ms[[i]], NULL, function(reason) order <<- c(order, i))
  })
  stop_mirai(ms)
  await({
    later::run_now()
    length(order) == 5L
  })
  expect_identical(order, 5:1)
})

test_that("a fresh mirai can always be stopped or has its value", {
  local_pool(2)
  for (i in 1:50) {
    ms <- lapply(1:4, function(i) mirai(Sys.sleep(60)))
    expect_identical(stop_mirai(ms), rep(TRUE, 4L))
  }
  expect_identical(value(mirai("fine")), "fine")
})

test_that("a late interrupt never hits the next task, nor ends the daemon", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  for (i in 1:100) {
    m <- mirai(i, .args = list(i = i))
    n <- mirai(i + 1L, .args = list(i = i))
    stop_mirai(m)
    expect_identical(value(n), i + 1L)
  }
  expect_identical(value(mirai(Sys.getpid())), pid)
})

test_that("a cancelled running task counts as executing until its daemon answers", {
  local_pool(1)
  started <- tempfile()
  gate <- tempfile()
  m <- mirai({
    file.create(started)
    tryCatch(Sys.sleep(60), interrupt = function(e) while (!file.exists(gate)) Sys.sleep(0.005))
    "discarded"
  }, .args = list(started = started, gate = gate))
  await(file.exists(started))
  expect_true(stop_mirai(m))
  expect_code(m$data, 20L)
  expect_identical(info()[["executing"]], 1L)
  file.create(gate)
  await(info()[["executing"]] == 0L)
  expect_code(m$data, 20L)
})

test_that("without dispatcher stopping is FALSE, the mirai is 20 and the task runs on", {
  local_pool(1, dispatcher = FALSE)
  file <- tempfile()
  gate <- tempfile()
  started <- tempfile()
  m <- mirai({
    file.create(started)
    while (!file.exists(gate)) Sys.sleep(0.005)
    file.create(file)
  }, started = started, file = file, gate = gate)
  await(file.exists(started))
  expect_false(stop_mirai(m))
  expect_code(m$data, 20L)
  file.create(gate)
  await(file.exists(file))
  expect_identical(value(mirai("next")), "next")
})

test_that("SIGINT to a busy daemon makes a miraiInterrupt, to an idle one nothing", {
  skip_on_os("windows")
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  tools::pskill(pid, tools::SIGINT)
  expect_identical(value(mirai(Sys.getpid())), pid)
  held <- hold()
  held$started()
  tools::pskill(pid, tools::SIGINT)
  expect_s3_class(value(held$m), "miraiInterrupt")
  expect_identical(value(mirai(Sys.getpid())), pid)
})

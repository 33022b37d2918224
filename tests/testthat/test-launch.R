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

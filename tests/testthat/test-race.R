test_that("the first to have a value wins, the lowest index among several", {
  local_pool(2)
  held <- hold()
  expect_identical(race_mirai(list(held$m, mirai("quick"))), 2L)
  expect_invisible(race_mirai(list(mirai(1))))
  a <- call_mirai(mirai(1))
  b <- call_mirai(mirai(2))
  expect_identical(race_mirai(list(a, b)), 1L)
  expect_identical(race_mirai(list(held$m, a, b)), 2L)
  a$data
  expect_identical(race_mirai(list(held$m, b, a)), 2L)
  b$data
  expect_identical(race_mirai(list(held$m, b, a)), 2L)
  expect_true(unresolved(held$m))
  held$open()
  expect_identical(held$m[], "held")
})

test_that("they are waited for in pools of each kind", {
  wait_for_one <- function() {
    held <- hold()
    held$started()
    expect_identical(race_mirai(list(held$m, mirai("quick"))), 2L)
    expect_true(unresolved(held$m))
    held$open()
    expect_identical(race_mirai(list(held$m)), 1L)
    expect_identical(held$m[], "held")
    daemons(0)
  }
  for (dispatcher in c(TRUE, FALSE)) {
    local_pool(2, dispatcher = dispatcher)
    wait_for_one()
    for (url in c(local_url(), "tcp://127.0.0.1:0")) {
      local_pool(url = url, dispatcher = dispatcher)
      launch_local(2)
      await(status()$connections == 2L)
      wait_for_one()
    }
  }
  local_pool(sync = TRUE)
  expect_identical(race_mirai(list(mirai(1), mirai(2))), 1L)
})

test_that("what is no mirai is skipped", {
  local_pool(1)
  expect_identical(race_mirai(list(1, NULL, mirai(5), "a")), 3L)
  expect_identical(race_mirai(list()), 0L)
  expect_identical(race_mirai(list(1, 2)), 0L)
  expect_identical(race_mirai(NULL), 0L)
  expect_identical(race_mirai(5), 0L)
  expect_identical(race_mirai(mirai(1)), 0L)
})

test_that("names play no part", {
  local_pool(1)
  m <- call_mirai(mirai(1))
  n <- call_mirai(mirai(2))
  expect_identical(race_mirai(list(a = m, b = n)), 1L)
  expect_identical(race_mirai(list(a = "no mirai", b = m)), 2L)
  # One daemon, so the first one comes first, also where both come while they are looked at.
  for (i in 1:200) if (!identical(race_mirai(mirai_map(c(a = 1, b = 2), identity)), 1L)) fail(paste("the second was first, at", i))
  m[]
  expect_identical(race_mirai(list(a = 5, b = m)), 2L)
  expect_identical(race_mirai(list(a = 5)), 0L)
})

test_that("failures count as values", {
  local_pool(2)
  held <- hold()
  expect_identical(race_mirai(list(held$m, mirai(stop("x")))), 2L)
  held$open()
  call_mirai(held$m)
})

test_that("the loop over a map sees each once", {
  local_pool(2)
  left <- mirai_map(1:6, function(x) x)
  seen <- integer()
  while (length(left)) {
    i <- race_mirai(left)
    seen <- c(seen, left[[i]]$data)
    left <- left[-i]
  }
  expect_identical(sort(seen), 1:6)
})

test_that("mirai of several profiles may race, with and without daemons", {
  local_pool(1, .compute = "a")
  local_pool(1, .compute = "b")
  held <- hold("a")
  expect_identical(race_mirai(list(held$m, mirai(1, .compute = "b"))), 2L)
  expect_identical(race_mirai(list(held$m, mirai(1))), 2L)
  held$open()
  call_mirai(held$m)
})

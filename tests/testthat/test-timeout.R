test_that("a timeout resolves to 5 and frees the daemon", {
  local_pool(1)
  m <- mirai(Sys.sleep(60), .timeout = 50)
  expect_code(value(m), 5L)
  expect_identical(printed(m$data), "'errorValue' int 5 | Timed out")
  expect_true(m$data == 5L)
  expect_identical(value(mirai("next")), "next")
})

test_that("a timeout counts from submission, and the task is then never evaluated", {
  local_pool(1)
  held <- hold()
  held$started()
  file <- tempfile()
  m <- mirai(file.create(file), file = file, .timeout = 30)
  expect_code(value(m), 5L)
  held$open()
  expect_identical(value(mirai("after")), "after")
  expect_false(file.exists(file))
})

test_that("0 resolves at once; Inf, NULL and what is not reached do nothing", {
  local_pool(1)
  expect_code(mirai(1, .timeout = 0)$data, 5L)
  expect_identical(mirai(1, .timeout = Inf)[], 1)
  expect_identical(mirai(2, .timeout = NULL)[], 2)
  expect_identical(mirai(3, .timeout = 60000)[], 3)
  expect_identical(mirai(4, .timeout = c(60000, 0))[], 4)
  expect_identical(mirai(5, .timeout = 1e10)[], 5)
  # Truncated.
  expect_code(mirai(1, .timeout = 0.9)$data, 5L)
  expect_code(try_mirai(1, .timeout = 0)$data, 5L)
})

test_that("without dispatcher the task goes on to its end", {
  local_pool(1, dispatcher = FALSE)
  file <- tempfile()
  gate <- tempfile()
  m <- mirai({
    while (!file.exists(gate)) Sys.sleep(0.005)
    file.create(file)
  }, file = file, gate = gate, .timeout = 50)
  expect_code(value(m), 5L)
  file.create(gate)
  await(file.exists(file))
  expect_code(m$data, 5L)
})

test_that("a mirai without daemons times out", {
  expect_code(value(mirai(Sys.sleep(60), .timeout = 50)), 5L)
})

test_that("maps and everywhere() take a timeout", {
  local_pool(1)
  x <- mirai_map(1:2, function(x) Sys.sleep(60), .timeout = 50)
  for (v in x[]) expect_code(v, 5L)
  expect_code(everywhere(Sys.sleep(60), .timeout = 50)[][[1L]], 5L)
})

# Tasks that are tried again after the death of a daemon.

skip_within_check()

# Kills its daemon at each attempt up to this one, of which there is a line in the file.
killing_up_to <- function(last, file) {
  quote({
    cat(paste0(task_attempt(), "\n"), file = file, append = TRUE)
    if (task_attempt() <= last) tools::pskill(Sys.getpid(), tools::SIGKILL)
    task_attempt()
  })
}

attempts_in <- function(file) as.integer(readLines(file))

test_that("a task is tried again on another daemon, and knows at which attempt it is", {
  local_pool(3, heal = FALSE)
  file <- tempfile()
  expect_identical(task_attempt(), 1L)
  expr <- killing_up_to(2L)
  m <- mirai(expr, last = 2L, file = file, task_attempt = task_attempt, .retries = 2)
  expect_identical(value(m), 3L)
  expect_identical(attempts_in(file), 1:3)
  expect_identical(value(mirai(mirai::task_attempt())), 1L)
})

test_that("after its last attempt it is lost, and the daemons that are left go on", {
  local_pool(3, heal = FALSE)
  file <- tempfile()
  expr <- killing_up_to(9L)
  m <- mirai(expr, last = 9L, file = file, task_attempt = task_attempt, .retries = 1L)
  expect_code(value(m), 19L)
  expect_identical(attempts_in(file), 1:2)
  expect_identical(value(mirai("still here")), "still here")
})

test_that("without a number of retries it is lost at once; the pool may have one, and a call its own", {
  local_pool(3, heal = FALSE)
  file <- tempfile()
  expr <- killing_up_to(9L)
  expect_code(value(mirai(expr, last = 9L, file = file, task_attempt = task_attempt)), 19L)
  expect_identical(attempts_in(file), 1L)

  local_pool(4, retries = 2, heal = FALSE)
  unlink(file)
  expect_identical(value(mirai(expr, last = 2L, file = file, task_attempt = task_attempt)), 3L)
  unlink(file)
  expect_code(value(mirai(expr, last = 2L, file = file, task_attempt = task_attempt, .retries = 0)), 19L)
  expect_identical(attempts_in(file), 1L)
})

test_that("elements of a map are tried again, and the others are evaluated once", {
  local_pool(4, heal = FALSE)
  file <- tempfile()
  f <- function(i, file) {
    cat(paste0(i, "\n"), file = file, append = TRUE)
    if (i == 3L && mirai::task_attempt() < 3L) tools::pskill(Sys.getpid(), tools::SIGKILL)
    i * 10L
  }
  expect_identical(mirai_map(1:6, f, .args = list(file = file), .retries = 2)[.flat], 1:6 * 10L)
  expect_identical(sort(attempts_in(file)), c(1:2, 3L, 3L, 3L, 4:6))
})

test_that("a cancelled task, and one whose time is up, is not tried again", {
  local_pool(2, heal = FALSE)
  held <- hold()
  held$started()
  expect_true(stop_mirai(held$m))
  m <- mirai({
    Sys.sleep(600)
  }, .timeout = 100, .retries = 5)
  expect_code(value(m), 5L)
})

test_that("with a seed each attempt has the same random numbers", {
  draws <- function(deaths) {
    local_pool(3, seed = 5, heal = FALSE)
    mirai_map(1:3, function(i, deaths) {
      drawn <- stats::runif(1)
      if (i == 2L && mirai::task_attempt() <= deaths) tools::pskill(Sys.getpid(), tools::SIGKILL)
      drawn
    }, .args = list(deaths = deaths), .retries = 2)[.flat]
  }
  expect_identical(draws(2L), draws(0L))
})

test_that("numbers of retries are checked", {
  local_pool(1)
  expect_error(mirai(1, .retries = -1), "`.retries` must be a whole number of at least 0, not `-1`", fixed = TRUE)
  expect_error(mirai_map(1, identity, .retries = "two"), "`.retries` must be a whole number", fixed = TRUE)
  expect_error(daemons(1, retries = 1.5), "`retries` must be a whole number of at least 0, not `1.5`", fixed = TRUE)
})

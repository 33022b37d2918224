# Streams as base R makes them.
streams <- function(seed, n) {
  kinds <- RNGkind("L'Ecuyer-CMRG")
  old <- if (exists(".Random.seed", globalenv())) get(".Random.seed", globalenv())
  defer({
    suppressWarnings(RNGkind(kinds[1L], kinds[2L], kinds[3L]))
    if (!is.null(old)) assign(".Random.seed", old, globalenv())
  })
  set.seed(seed)
  result <- list(get(".Random.seed", globalenv()))
  for (i in seq_len(n - 1L)) result[[i + 1L]] <- parallel::nextRNGStream(result[[i]])
  result
}

draws <- function(n) unlist(collect_mirai(lapply(seq_len(n), function(i) mirai(runif(1)))))

test_that("with a seed the k-th mirai has the k-th stream, in every mode", {
  local_pool(1, seed = 123L)
  expect_equal(draws(2), c(0.1663742, 0.3411064), tolerance = 1e-6)
  expected <- vapply(streams(123, 6), function(s) {
    assign(".Random.seed", s, globalenv())
    runif(1)
  }, 0)
  for (arguments in list(list(1), list(3), list(2, dispatcher = FALSE))) {
    do.call(daemons, c(arguments, seed = 123))
    expect_identical(draws(6), expected)
  }
  daemons(2, seed = 123L)
  expect_identical(mirai_map(1:6, function(i) runif(1))[.flat], expected)
  daemons(2, seed = 123L)
  expect_identical(unlist(collect_mirai(lapply(1:6, function(i) try_mirai(runif(1))))), expected)
})

test_that("a seed is truncated, and the host's other kinds are those of its streams", {
  local_pool(1, seed = 123.9)
  expect_equal(draws(2), c(0.1663742, 0.3411064), tolerance = 1e-6)
  kinds <- RNGkind()
  defer(suppressWarnings(RNGkind(kinds[1L], kinds[2L], kinds[3L])))
  suppressWarnings(RNGkind("Mersenne-Twister", "Box-Muller", "Rounding"))
  set.seed(1)
  stats::rexp(1)
  after <- .Random.seed
  set.seed(1)
  daemons(1, seed = 123L)
  expect_identical(.Random.seed, after)
  expect_identical(RNGkind(), c("Mersenne-Twister", "Box-Muller", "Rounding"))
  expect_identical(mirai(.Random.seed)[], streams(123, 1)[[1L]])
  expect_identical(mirai(RNGkind())[], c("L'Ecuyer-CMRG", "Box-Muller", "Rounding"))
  daemons(1)
  expect_identical(mirai(RNGkind())[], c("L'Ecuyer-CMRG", "Box-Muller", "Rounding"))
  daemons(1, dispatcher = FALSE)
  expect_identical(mirai(RNGkind())[], c("L'Ecuyer-CMRG", "Box-Muller", "Rounding"))
})

test_that("with a seed the numbers are the same whatever daemons die", {
  expected <- streams(123, 5)
  local_pool(2, seed = 123L, heal = FALSE)
  expect_identical(mirai(.Random.seed)[], expected[[1L]])
  expect_code(value(mirai(quit("no"))), 19L)
  expect_identical(mirai(.Random.seed)[], expected[[3L]])
  daemons(1, seed = 123L, heal = FALSE)
  ms <- list(mirai(quit("no")), mirai(.Random.seed), mirai(.Random.seed))
  expect_code(value(ms[[1L]]), 19L)
  launch_local(1)
  expect_identical(lapply(ms[2:3], value), expected[2:3])
})

test_that("a stream set for a task wins over one in ..., and is forgotten after it", {
  local_pool(1, seed = 123L)
  expect_equal(mirai(runif(1), .Random.seed = 1:7)[], 0.1663742, tolerance = 1e-6)
  expect_equal(mirai({
    x <- runif(1)
    set.seed(1)
    x
  })[], 0.3411064, tolerance = 1e-6)
  third <- streams(123, 3)[[3L]]
  expect_identical(mirai(.Random.seed)[], third)
})

test_that("without a seed a stream in ... is that of the task, one in an environment is not", {
  local_pool(1)
  s <- streams(5, 1)[[1L]]
  expect_identical(mirai(.Random.seed, .Random.seed = s)[], s)
  expect_identical(mirai(runif(1), .Random.seed = s)[], mirai(runif(1), .Random.seed = s)[])
  expect_false(identical(mirai(.Random.seed, list2env(list(.Random.seed = s)))[], s))
})

test_that("nextstream() takes a stream out of the sequence", {
  local_pool(1, seed = 123L)
  s <- streams(123, 3)
  expect_identical(nextstream(), s[[1L]])
  expect_identical(nextget("stream"), s[[2L]])
  expect_identical(mirai(.Random.seed)[], s[[2L]])
  expect_identical(nextstream(), s[[3L]])
})

test_that("everywhere() takes no stream, and draws from others than tasks", {
  local_pool(2, seed = 123L)
  own <- everywhere(runif(1))[.flat]
  expect_length(unique(own), 2L)
  expect_equal(draws(2), c(0.1663742, 0.3411064), tolerance = 1e-6)
  of_tasks <- streams(123, 20)
  for (dispatcher in c(TRUE, FALSE)) {
    daemons(2, seed = 123L, dispatcher = dispatcher)
    of_daemons <- everywhere(.Random.seed)[]
    expect_length(unique(of_daemons), 2L)
    expect_false(any(of_daemons %in% of_tasks))
  }
  # That of a daemon runs on, whatever tasks do meanwhile.
  daemons(1, seed = 123L)
  a <- everywhere(runif(1))[.flat]
  b <- everywhere(runif(1))[.flat]
  daemons(1, seed = 123L)
  expect_identical(everywhere(runif(1))[.flat], a)
  draws(3)
  expect_identical(everywhere(runif(1))[.flat], b)
})

test_that("the host's generator moves by one draw for a pool, and not at all else", {
  set.seed(42)
  stats::rexp(1)
  after <- .Random.seed
  kinds <- RNGkind()
  set.seed(42)
  local_pool(1)
  expect_identical(.Random.seed, after)
  expect_identical(RNGkind(), kinds)
  mirai(runif(1))[]
  daemons(0)
  expect_identical(.Random.seed, after)
  set.seed(42)
  daemons(1, seed = 5)
  expect_identical(.Random.seed, after)
})

test_that("without a seed daemons have streams that follow from the host's state", {
  set.seed(7)
  local_pool(1)
  a <- draws(3)
  set.seed(7)
  daemons(1)
  expect_identical(draws(3), a)
  daemons(1)
  expect_false(any(draws(3) %in% a))
  expect_identical(mirai(RNGkind())[][1L], "L'Ecuyer-CMRG")
  expect_identical(mirai(RNGkind())[][2:3], RNGkind()[2:3])
})

test_that("the first daemon has the base stream advanced once, direct ones begin with it", {
  set.seed(9)
  local_pool(1)
  base <- nextget("stream")
  first <- parallel::nextRNGStream(base)
  expect_identical(mirai(.Random.seed)[], first)
  launch_local(1)
  await(info()[["connections"]] == 2L)
  expect_setequal(everywhere(.Random.seed)[], list(first, parallel::nextRNGStream(first)))
  set.seed(9)
  daemons(2, dispatcher = FALSE)
  expect_setequal(everywhere(.Random.seed)[], list(base, parallel::nextRNGStream(base)))
  expect_identical(nextstream(), parallel::nextRNGStream(parallel::nextRNGStream(base)))
})

test_that("the state runs on from task to task", {
  local_pool(1)
  x <- draws(5)
  expect_length(unique(x), 5L)
  mirai(set.seed(1))[]
  a <- draws(2)
  mirai(set.seed(1))[]
  expect_identical(draws(2), a)
})

test_that("daemons without a stream of the host's making don't draw alike", {
  expect_length(unique(unlist(collect_mirai(lapply(1:3, function(i) mirai(runif(1)))))), 3L)
})

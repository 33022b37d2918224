

skip_within_check()
big <- raw(20000)

test_that("the queue is bounded: mirai() waits, try_mirai() refuses", {
  local_pool(1, memory = 0.05)
  held <- hold()
  held$started()
  queued <- list()
  repeat {
    m <- try_mirai(length(x), x = big)
    if (is.null(m)) break
    queued <- c(queued, list(m))
  }
  expect_length(queued, 3L)
  expect_invisible(try_mirai(length(x), x = big))
  memory <- status()$memory
  expect_gte(memory[["used"]], 0.05)
  expect_lt(memory[["used"]], 0.05 + 0.021)
  expect_gte(memory[["peak"]], memory[["used"]])
  held$open()
  # This one waits for room.
  m <- mirai("waited")
  expect_identical(value(m), "waited")
  expect_identical(unique(unlist(collect_mirai(queued))), 20000L)
  expect_identical(status()$memory[["used"]], 0)
  expect_gte(status()$memory[["peak"]], memory[["peak"]])
})

test_that("a limit of less than a byte leaves room for one task", {
  local_pool(1, memory = 1e-9)
  expect_false(is.null(m <- try_mirai(1)))
  expect_identical(value(m), 1)
})

test_that("what is refused consumes neither an id nor a stream", {
  local_pool(1, memory = 0.01, seed = 123L)
  held <- hold()
  held$started()
  filling <- mirai(length(x), x = big)
  before <- nextget("stream")
  completed <- info()
  expect_null(try_mirai(length(x), x = big))
  expect_identical(nextget("stream"), before)
  expect_identical(info(), completed)
  held$open()
  call_mirai(filling)
  expect_identical(attr(mirai(1), "id"), attr(filling, "id") + 1L)
})

test_that("one task larger than the cap is taken while there is room", {
  local_pool(1, memory = 0.01)
  expect_identical(mirai(length(x), x = big)[], 20000L)
})

test_that("what a map has in common counts once, and each of its tasks something", {
  local_pool(1, memory = 0.3)
  held <- hold()
  held$started()
  # A function of base R, as with one from here all that it can see, its source included, would travel and count.
  # Waits for room in vain if its constants count once for each element.
  map <- mirai_map(1:20, identical, .args = list(raw(200000)))
  used <- status()$memory[["used"]]
  expect_gt(used, 0.2)
  expect_lt(used, 0.3)
  tiny <- list()
  while (!is.null(m <- try_mirai(1)) && length(tiny) < 1000L) tiny <- c(tiny, list(m))
  expect_lt(length(tiny), 1000L)
  held$open()
  expect_identical(map[.flat], rep(FALSE, 20L))
  call_mirai(tiny)
  expect_identical(status()$memory[["used"]], 0)
})

test_that("cancelling a queued task frees its bytes", {
  local_pool(1, memory = 0.01)
  held <- hold()
  held$started()
  m <- mirai(length(x), x = big)
  expect_gt(status()$memory[["used"]], 0)
  expect_null(try_mirai(1))
  expect_true(stop_mirai(m))
  expect_identical(status()$memory[["used"]], 0)
  expect_s3_class(try_mirai(1), "mirai")
  held$open()
})

test_that("tasks that go straight to a daemon don't count", {
  local_pool(1, memory = 0.01)
  mirai(length(x), x = big)[]
  expect_identical(status()$memory[["peak"]], 0)
})

test_that("there is no cap where none is asked for, and try_mirai() never refuses then", {
  for (memory in list(NULL, 0, Inf)) {
    local_pool(1, memory = memory)
    expect_identical(status()$memory[["capacity"]], NA_real_)
  }
  expect_s3_class(try_mirai(1), "mirai")
  local_pool(1, dispatcher = FALSE)
  expect_s3_class(try_mirai(1), "mirai")
  daemons(0)
  expect_s3_class(try_mirai(1), "mirai")
})

test_that("a cap that is none is an error", {
  for (memory in list(-1, -0.5, -Inf, NA, NA_real_, NaN, "5", c(1, 2), numeric(), TRUE, list(1)))
    expect_refused(daemons(1, memory = memory), "`memory` must be a number of megabytes, or `0`, `Inf` or `NULL`", "daemons")
  expect_false(daemons_set())
})

test_that("maps submit through the same gate", {
  local_pool(1, memory = 0.05)
  x <- mirai_map(1:50, function(i, x) length(x), .args = list(x = big))
  expect_identical(x[.flat], rep(20000L, 50L))
})

test_that("maps and everywhere() wait for room too, and can be interrupted", {
  skip_on_os("windows")
  waits <- c("mirai_map(1, identity)", "everywhere(1)")
  code <- c(
    "library(mirai)",
    "daemons(url = local_url(), memory = 0.001)",
    "m <- mirai(length(x), x = raw(5000))",
    sprintf("r <- tryCatch({cat('at %d\\n'); %s}, interrupt = function(e) 'interrupted'); cat(%d, format(r), '\\n')", seq_along(waits), waits,
            seq_along(waits)),
    "cat('awaiting', info()[['awaiting']], '\\n')",
    "launch_local(1)",
    "cat('usable', everywhere(2)[][[1]], m[], '\\n')"
  )
  child <- spawn(code)
  for (i in seq_along(waits)) {
    await(paste("at", i) %in% child$log())
    tools::pskill(child$pid, tools::SIGINT)
    await(any(grepl(sprintf("^%d ", i), child$log())))
  }
  out <- child$wait()
  expect_true(all(c("1 interrupted ", "2 interrupted ", "awaiting 1 ", "usable 2 5000 ") %in% out))
})

test_that("a waiting mirai() can be interrupted, and leaves the session usable", {
  skip_on_os("windows")
  code <- c(
    "library(mirai)",
    "daemons(url = local_url(), memory = 0.001)",
    "mirai(x, x = raw(5000))",
    "r <- tryCatch({cat('full\\n'); mirai('more')}, interrupt = function(e) 'interrupted')",
    "print(r)",
    "print(info()[['awaiting']])",
    "launch_local(1)",
    "print(mirai('usable')[])"
  )
  child <- spawn(code)
  await("full" %in% child$log())
  tools::pskill(child$pid, tools::SIGINT)
  out <- child$wait()
  expect_match(out, "interrupted", all = FALSE)
  expect_match(out, "usable", all = FALSE)
})

# ---- no memory left

# What a process may have of addresses from now on: as much as it has, and so many MB.
limited_to <- function(pid, mb) {
  status <- readLines(sprintf("/proc/%d/status", pid))
  size <- as.numeric(sub("[^0-9]*([0-9]+).*", "\\1", grep("^VmSize", status, value = TRUE))) * 1024
  stopifnot(system2("prlimit", c(sprintf("--as=%.0f", size + mb * 1e6), paste0("--pid=", pid))) == 0L)
}

skip_without_limits <- function() {
  skip_unless_linux()
  if (!nzchar(Sys.which("prlimit"))) skip("needs prlimit")
}

test_that("a task that a daemon has no memory for fails alone", {
  skip_without_limits()
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  limited_to(pid, 150)
  x <- raw(6e8)
  too_large <- mirai(length(x), x = x)
  behind <- mirai("behind")
  expect_code(value(too_large), 2L)
  expect_output(print(too_large$data), "2 | Out of memory", fixed = TRUE)
  expect_identical(value(behind), "behind")
  # The function of a map is sent once, and each of its tasks needs it.
  first <- local(function(i, ...) i, globalenv())
  map <- mirai_map(1:3, first, .args = list(x = x))
  for (m in map) expect_code(value(m), 2L)
  expect_identical(mirai_map(1:2, first)[.flat], 1:2)
  # What fits the bytes and not R's vector is R's error.
  e <- mirai({
    x <- raw(6e8)
    1
  })[]
  expect_match(e$message, "cannot allocate vector", fixed = TRUE)
  expect_identical(mirai(Sys.getpid())[], pid)
  expect_identical(value(mirai(length(x), x = raw(1e6))), 1000000L)
})

test_that("a value that the host has no memory for fails alone, and so does a task that it cannot serialize", {
  skip_without_limits()
  log <- run_r(c(
    "library(mirai)",
    paste("limited_to <-", paste(deparse(limited_to), collapse = "\n")),
    "daemons(1)",
    "pid <- mirai(Sys.getpid())[]",
    # Garbage, which R does not collect as long as it has room.
    "x <- raw(3e8); y <- raw(8e8)",
    "limited_to(Sys.getpid(), 150)",
    "cat(tryCatch(mirai(1, x = x), error = conditionMessage), '\\n')",
    "rm(y)",
    "cat('after a collection:', mirai(length(x), x = x)[], '\\n')",
    "rm(x)",
    "m <- mirai(raw(2e9))",
    "cat(format(unclass(m[])), class(m[]), '\\n')",
    "cat('same daemon:', mirai(Sys.getpid())[] == pid, '\\n')"
  ))
  expect_identical(trimws(log), c(
    "2 | Out of memory: the object does not fit when serialized", "after a collection: 300000000",
    "2 errorValue try-error", "same daemon: TRUE"
  ))
})

# Runs code that fills memory with `fill` and frees it with `free`; whether it has taken so many megabytes, and all but 40 of
# what it has taken go back to the system. R itself lets go of some only in later collections.
goes_back <- function(fill, free, mb) {
  skip_unless_linux()
  if (!grepl("glibc|gnu", R.version$os)) skip("only glibc is told to give memory back")
  log <- run_r(c(
    "library(mirai)",
    "resident <- function() {",
    "  line <- grep('^VmRSS', readLines('/proc/self/status'), value = TRUE)",
    "  as.numeric(gsub('[^0-9]', '', line)) / 1024",
    "}",
    "invisible(daemons(1)); invisible(mirai(1)[])",
    "before <- resident()",
    fill,
    sprintf("cat(resident() - before > %d, '')", mb),
    free,
    "end <- Sys.time() + 60",
    "while (resident() - before > 40 && Sys.time() < end) { Sys.sleep(0.2); invisible(gc()) }",
    "cat(resident() - before < 40)"
  ), seconds = 120)
  expect_identical(log[length(log)], "TRUE TRUE")
}

many_tasks <- "m <- lapply(1:20000, function(i) mirai(1, x = raw(10000)))"

test_that("what tasks have left behind goes back to the system", {
  goes_back(many_tasks, "invisible(call_mirai(m)); rm(m); invisible(gc())", 60)
})

test_that("it does so when the pool is reset at once", {
  goes_back(many_tasks, "invisible(call_mirai(m)); daemons(0); rm(m); invisible(gc())", 60)
})

test_that("it does so with values that R frees long after they have come", {
  goes_back(
    # Some stay, so that what is between them is not at the end of the heap, which goes back by itself.
    c(
      "m <- lapply(1:3000, function(i) mirai(rnorm(10000)))", "v <- lapply(m, function(m) m[])",
      "stay <- v[seq(1, 3000, 100)]; rm(m)", "for (i in 1:5) invisible(gc())"
    ),
    "daemons(0); rm(v); invisible(gc())",
    150
  )
})

test_that("a handler may reset the pool that mirai() waits for", {
  skip_unless_linux()
  local_pool(1, memory = 1)
  held <- hold()
  held$started()
  body <- raw(2e6)
  mirai(x, x = body)
  # The signal comes once mirai() waits; what it interrupts finds its pool gone.
  interrupt <- sprintf("until grep -q '^State:.*S' /proc/%1$d/status; do :; done; kill -INT %1$d", Sys.getpid())
  outcome <- tryCatch(
    withCallingHandlers(
      {
        system2("sh", c("-c", shQuote(interrupt)), wait = FALSE)
        mirai(x, x = body)
      },
      interrupt = function(i) {
        daemons(0)
        invokeRestart("resume")
      }
    ),
    error = conditionMessage, interrupt = function(i) "interrupted"
  )
  expect_true(identical(outcome, "interrupted") || grepl("Object closed", outcome))
  expect_false(daemons_set())
  expect_code(value(held$m), 19L)
  local_pool(1)
  expect_identical(value(mirai("again")), "again")
})

# What resets leave behind. They are those of a host of its own, with a folder for temporary files of its own, whose path
# also marks every process that descends from it.

# Processes with this variable in their environment.
marked_pids <- function(variable) {
  pids <- as.integer(grep("^[0-9]+$", list.files("/proc"), value = TRUE))
  marked <- function(pid) {
    path <- sprintf("/proc/%d/environ", pid)
    bytes <- suppressWarnings(tryCatch(readBin(path, "raw", 1e5L), error = function(e) raw()))
    bytes[bytes == 0L] <- as.raw(10L)
    variable %in% strsplit(rawToChar(bytes), "\n", fixed = TRUE)[[1L]]
  }
  Filter(function(pid) marked(pid) && alive(pid), pids)
}

# Files and folders, those of R sessions that are gone included.
entries_of <- function(folder) list.files(folder, all.files = TRUE, recursive = TRUE, include.dirs = TRUE, no.. = TRUE)

# The host: 200 resets, after pools in all states and of both profiles in turn.
resets <- quote({
  library(mirai)
  endless <- quote(repeat Sys.sleep(0.005))
  until_executing <- function(n, p) while (info(p)[["executing"]] < n) Sys.sleep(0.001)
  pools <- list(
    idle = function(p) daemons(1, .compute = p),
    running_and_pending = function(p) {
      daemons(2, .compute = p)
      for (i in 1:5) mirai(endless, .compute = p)
      until_executing(2, p)
    },
    direct = function(p) {
      daemons(1, dispatcher = FALSE, .compute = p)
      for (i in 1:3) mirai(endless, .compute = p)
    },
    nobody_there = function(p) {
      daemons(url = local_url(), .compute = p)
      for (i in 1:3) mirai(i, i = i, .compute = p)
    },
    full_queue = function(p) {
      daemons(url = local_url(), memory = 0.001, .compute = p)
      while (!is.null(try_mirai(x, x = raw(500), .compute = p))) NULL
    },
    half_of_a_map = function(p) {
      daemons(1, .compute = p)
      m <- mirai_map(1:4, function(i) if (i > 2) repeat Sys.sleep(0.005) else i, .compute = p)
      call_mirai(m[[2]])
    },
    timeouts_and_cancelled = function(p) {
      daemons(1, .compute = p)
      stop_mirai(lapply(1:3, function(i) mirai(endless, .timeout = 3600000, .compute = p))[2:3])
    },
    not_collected = function(p) {
      daemons(2, .compute = p)
      everywhere(x <<- 1, .compute = p)
      for (i in 1:5) mirai(raw(1e5), .compute = p)
    },
    staying = function(p) {
      daemons(1, autoexit = FALSE, .compute = p)
      mirai(1, .compute = p)[]
      daemons(NULL, .compute = p)
    },
    in_this_process = function(p) {
      daemons(sync = TRUE, .compute = p)
      mirai(1, .compute = p)[]
    },
    seeded = function(p) {
      daemons(1, seed = 1, .compute = p)
      mirai(runif(1), .compute = p)[]
    },
    leaving = function(p) {
      daemons(1, maxtasks = 1, .compute = p)
      mirai(1, .compute = p)[]
    },
    # A new pool takes the place of one at work: a reset too.
    replaced = function(p) {
      daemons(1, .compute = p)
      for (i in 1:2) mirai(endless, .compute = p)
      daemons(1, .compute = p)
    }
  )
  counts <- function() {
    invisible(gc())
    c(
      threads = length(list.files("/proc/self/task")),
      # Without that of the listing itself.
      descriptors = sum(nzchar(Sys.readlink(list.files("/proc/self/fd", full.names = TRUE)))),
      files = length(list.files(tempdir()))
    )
  }
  say <- function(...) cat(..., "\n")
  wait_for <- function(gate) while (!file.exists(gate)) Sys.sleep(0.01)

  daemons(1)
  mirai(1)[]
  daemons(0)
  # A thread may end a moment after its pool: then this is one more than there will be.
  before <- counts()
  say("counted")
  wait_for(first)
  for (i in 1:200) {
    p <- list(NULL, "other")[[i %% 2 + 1]]
    pools[[(i - 1) %/% 2 %% length(pools) + 1]](p)
    daemons(0, .compute = p)
  }
  end <- Sys.time() + 30
  while (any((after <- counts()) > before) && Sys.time() < end) Sys.sleep(0.01)
  say("more", names(before)[after > before])
  wait_for(second)
})

test_that("200 resets leave nothing behind but one idle fork server, which goes with the host", {
  skip_unless_linux()
  folder <- tempfile("resets")
  dir.create(folder)
  variable <- paste0("TMPDIR=", folder)
  gates <- tempfile(c("first", "second"))
  code <- c(sprintf("%s <- '%s'", c("first", "second"), gates), deparse(resets))
  host <- spawn(code, env = variable)
  said <- function(word) trimws(sub(word, "", grep(paste0("^", word, " "), host$log(), value = TRUE)))

  await(length(said("counted")) == 1L)
  await(length(marked_pids(variable)) == 2L)
  server <- setdiff(marked_pids(variable), host$pid)
  entries <- entries_of(folder)
  file.create(gates[1L])

  await(length(said("more")) == 1L, 120)
  expect_identical(said("more"), "")
  # Daemons that were at work have a moment to end.
  await(length(marked_pids(variable)) <= 2L)
  expect_setequal(marked_pids(variable), c(host$pid, server))
  expect_true(await(setequal(entries_of(folder), entries)))
  # It is idle: neither children nor threads, nor descriptors of daemons that were.
  expect_length(list.files(sprintf("/proc/%d/task", server)), 1L)

  file.create(gates[2L])
  host$wait()
  expect_true(await(!length(marked_pids(variable))))
  expect_identical(entries_of(folder), character())
})

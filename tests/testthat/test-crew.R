# What crew asks of this package, in the order in which its controllers do. (Its condition variable: test-nanonext.R.)

profile <- "crew_profile"

start_pool <- function(url, tls = NULL, pass = NULL) {
  expect_null(nextget("url", .compute = profile))
  daemons(n = 1L, url = url, dispatcher = TRUE, seed = NULL, serial = NULL, tls = tls, pass = pass, .compute = profile)
}

# As its launchers call it in a process of their own, with the arguments of daemon() in a list.
worker <- function(..., frame = parent.frame()) {
  settings <- list(url = nextget("url", .compute = profile), dispatcher = TRUE, asyncdial = FALSE, autoexit = tools::SIGTERM,
                   cleanup = FALSE, output = TRUE, maxtasks = Inf, idletime = Inf, walltime = Inf, timerstart = 0L,
                   tlscert = NULL, rs = nextstream(.compute = profile))
  settings <- utils::modifyList(settings, list(...))
  file <- tempfile("settings")
  saveRDS(settings, file)
  spawn(sprintf("cat('code', mirai::nextcode(do.call(mirai::daemon, readRDS('%s'))), '\\n')", file), frame = frame)
}

counts_add_up <- function(submitted) {
  now <- info(.compute = profile)
  expect_identical(names(now), c("connections", "cumulative", "awaiting", "executing", "completed"))
  expect_type(now, "integer")
  expect_false(anyNA(now))
  expect_identical(sum(now[3:5]), submitted)
  invisible(now)
}

test_that("a controller's life: started, workers that come and go, tasks that end in each way, terminated", {
  defer(daemons(0, .compute = profile))
  start_pool("tcp://127.0.0.1:0")
  url <- nextget("url", .compute = profile)
  expect_match(url, "^tcp://127\\.0\\.0\\.1:[1-9][0-9]*$")
  expect_identical(status(.compute = profile)$daemons, url)
  expect_null(nextget("tls", .compute = profile))
  expect_identical(typeof(nextstream(.compute = profile)), "integer")
  expect_length(nextstream(.compute = profile), 7L)

  counts_add_up(0L)
  code <- quote(list(x, Sys.getpid()))
  task <- mirai(.expr = code, .args = list(x = "value"), .timeout = NULL, .compute = profile)
  expect_s3_class(.subset2(task, "data"), "unresolvedValue")
  counts_add_up(1L)
  first <- worker(maxtasks = 1L)
  expect_identical(value(task)[[1L]], "value")
  expect_identical(.subset2(task, "data")[[1L]], "value")
  expect_true("code 3 | Daemon task limit reached " %in% first$wait())
  counts_add_up(1L)

  idle <- worker(idletime = 200)
  expect_true("code 1 | Daemon idletime limit reached " %in% idle$wait())
  walled <- worker(walltime = 200)
  expect_true("code 2 | Daemon walltime limit reached " %in% walled$wait())
  expect_identical(info(.compute = profile)[["cumulative"]], 3L)

  second <- worker()
  forever <- quote(Sys.sleep(600))
  lost <- mirai(.expr = forever, .args = list(), .compute = profile)
  await(counts_add_up(2L)[["executing"]] == 1L)
  tools::pskill(second$pid, tools::SIGKILL)
  expect_code(value(lost), 19L)
  counts_add_up(2L)

  cancelled <- list(mirai(.expr = forever, .compute = profile), mirai(.expr = forever, .compute = profile))
  expect_identical(stop_mirai(cancelled), c(TRUE, TRUE))
  for (m in cancelled) expect_code(.subset2(m, "data"), 20L)
  late <- mirai(.expr = forever, .timeout = 50, .compute = profile)
  expect_code(value(late), 5L)
  expect_identical(counts_add_up(5L)[["completed"]], 5L)
  expect_identical(info(.compute = profile)[["cumulative"]], 4L)

  third <- worker()
  await(info(.compute = profile)[["connections"]] == 1L)
  daemons(n = 0L, .compute = profile)
  expect_null(nextget("url", .compute = profile))
  expect_null(info(.compute = profile))
  expect_true("code 0 | Daemon connection terminated " %in% third$wait())
})

test_that("its TLS of one use goes into the text of a command", {
  defer(daemons(0, .compute = profile))
  start_pool("tls+tcp://127.0.0.1:0")
  tls <- nextget("tls", .compute = profile)
  expect_length(tls, 2L)
  expect_match(tls[1L], "^-----BEGIN")
  expect_identical(tls[2L], "")
  # In the text of a command.
  call <- paste(deparse(list(tlscert = tls)), collapse = "\n")
  expect_identical(eval(parse(text = call))$tlscert, tls)
  one <- worker(tlscert = tls, maxtasks = 1L)
  m <- mirai("over TLS", .compute = profile)
  expect_identical(value(m), "over TLS")
  one$wait()
})

test_that("what goes wrong is told at once, by the numbers that it knows", {
  defer(daemons(0, .compute = profile))
  before <- options(mirai.open = TRUE)
  defer(options(before))
  start_pool("tcp://0.0.0.0:0")
  port <- sub(".*:", "", nextget("url", .compute = profile))
  expect_error(daemons(n = 1L, url = paste0("tcp://0.0.0.0:", port), .compute = "second"), "10 | Address in use", fixed = TRUE)
  daemons(0, .compute = profile)
  expect_error(daemon(paste0("tcp://127.0.0.1:", port), dispatcher = TRUE, asyncdial = FALSE), "6 | Connection refused", fixed = TRUE)
  expect_error(daemon("tcp://no.such.host.invalid:5555", asyncdial = FALSE), "15 | Address invalid", fixed = TRUE)
})

test_that("certificates of the user's own go to workers as text", {
  skip_if(Sys.which("openssl") == "", "needs the program openssl")
  defer(daemons(0, .compute = profile))
  file <- function(name) file.path(tempdir(), paste0("crew-", name))
  made <- system2("openssl", c("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", file("key"),
    "-out", file("cert"), "-days", "2", "-passout", "pass:secret", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
    stdout = FALSE, stderr = FALSE)
  skip_if(made != 0L, "openssl makes no certificate")
  text <- function(name) paste(readLines(file(name)), collapse = "\n")
  start_pool("tls+tcp://127.0.0.1:0", tls = c(text("cert"), text("key")), pass = "secret")
  one <- worker(tlscert = c(text("cert"), ""), maxtasks = 1L)
  m <- mirai("over TLS", .compute = profile)
  expect_identical(value(m), "over TLS")
  expect_true("code 3 | Daemon task limit reached " %in% one$wait())
})

test_that("hooks for serialization are those of its controller", {
  defer(daemons(0, .compute = profile))
  hooks <- serial_config("counter", function(x) charToRaw(as.character(x$count)),
                         function(bytes) structure(list2env(list(count = as.numeric(rawToChar(bytes)) + 100)), class = "counter"))
  daemons(url = "tcp://127.0.0.1:0", dispatcher = TRUE, seed = NULL, serial = hooks, tls = NULL, pass = NULL, .compute = profile)
  one <- worker(maxtasks = 1L)
  counter <- structure(list2env(list(count = 1)), class = "counter")
  code <- quote(counter$count)
  m <- mirai(.expr = code, .args = list(counter = counter), .compute = profile)
  expect_identical(value(m), 101)
  one$wait()
})

test_that("the number of workers that ever came does not fall as they come and go at work", {
  defer(daemons(0, .compute = profile))
  start_pool("tcp://127.0.0.1:0")
  submitted <- 0L
  cumulative <- 0L
  tasks <- list()
  for (round in 1:3) {
    tasks <- c(tasks, lapply(1:4, function(i) mirai(Sys.getpid(), .compute = profile)))
    submitted <- submitted + 4L
    # Each leaves two of the tasks to those that come after it.
    one <- worker(maxtasks = 2L)
    repeat {
      is_last <- !alive(one$pid)
      now <- counts_add_up(submitted)
      expect_gte(now[["cumulative"]], cumulative)
      cumulative <- now[["cumulative"]]
      if (is_last) break
      Sys.sleep(0.01)
    }
    expect_identical(now[["completed"]], 2L * round)
    expect_identical(cumulative, round)
  }
  expect_identical(sum(!vapply(tasks, unresolved, NA)), 6L)
})

# What tasks may do to their daemon, in what they return, and in how they fail.

skip_within_check()

# ---- to their daemon

test_that("quit() with any status is the end of the daemon: 19, and the others go on", {
  local_pool(2, heal = FALSE)
  expect_code(value(mirai(q(status = 3))), 19L)
  expect_identical(value(mirai("by the other")), "by the other")
  await(info()[["connections"]] == 1L)
  launch_local(1)
  x <- mirai_map(1:3, function(i) if (i == 2) quit("no", 4, FALSE) else i)
  await(!unresolved(x))
  expect_identical(x[[1]]$data, 1L)
  expect_code(x[[2]]$data, 19L)
  expect_identical(x[[3]]$data, 3L)
})

test_that("a daemon of its own that quits is a 19 as well", {
  expect_code(value(mirai(q(status = 3))), 19L)
})

test_that("a daemon that quits while an error or an exit is handled: 19", {
  for (expr in list(
    quote(tryCatch(stop("x"), finally = quit("no"))),
    quote((function() {on.exit(quit("no")); 1})()),
    quote(withCallingHandlers(stop("x"), error = function(e) quit("no")))
  )) {
    local_pool(1, heal = FALSE)
    expect_code(value(mirai(expr)), 19L)
  }
})

test_that("signals that end a process: 19, and the queue waits for the next daemon", {
  skip_on_os("windows")
  local_pool(1, heal = FALSE)
  # SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL: what native code dies of.
  for (signal in c(11L, 7L, 6L, 8L, 4L)) {
    m <- mirai({
      tools::pskill(Sys.getpid(), signal)
      repeat Sys.sleep(0.01)
    }, signal = signal)
    queued <- mirai("next")
    expect_code(value(m), 19L)
    expect_true(unresolved(queued))
    launch_local(1)
    expect_identical(value(queued), "next")
  }
})

test_that("a bad pointer in native code: 19", {
  skip_on_os("windows")
  folder <- tempfile("wild")
  dir.create(folder)
  writeLines(c("void wild(void) {", "  *(volatile int *) 8 = 1;", "}"), file.path(folder, "wild.c"))
  library_file <- file.path(folder, paste0("wild", .Platform$dynlib.ext))
  log <- suppressWarnings(system2(file.path(R.home("bin"), "R"),
    c("CMD", "SHLIB", "-o", shQuote(library_file), shQuote(file.path(folder, "wild.c"))), stdout = TRUE, stderr = TRUE))
  skip_if_not(file.exists(library_file), paste(c("a shared library cannot be built here:", log), collapse = "\n"))
  local_pool(2, heal = FALSE)
  m <- mirai({
    dyn.load(library_file)
    .C("wild")
  }, library_file = library_file)
  expect_code(value(m), 19L)
  expect_identical(value(mirai("fine")), "fine")
})

test_that("memory that runs out is an error of that task, and the daemon goes on", {
  skip_unless_linux()
  skip_if(!nzchar(Sys.which("prlimit")), "needs prlimit to set a limit")
  # 700 MB more than R takes up by itself.
  code <- c(
    "size <- function() as.numeric(gsub('[^0-9]', '', grep('VmSize', readLines('/proc/self/status'), value = TRUE)))",
    "library(mirai)",
    "daemons(1)",
    "invisible(mirai(1)[])",
    "m <- mirai(size(), size = size)",
    "limit <- (max(size(), m[]) + 700 * 1024) * 1024",
    "system(sprintf('prlimit --pid %d --as=%.0f:%.0f', Sys.getpid(), limit, limit))",
    "system(sprintf('prlimit --pid %d --as=%.0f:%.0f', mirai(Sys.getpid())[], limit, limit))",
    "pid <- mirai(Sys.getpid())[]",
    "say <- function(name, expr) {x <- expr; cat(name, class(x)[1], x, '\\n')}",
    "say('at-once', mirai(numeric(1e10))[])",
    "say('in-pieces', mirai({l <- list(); repeat l[[length(l) + 1L]] <- raw(1e8)})[])",
    "say('written', mirai({x <- raw(6e8); x})[])",
    "m <- mirai({gc(); raw(2e8)}); x <- raw(4e8); call_mirai(m)",
    "say('no-room', tryCatch({m[]; 'fits'}, error = conditionMessage))",
    "rm(x); invisible(gc())",
    "say('room', length(m[]))",
    "say('after', mirai('fine')[])",
    "cat('same daemon', identical(mirai(Sys.getpid())[], pid), '\\n')"
  )
  out <- run_r(code)
  expect_match(out, "^at-once miraiError Error: cannot allocate vector of size 74.5 Gb", all = FALSE)
  expect_match(out, "^in-pieces miraiError Error: cannot allocate vector", all = FALSE)
  expect_match(out, "^written miraiError Error: .*(allocate|memory)", all = FALSE)
  # A value for which the host has no room stays where it is until there is some.
  expect_match(out, "^no-room character cannot allocate vector", all = FALSE)
  expect_match(out, "^room integer 200000000", all = FALSE)
  expect_match(out, "^after character fine", all = FALSE)
  expect_match(out, "^same daemon TRUE", all = FALSE)
})

test_that("tasks may fork: results of the children arrive, and their ends disturb nothing", {
  skip_on_os("windows")
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  expect_identical(mirai(parallel::mclapply(1:3, function(i) i^2, mc.cores = 2))[], list(1, 4, 9))
  m <- mirai({
    job <- parallel::mcparallel(c(Sys.getpid(), on_daemon <- mirai::on_daemon()))
    parallel::mccollect(job)[[1L]]
  })
  expect_false(value(m)[1L] == pid)
  # Nobody waits for this one.
  expect_identical(value(mirai({
    parallel::mcparallel(1)
    "done"
  })), "done")
  expect_identical(mirai(Sys.getpid())[], pid)
})

test_that("a forked copy of a daemon that comes back from its task ends there, and serves nobody", {
  skip_on_os("windows")
  local_pool(1)
  copy <- value(mirai({
    child <- parallel:::mcfork()
    if (inherits(child, "masterProcess")) "of the copy" else child$pid
  }))
  expect_type(copy, "integer")
  for (i in 1:3) expect_identical(mirai_map(1:300, function(i) i)[.flat], 1:300)
  expect_true(await(!alive(copy)))
})

test_that("a forked child that keeps the sockets open does not hide the death of the daemon", {
  skip_unless_linux()
  local_pool(1)
  note <- tempfile("child")
  # It would end the child.
  server <- parent_of(mirai(Sys.getpid())[])
  skip_if(server == Sys.getpid(), "needs a fork server")
  defer(tools::pskill(server, tools::SIGCONT))
  m <- mirai({
    tools::pskill(server, tools::SIGSTOP)
    job <- parallel::mcparallel(repeat Sys.sleep(1))
    writeLines(as.character(job$pid), paste0(note, ".new"))
    file.rename(paste0(note, ".new"), note)
    tools::pskill(Sys.getpid(), tools::SIGKILL)
    repeat Sys.sleep(0.01)
  }, note = note, server = server)
  await(file.exists(note))
  child <- as.integer(readLines(note))
  defer(tools::pskill(child, tools::SIGKILL))
  untold(expect_code(value(m), 19L))
  expect_true(alive(child))
  tools::pskill(server, tools::SIGCONT)
  expect_true(await(!alive(child)))
  untold(launch_local(1))
  expect_identical(value(mirai("next")), "next")
})

test_that("a working directory that is left, or gone, is that of one task only", {
  local_pool(1)
  folder <- getwd()
  gone <- tempfile("gone")
  dir.create(gone)
  mirai({
    setwd(gone)
    unlink(gone, recursive = TRUE)
  }, gone = gone)[]
  expect_false(dir.exists(gone))
  expect_identical(value(mirai(getwd())), folder)
  expect_identical(value(mirai("fine")), "fine")
})

test_that("a host whose working directory is gone is told so", {
  skip_on_os("windows")
  out <- run_r(c(
    "library(mirai)",
    "gone <- tempfile(); dir.create(gone); setwd(gone); unlink(gone, recursive = TRUE)",
    "cat(tryCatch({daemons(1); 'started'}, error = conditionMessage), '\\n')",
    "cat('set', daemons_set(), '\\n')"
  ))
  expect_match(out, "daemons cannot start in the working directory: `.*/file[0-9a-f]+` is gone", all = FALSE)
  expect_match(out, "set FALSE", all = FALSE)
})

test_that("where replacements find the working directory gone, it is named", {
  skip_unless_linux()
  gone <- tempfile("gone")
  dir.create(gone)
  before <- setwd(gone)
  defer(setwd(before))
  local_pool(1)
  setwd(before)
  unlink(gone, recursive = TRUE)
  # As its fork server is in there as well.
  tools::pskill(parent_of(daemon_pids()), tools::SIGKILL)
  suppressWarnings({
    expect_code(value(mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))), 19L)
    await(!is.na(status()$given_up))
    info()
  })
  expect_match(status()$failed$reason, sprintf("working directory that they start in, `%s`, cannot be entered", gone), fixed = TRUE)
})

test_that("closing all connections harms neither the task nor later ones, and what they print stays discarded", {
  out <- run_r(c(
    "library(mirai)",
    "daemons(1)",
    "pid <- mirai(Sys.getpid())[]",
    "cat('closed', mirai({print('printed 1'); closeAllConnections(); print('printed 2'); 'value'})[], '\\n')",
    "cat('later', mirai({print('printed 3'); message('printed 4'); 'value'})[], '\\n')",
    "cat('sunk', mirai({while (sink.number() > 0) sink(); sink(type = 'message'); 'value'})[], '\\n')",
    "cat('later too', mirai({print('printed 5'); message('printed 6'); 'value'})[], '\\n')",
    "cat('same', identical(mirai(Sys.getpid())[], pid), '\\n')"
  ))
  expect_true(all(c("closed value ", "later value ", "sunk value ", "later too value ", "same TRUE ") %in% out))
  # From the moment a task has torn down the sink to its own end, it prints where R does.
  expect_false(any(grepl("printed [13456]", out)))
})

test_that("output, messages and warnings of tasks corrupt nothing, results least of all", {
  out <- run_r(c(
    "library(mirai)",
    "daemons(2, output = TRUE)",
    "noisy <- function(i) {",
    "  for (k in 1:200) {cat(sprintf('out %d %d\\n', i, k)); message(sprintf('err %d %d', i, k)); warning('warned')}",
    "  writeBin(as.raw(1:31), f <- file('/dev/null', 'wb')); close(f)",
    "  cat('\\a\\r\\n', rawToChar(as.raw(c(1:9, 128:255))), '\\n', sep = ''); system('echo from a shell; echo and >&2')",
    "  seq_len(i * 1000)",
    "}",
    "x <- mirai_map(1:8, noisy)[]",
    # Each in one write: a daemon may still print its warnings.
    "cat(sprintf('identical %s\\n', identical(x, lapply(1:8, function(i) seq_len(i * 1000)))))",
    "cat(sprintf('daemons %d %d\\n', info()[['connections']], info()[['cumulative']]))"
  ))
  Encoding(out) <- "bytes"
  said <- function(pattern) sum(grepl(pattern, out, useBytes = TRUE))
  expect_identical(said("identical TRUE"), 1L)
  expect_identical(said("daemons 2 2"), 1L)
  expect_gte(said("out [0-9]+ [0-9]+"), 1500L)
  expect_gte(said("err [0-9]+ [0-9]+"), 1L)
  expect_gte(said("from a shell"), 1L)
})

# ---- in what they return

test_that("environments and functions come back as copies, with what they enclose", {
  local_pool(1)
  e <- new.env(parent = emptyenv())
  e$self <- e
  e$x <- 1:3
  r <- mirai(e, .args = list(e = e))[]
  expect_identical(r$self, r)
  expect_identical(r$x, 1:3)
  expect_false(identical(r, e))
  expect_identical(mirai(globalenv())[], globalenv())
  expect_identical(mirai(list(baseenv(), emptyenv(), asNamespace("stats")))[], list(baseenv(), emptyenv(), asNamespace("stats")))
  counter <- mirai({
    n <- 41
    function() n <<- n + 1
  })[]
  expect_identical(c(counter(), counter()), c(42, 43))
  expect_identical(mirai(sum)[], sum)
  # The environment of the evaluation itself holds the arguments and what the task made, and nothing of ours.
  here <- mirai({
    made <- 2
    environment()
  }, .args = list(given = 1))[]
  expect_setequal(ls(here, all.names = TRUE), c("given", "made"))
  expect_identical(parent.env(here), globalenv())
})

test_that("external pointers come back null, alone or inside others", {
  local_pool(1)
  pointer <- stats:::C_rmultinom$address
  r <- mirai(list(p, stats:::C_rmultinom$address), p = pointer)[]
  expect_identical(vapply(r, typeof, ""), rep("externalptr", 2L))
  for (p in r) expect_match(utils::capture.output(print.default(p))[1L], "nil|0x0")
})

test_that("S4 objects and reference classes come back whole", {
  local_pool(1)
  r <- mirai({
    methods::setClass("Point", representation(x = "numeric", y = "list"))
    methods::new("Point", x = 1.5, y = list("a", NULL))
  })[]
  expect_true(isS4(r))
  expect_identical(as.vector(class(r)), "Point")
  expect_identical(methods::slot(r, "x"), 1.5)
  expect_identical(methods::slot(r, "y"), list("a", NULL))
  methods::setClass("MiraiTestLine", representation(length = "numeric"), where = globalenv())
  defer(methods::removeClass("MiraiTestLine", where = globalenv()))
  line <- methods::new("MiraiTestLine", length = 2)
  expect_identical(mirai(line, line = line)[], line)
  account <- mirai({
    Account <- methods::setRefClass("Account", fields = list(balance = "numeric"), methods = list(add = function(x) balance <<- balance + x))
    a <- Account$new(balance = 1)
    a$add(2)
    a
  })[]
  expect_identical(account$balance, 3)
})

test_that("R6 objects come back whole, as copies", {
  skip_if_not_installed("R6")
  local_pool(1)
  counter <- R6::R6Class("Counter", public = list(n = 0, add = function() {
    self$n <- self$n + private$step
    invisible(self)
  }), private = list(step = 2), active = list(double = function() self$n * 2))$new()
  back <- mirai(counter$add(), counter = counter)[]
  expect_s3_class(back, "Counter")
  expect_identical(c(back$n, back$double, counter$n), c(2, 4, 0))
  expect_identical(back$add()$n, 4)
})

test_that("ALTREP vectors come back, compact ones as small as they are", {
  local_pool(1)
  sorted <- sort(c(3, 1, 2))
  for (x in list(1:1e5, 1e5:1, as.character(1:1000), sorted)) expect_identical(mirai(x, .args = list(x = x))[], x)
  # 8 GB, were it written out.
  r <- mirai(1:2e9)[]
  expect_length(r, 2e9)
  expect_identical(r[c(1, 2e9)], c(1L, 2000000000L))
  expect_identical(mirai(c(length(x), x[2e9]), x = r)[], c(2000000000L, 2000000000L))
})

test_that("vectors of more than 2^31 bytes travel both ways", {
  skip_unless_linux()
  available <- as.numeric(gsub("[^0-9]", "", grep("^MemAvailable", readLines("/proc/meminfo"), value = TRUE))) / 1024^2
  skip_if(available < 12, sprintf("%.1f GiB of memory are free, and a vector of 2.2 GB in four copies wants 12", available))
  out <- run_r(c(
    "library(mirai)",
    "daemons(1)",
    "x <- mirai({x <- raw(2.2e9); x[c(1, 2.2e9)] <- as.raw(c(7, 9)); x})[]",
    "cat('back', length(x), as.integer(x[c(1, 2, 2.2e9)]), '\\n')",
    "m <- mirai(c(length(x), as.integer(x[c(1, 2, 2.2e9)])), .args = list(x = x))",
    "rm(x); invisible(gc())",
    "cat('there', m[], '\\n')",
    "cat('then', mirai('fine')[], '\\n')"
  ), seconds = 300)
  expect_identical(out, c("back 2.2e+09 7 0 9 ", "there 2.2e+09 7 0 9 ", "then fine "))
})

# ---- in how they fail

test_that("errors with huge calls are short as text, and whole as call", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  e <- mirai(do.call(function(x) stop("huge"), list(as.numeric(1:1e6) + 0.5)))[]
  expect_s3_class(e, "miraiError")
  expect_match(e, ": huge$")
  expect_lt(nchar(e), 1000L)
  expect_length(e$call[[2L]], 1e6L)
  # R itself reads no call of 100,000 arguments.
  e <- mirai(stop(simpleError("built", as.call(c(as.name("f"), as.list(1:1e4))))))[]
  expect_match(e, "^Error in f\\(1L, 2L, .*: built$")
  expect_lt(nchar(e), 1000L)
  e <- mirai(stop(strrep("long ", 1e5)))[]
  expect_s3_class(e, "miraiError")
  expect_identical(mirai(Sys.getpid())[], pid)
})

custom <- function(class, ...) structure(class = c(class, "condition"), list(...))

test_that("conditions that are signalled but not errors change nothing", {
  local_pool(1)
  signal <- custom("custom", message = "own", call = NULL)
  expect_null(mirai(signalCondition(s), s = signal)[])
  expect_identical(mirai({
    message(s)
    warning(s)
    signalCondition(s)
    "value"
  }, s = signal)[], "value")
  expect_identical(mirai({
    warning("w")
    message("m")
    packageStartupMessage("p")
    "value"
  })[], "value")
})

test_that("a condition returned is a value, whatever its class", {
  local_pool(1)
  for (x in list(simpleError("e"), simpleWarning("w", quote(f(x))), custom("custom", message = "own", call = NULL))) {
    r <- mirai(x, .args = list(x = x))[]
    expect_identical(r, x)
    expect_false(is_error_value(r))
  }
})

test_that("stop() with a condition that is not an error is an error with that condition's fields", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  e <- mirai(stop(s), s = custom("custom", message = "own", call = quote(f(x)), data = 1:3))[]
  expect_s3_class(e, c("miraiError", "errorValue", "try-error"), exact = TRUE)
  expect_identical(as.vector(e), "Error in f(x): own")
  expect_identical(e$condition.class, c("custom", "condition"))
  expect_identical(e$data, 1:3)
  # As those do who turn warnings into errors by themselves.
  e <- mirai(tryCatch(warning("caught"), warning = function(w) stop(w)))[]
  expect_identical(e$message, "caught")
  expect_identical(e$condition.class, c("simpleWarning", "warning", "condition"))
  expect_identical(mirai(stop(s), s = custom("custom", message = strrep("long ", 1000), call = NULL))[]$message, strrep("long ", 1000))
  # Nothing of it is left for a failure of another kind.
  e <- mirai({
    message("own")
    f <- function(n) f(n + 1)
    f(1)
  })[]
  expect_s3_class(e, "miraiError")
  expect_false("custom" %in% e$condition.class)
  expect_s3_class(mirai(invokeRestart("abort"))[], "miraiError")
  expect_identical(mirai(Sys.getpid())[], pid)
})

test_that("condition objects of any making are miraiErrors", {
  local_pool(1)
  pid <- mirai(Sys.getpid())[]
  error <- function(...) custom(c("custom", "error"), ...)
  text <- function(condition) as.vector(mirai(stop(s), s = condition)[])
  expect_identical(text(error()), "Error: ")
  expect_identical(text(error(message = NULL, call = NULL)), "Error: ")
  expect_identical(text(error(message = c("a", "b"), call = NULL)), "Error: a\nb")
  expect_identical(text(error(message = 5, call = NULL)), "Error: 5")
  expect_identical(text(error(message = NA_character_, call = NULL)), "Error: NA")
  expect_identical(text(errorCondition("made", class = "own", data = 1, call = quote(g()))), "Error in g(): made")
  fields <- error(message = "m", call = NULL, f = function() "called", e = globalenv(), p = stats:::C_rmultinom$address)
  e <- mirai(stop(s), s = fields)[]
  expect_identical(e$f(), "called")
  expect_identical(e$e, globalenv())
  expect_identical(typeof(e$p), "externalptr")
  # One that says what it is by code that fails.
  e <- mirai({
    registerS3method("conditionMessage", "unspeakable", function(c) stop("inner"), envir = baseenv())
    stop(structure(class = c("unspeakable", "error", "condition"), list(message = "outer", call = NULL)))
  })[]
  expect_s3_class(e, "miraiError")
  expect_identical(mirai(Sys.getpid())[], pid)
})

test_that("errors on the way out take the place of those before", {
  local_pool(1)
  e <- mirai((function() {
    on.exit(stop("in exit"))
    stop("in body")
  })())[]
  expect_identical(e$message, "in exit")
  e <- mirai(tryCatch(stop("first"), error = function(e) stop("second")))[]
  expect_identical(e$message, "second")
  # Nor do options that would end R.
  expect_identical(mirai({
    options(error = quote(quit("no")))
    stop("plain")
  })[]$message, "plain")
})

test_that("50,000 mirai that nobody keeps run all the same, and their memory returns", {
  skip_unless_linux()
  out <- run_r(c(
    "library(mirai)",
    "resident <- function() {invisible(gc()); as.numeric(strsplit(readLines('/proc/self/statm'), ' ')[[1]][2]) * 4096 / 1e6}",
    "daemons(1)",
    "everywhere({counter <<- new.env(); counter$n <- 0})[]",
    "x <- raw(4000)",
    "round <- function(n) {",
    "  gate <- tempfile()",
    "  mirai(while (!file.exists(gate)) Sys.sleep(0.005), gate = gate)",
    "  for (i in seq_len(n)) mirai(counter$n <- counter$n + 1, .args = list(x = x))",
    "  invisible(gc())",
    "  cat('queued', status()$memory[['used']] > n * 0.004, '\\n')",
    "  file.create(gate)",
    "  while (sum(info()[c('awaiting', 'executing')]) > 0) Sys.sleep(0.01)",
    "  cat('used', status()$memory[['used']], '\\n')",
    "  resident()",
    "}",
    "first <- round(50000); second <- round(25000)",
    "cat('count', mirai(counter$n)[], '\\n')",
    # 200 MB of payload, then 100 MB more, for which there is room where the first was.
    "cat('kept', second - first < 50, '\\n')"
  ), seconds = 120)
  expect_identical(grep("^queued", out, value = TRUE), rep("queued TRUE ", 2L))
  expect_identical(grep("^used", out, value = TRUE), rep("used 0 ", 2L))
  expect_true("count 75000 " %in% out)
  expect_true("kept TRUE " %in% out)
})

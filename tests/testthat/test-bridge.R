# The boundary between R and Rust, by its entry points: the public functions have tests of their own.

skip_within_check()

entry <- function(name, ...) call_native(list(getNamespace("mirai")[[paste0("wrap__", name)]], ...))

# With MIRAI_TEST_TORTURE=n, R collects garbage at every n-th allocation in there.
torture <- as.integer(Sys.getenv("MIRAI_TEST_TORTURE", "0"))

call_native <- function(args) {
  if (torture) {
    gctorture2(torture)
    on.exit(gctorture2(0L))
  }
  do.call(.Call, args, quote = TRUE)
}

alive_values <- function() entry("test_boundary", "alive", NULL)

# A function of R code that C code calls, so that an error jumps over Rust's frames.
boundary <- function(what, f = NULL) entry("test_boundary", what, f)

expect_failure_kind <- function(x, kind) {
  expect_s3_class(x, "mirai_failure", exact = TRUE)
  expect_identical(names(x), c("message", "kind", "code"))
  expect_identical(x$kind, kind)
}

kinds_of_objects <- function() {
  local <- local({
    a <- 1
    function(x) x + a
  })
  list(
    null = NULL, lgl = c(TRUE, NA), int = c(1L, NA), dbl = c(1, NA, NaN, -Inf), cplx = c(1i, NA), raw = as.raw(0:255),
    chr = c("a", NA, ""), utf8 = "\u00e9\u4e2d", latin1 = `Encoding<-`("\xe9", "latin1"), bytes = `Encoding<-`("\xff", "bytes"),
    named = c(a = 1, b = 2), list = list(1, list("b", NULL)), pairlist = pairlist(a = 1, 2), empty = list(),
    factor = factor(c("x", "y")), date = as.Date("2020-02-29"), frame = iris, matrix = matrix(1:6, 2, dimnames = list(NULL, letters[1:3])),
    call = quote(f(x, y = 2)), symbol = as.name("x"), formula = y ~ x, expression = expression(a, b + 1),
    closure = local, builtin = sum, special = quote, global = globalenv(), base = baseenv(), empty_env = emptyenv(),
    namespace = asNamespace("stats"),
    sequence = 1:100000, reversed = 10:1, deferred = as.character(1:100), sorted = sort(c(3, 1, 2)),
    long = as.double(1:50000), model = lm(mpg ~ cyl, mtcars), s4 = methods::new("numeric")
  )
}

test_that("objects travel as base R serializes them", {
  for (object in kinds_of_objects()) {
    bytes <- entry("test_serialize", object)[[1L]]
    expect_identical(bytes, serialize(object, NULL, xdr = FALSE, version = 3L))
    back <- entry("test_unserialize", bytes)
    expect_identical(serialize(back, NULL), serialize(unserialize(bytes), NULL))
  }
})

test_that("elements of a map travel as base R serializes them", {
  vectors <- list(
    c(TRUE, NA, FALSE), c(1L, NA, -5L), c(0.5, NA, NaN, -Inf), as.raw(c(0, 255)),
    c("a", NA, "", "NA", "\u00e9\u4e2d", `Encoding<-`("\xe9", "latin1"), `Encoding<-`("\xff", "bytes"), strrep("x", 5000)),
    c(a = 1, b = 2), 1:3, as.character(1:3), list(1, NULL, "x", iris, list(2), sum), logical(), list()
  )
  for (x in vectors) {
    by_base <- lapply(unname(x), serialize, NULL, xdr = FALSE, version = 3L)
    expect_identical(entry("test_serialize_elements", x), by_base)
    for (i in seq_along(x)) expect_identical(entry("test_unserialize", by_base[[i]]), x[[i]])
  }
  expect_failure_kind(entry("test_serialize_elements", quote(a)), "error")
})

test_that("small values that are cut short, or are too long, are R's errors or no values", {
  for (x in list(1L, 0.5, TRUE, "a", "\u00e9", as.raw(1), NA_character_, NULL)) {
    bytes <- entry("test_serialize", x)[[1L]]
    for (n in seq_along(bytes)[-length(bytes)]) {
      back <- tryCatch(entry("test_unserialize", bytes[seq_len(n)]), error = identity)
      expect_true(inherits(back, "error") || inherits(back, "mirai_failure"))
    }
    # What follows an object is not read.
    expect_identical(entry("test_unserialize", c(bytes, as.raw(0))), x)
  }
})

test_that("objects come back identical", {
  objects <- kinds_of_objects()
  for (object in objects[setdiff(names(objects), c("closure", "model", "formula"))])
    expect_identical(entry("test_unserialize", entry("test_serialize", object)[[1L]]), object)
})

test_that("references are noted, and only those", {
  has_references <- function(x) entry("test_serialize", x)[[2L]]
  objects <- kinds_of_objects()
  plain <- setdiff(names(objects), c("closure", "model", "formula"))
  expect_false(any(vapply(objects[plain], has_references, NA)))
  expect_true(has_references(objects$closure))
  expect_true(has_references(new.env()))
  expect_true(has_references(list(1, list(entry("test_boundary", "pointer", NULL)))))

})

test_that("small tasks are written as R's serializer writes them", {
  small <- function(x, room = 1024L) entry("test_serialize_small", x, room)
  task <- function(expr, ...) list(expr, if (...length()) list(...), NULL)
  formals_call <- quote(function(x, y = 2) x)
  tasks <- list(
    NULL, list(), 1L, c(1.5, NA), c("a", NA, "\u00e9"), character(), list(list(1, b = "x")), as.name("x"),
    task(quote(x * x), x = 1L), task(quote(f(x, y = x, g(h(x, "a")), -2)[-1]), x = 5), task(quote(x[, 1]), x = TRUE),
    task(call("{", quote(a <- b), quote(a)), b = as.raw(1:3)), task(1), task(as.name("x"), x = NULL), task(quote(f())),
    list(a = 1, 2), list(quote(a$b$c), list(a = list(b = list(c = 1))), list(g = "x")), call("f", c(1L, 3L, 2L), NULL)
  )
  for (x in tasks) {
    expect_identical(small(x), entry("test_serialize", x)[[1L]])
    expect_identical(unserialize(small(x)), x)
  }
  # What R would write as its ends only.
  expect_identical(unserialize(small(list(quote(f(x)), list(x = 1:3)))), list(quote(f(x)), list(x = 1:3)))
  latin <- iconv("\u00e9", "UTF-8", "latin1")
  expect_identical(unserialize(small(list(quote(f(x)), list(x = latin)))), list(quote(f(x)), list(x = latin)))
  left <- list(
    iris, factor("a"), structure(list(1), class = "a"), structure(1, names = "a"), y ~ x, mean, sum, globalenv(), 1i,
    list(new.env()), formals_call, structure(quote(f(x)), a = 1), expression(a), pairlist(a = 1), Sys.Date(), numeric(2000),
    as.list(1:200), rep("a", 200), structure(list(a = 1), row.names = 1L), list(structure("a", names = "b")),
    lapply(1:40, function(i) as.name(paste0("x", i))), Reduce(function(x, i) list(x), 1:30, 1), bitwAnd
  )
  for (x in left) {
    expect_null(small(x))
    expect_null(small(list(quote(f(x)), list(x = x), NULL)))
  }
  # Whatever room there is.
  whole <- small(tasks[[9L]])
  for (room in 0:length(whole)) expect_identical(small(tasks[[9L]], room), if (room == length(whole)) whole)
})

test_that("objects are measured without being stored, and without a look into references", {
  objects <- kinds_of_objects()
  for (object in objects) {
    pickled <- entry("test_serialize", object)
    measured <- entry("test_measure", object)
    expect_identical(measured[[2L]], pickled[[2L]])
    if (!pickled[[2L]]) expect_equal(measured[[1L]], length(pickled[[1L]]))
  }
  heavy <- new.env()
  heavy$x <- numeric(1e6)
  expect_lt(entry("test_measure", list(heavy))[[1L]], 1000)
})

test_that("what tasks have in common is kept by daemons as far as it holds no references", {
  kind <- function(x) as.integer(entry("test_encode_part", x)[[1L]])
  env <- new.env(parent = emptyenv())
  large <- numeric(1000)
  expect_identical(kind(list(quote(f(x)), list(x = large), NULL)), 1L)
  expect_identical(kind(large), 1L)
  expect_identical(kind(env), 0L)
  expect_identical(kind(list(env, 1)), 0L)
  expect_identical(kind(list(env, list(x = large))), 2L)
  expect_identical(kind(list(1, list(x = large, env))), 2L)
  expect_identical(kind(structure(list(large), around = env)), 0L)
  expect_identical(kind(structure(list(large, env), around = env)), 0L)
  # The rest is there once.
  expect_lt(length(entry("test_encode_part", list(env, list(x = large, env, y = large)))), 2 * 8000 + 2000)
})

test_that("what is no serialized object is R's error", {
  bytes <- entry("test_serialize", iris)[[1L]]
  for (n in c(0L, 1L, 2L, 10L, 50L, 500L, length(bytes) - 1L)) {
    back <- tryCatch(entry("test_unserialize", bytes[seq_len(n)]), error = identity)
    expect_true(inherits(back, "error") || inherits(back, "mirai_failure"))
  }
  expect_error(entry("test_unserialize", as.raw(1:100)))
})

test_that("an R error passes through as it is, once, and everything is dropped", {
  condition <- structure(list(message = "mine", call = quote(f(x))), class = c("special", "error", "condition"))
  seen <- 0L
  caught <- tryCatch(
    withCallingHandlers(boundary("call", function() stop(condition)), error = function(e) seen <<- seen + 1L),
    special = identity
  )
  expect_identical(caught, condition)
  expect_identical(seen, 1L)
  expect_identical(alive_values(), 0L)
  expect_error(boundary("call", function() boundary("call", function() log("a"))), "non-numeric")
  expect_identical(alive_values(), 0L)
})

test_that("other jumps pass through as well", {
  left <- FALSE
  through <- function() {
    on.exit(left <<- TRUE)
    boundary("call", function() invokeRestart("elsewhere", 21))
  }
  expect_identical(withRestarts(through(), elsewhere = function(x) 2 * x), 42)
  expect_true(left)
  returning <- function() {
    delayedAssign("leave", return("returned"))
    boundary("call", function() leave)
    "not returned"
  }
  expect_identical(returning(), "returned")
  expect_identical(alive_values(), 0L)
})

test_that("a jump can be given up, also a nested one", {
  give_up <- function(f) tryCatch(boundary("abandon", f), error = function(e) "reached")
  expect_identical(give_up(function() stop("x")), "abandoned")
  for (i in seq_len(if (torture) 10 else 1000)) give_up(function() boundary("call", function() boundary("call", function() stop("x"))))
  expect_identical(alive_values(), 0L)
})

test_that("an interrupt passes through", {
  skip_on_os("windows")
  interrupted <- tryCatch(
    boundary("call", function() {
      tools::pskill(Sys.getpid(), tools::SIGINT)
      # Not for ever: a process may have been started to ignore the signal.
      for (i in 1:1000) Sys.sleep(0.01)
    }),
    interrupt = function(e) "interrupted"
  )
  expect_identical(interrupted, "interrupted")
  expect_identical(alive_values(), 0L)
})

test_that("a panic becomes a failure, and in a finalizer nothing", {
  expect_failure_kind(failure <- boundary("panic"), "panic")
  expect_match(failure$message, "asked for", fixed = TRUE)
  expect_identical(alive_values(), 0L)
  boundary("panics in drop")
  gc()
  expect_identical(alive_values(), 0L)
})

test_that("wrong types are failures at every entry", {
  routines <- getDLLRegisteredRoutines(getNamespaceInfo("mirai", "DLLs")$mirai)$.Call
  expect_gt(length(routines), 25L)
  # These take anything.
  routines <- routines[setdiff(names(routines), paste0("wrap__", c("set_unresolved", "test_serialize", "test_unserialize", "test_boundary")))]
  pointer <- boundary("pointer")
  wrong <- list(NULL, NA, -1, "a", c("a", "b"), list(1), list(pointer), sum, globalenv(), quote(x), raw(2), pointer, 1i)
  for (name in names(routines)) {
    n <- routines[[name]]$numParameters
    for (x in wrong) {
      result <- call_native(c(list(routines[[name]]), rep(list(x), n)))
      if (n > 0L && grepl("wrap__(hub|task|launch|daemon|session_(changed|new))", name)) expect_failure_kind(result, "error")
    }
  }
})

test_that("a pointer of one kind is not taken for another, nor a dead one for a live one", {
  local_pool(1)
  hub <- mirai:::profiles$default$hub
  expect_match(entry("task_state", hub)$message, "`task` must be a task pointer", fixed = TRUE)
  dead <- unserialize(serialize(hub, NULL))
  expect_failure_kind(entry("hub_info", dead), "error")
})

test_that("an interrupted wait leaves the task and the session as they were", {
  skip_on_os("windows")
  local_pool(2)
  held <- hold()
  held$started()
  host <- Sys.getpid()
  for (wait in list(
    function() held$m[],
    function() call_mirai(list(held$m)),
    function() collect_mirai(list(held$m))
  )) {
    waited <- tryCatch(
      {
        mirai(tools::pskill(host, tools::SIGINT), host = host)
        wait()
      },
      interrupt = function(e) "interrupted"
    )
    expect_identical(waited, "interrupted")
  }
  expect_true(unresolved(held$m))
  held$open()
  expect_identical(value(held$m), "held")
})

test_that("a forked child of the host is told so, and its end disturbs nothing", {
  skip_on_os("windows")
  local_pool(1)
  hub <- mirai:::profiles$default$hub
  m <- mirai("before")
  map <- mirai_map("before", identity)
  job <- parallel::mcparallel({
    kinds <- list(entry("hub_info", hub), entry("task_state", m), entry("task_state", map[[1L]]), entry("hub_close", hub, FALSE))
    rm(hub, m, map)
    gc()
    kinds
  })
  for (failure in parallel::mccollect(job)[[1L]]) {
    expect_failure_kind(failure, "forked")
    expect_match(failure$message, "forked from", fixed = TRUE)
  }
  expect_identical(list(value(m), value(map)), list("before", list("before")))
  expect_identical(value(mirai("after")), "after")
})

test_that("streams follow each other as in parallel", {
  seed <- c(10407L, 1:6)
  for (i in 1:200) {
    after <- entry("next_rng_stream", seed)
    expect_identical(after, parallel::nextRNGStream(seed))
    seed <- after
  }
})

take_session <- function(number = 1) entry("session_snapshot", .Options, search(), stdout(), 2L, 10407L, .libPaths(), number)

look_at_session <- function(snapshot, seed = NULL, number = 1)
  entry("session_changed", snapshot, .Options, search(), stdout(), 2L, seed, .libPaths(), number)

# What a snapshot says of a change, and of the state after it has been undone. Expectations set options, so that none
# may come between.
changes <- function(change, undo) {
  snapshot <- take_session()
  change()
  changed <- look_at_session(snapshot)
  undo()
  c(changed, look_at_session(snapshot))
}

test_that("a snapshot tells what a session has changed", {
  at <- globalenv()
  folder <- NULL
  expect_identical(changes(function() NULL, function() NULL), c(0L, 0L))
  expect_identical(changes(function() assign("bridge variable", 1, at), function() rm("bridge variable", envir = at)), c(1L, 0L))
  expect_identical(
    changes(function() attach(list(a = 1), name = "bridge attached"), function() detach("bridge attached")),
    c(2L, 0L)
  )
  expect_identical(changes(function() options(bridge.option = 1), function() options(bridge.option = NULL)), c(4L, 0L))
  expect_identical(
    changes(function() Sys.setenv(BRIDGE_VARIABLE = "1"), function() Sys.unsetenv("BRIDGE_VARIABLE")),
    c(8L, 0L)
  )
  expect_identical(changes(function() folder <<- setwd(tempdir()), function() setwd(folder)), c(16L, 0L))
  file <- file(nullfile(), "w")
  expect_identical(changes(function() sink(file), function() sink()), c(32L, 0L))
  close(file)
  expect_identical(changes(function() grDevices::pdf(NULL), function() grDevices::dev.off()), c(64L, 0L))
  snapshot <- take_session()
  kinds <- c(look_at_session(snapshot, c(10403L, 1L)), look_at_session(snapshot, c(10407L, 1L)))
  expect_identical(kinds, c(128L, 0L))
  assign("bridge variable", 1, at)
  defer(rm("bridge variable", envir = at))
  expect_identical(
    changes(function() lockBinding("bridge variable", at), function() get("unlockBinding", baseenv())("bridge variable", at)),
    c(512L, 0L)
  )
  libraries <- .libPaths()
  kept <- environment(.libPaths)
  expect_identical(
    changes(function() assign(".lib.loc", tempdir(), envir = kept), function() assign(".lib.loc", libraries, envir = kept)),
    c(1024L, 0L)
  )
  snapshot <- take_session()
  expect_identical(c(look_at_session(snapshot, number = 2), look_at_session(snapshot)), c(16384L, 0L))
})

test_that("attributes of the process are seen and restored", {
  skip_on_os("windows")
  mask <- NULL
  snapshot <- take_session()
  mask <- Sys.umask("0123")
  changed <- look_at_session(snapshot)
  entry("session_restore_process", snapshot)
  expect_identical(c(changed, look_at_session(snapshot)), c(2048L, 0L))
  expect_identical(Sys.umask(), mask)
})

test_that("flags that R sets are found, and can be taken away", {
  env <- new.env()
  flag <- flag_set_by(lockEnvironment, new.env)
  expect_gt(flag, 0L)
  expect_false(has_flag(env, flag))
  lockEnvironment(env)
  expect_true(has_flag(env, flag))
  entry("clear_flag", env, flag)
  expect_false(environmentIsLocked(env))
  assign("a", 1, env)
  expect_identical(flag_set_by(identity, new.env), 0L)
  expect_identical(entry("clear_flag", 1, flag)$kind, "error")
  expect_identical(entry("clear_flag", env, 3L)$kind, "error")
})

test_that("new variables are named, and only those", {
  assign("bridge variable", 1, globalenv())
  defer(rm("bridge variable", envir = globalenv()))
  with_variable <- take_session()
  assign("another", 2, globalenv())
  rm("bridge variable", envir = globalenv())
  expect_identical(entry("session_new_globals", with_variable), "another")
  assign("bridge variable", 3, globalenv())
  rm("another", envir = globalenv())
  expect_identical(entry("session_new_globals", with_variable), character())
  stats::runif(1L)
  expect_identical(entry("session_new_globals", with_variable), character())
})

test_that("the boundary stands gctorture", {
  snapshot <- NULL
  gctorture(TRUE)
  result <- tryCatch(
    {
      x <- entry("test_unserialize", entry("test_serialize", list(a = 1:3, b = "x", f = quote(f(x))))[[1L]])
      failure <- entry("task_id", 1)
      caught <- tryCatch(boundary("call", function() stop("x")), error = conditionMessage)
      snapshot <- entry("session_snapshot", .Options, search(), stdout(), 2L, NULL, NULL, 1:3)
      changed <- entry("session_changed", snapshot, .Options, search(), stdout(), 2L, NULL, NULL, 1:3)
      list(x, failure$kind, caught, bitwAnd(changed, 4L), boundary("alive"))
    },
    finally = gctorture(FALSE)
  )
  expect_identical(result, list(list(a = 1:3, b = "x", f = quote(f(x))), "error", "x", 0L, 0L))
})

test_that("a mirai is made, and takes its value, under gctorture", {
  local_pool(1)
  gctorture(TRUE)
  result <- tryCatch(
    {
      m <- mirai(list(1:3, "x"))
      value <- m[]
      list(class(m), is.integer(attr(m, "id")), value, m$data, attr(m, "task"))
    },
    finally = gctorture(FALSE)
  )
  expect_identical(result, list(c("mirai", "recvAio"), TRUE, list(1:3, "x"), list(1:3, "x"), NULL))
})

test_that("maps are made, and collected, under gctorture", {
  local_pool(1, seed = 1)
  list <- list(1:3, "x", c(a = 1))
  frame <- data.frame(a = 1:2, b = c("x", "y"))
  matrix <- matrix(1:4, 2, dimnames = list(NULL, c("p", "q")))
  gctorture(TRUE)
  result <- tryCatch(
    {
      maps <- list(mirai_map(c(a = 1, b = 2), identity), mirai_map(list, identity), mirai_map(c("x", NA), identity))
      rows <- list(mirai_map(frame, function(a, b) list(a, b)), mirai_map(matrix, function(p, q) c(p, q)))
      first <- maps[[1L]][[2L]]$data
      c(list(first), lapply(maps, collect_mirai), lapply(rows, collect_mirai))
    },
    finally = gctorture(FALSE)
  )
  expect_identical(result, list(
    2, list(a = 1, b = 2), list, list("x", NA_character_), list(list(1L, "x"), list(2L, "y")), list(c(1L, 3L), c(2L, 4L))
  ))
})

test_that("what is no task, or not made as one is, makes no mirai", {
  local_pool(1)
  m <- mirai(1)
  task <- attr(m, "task")
  form <- mirai:::mirai_form
  for (i in seq_along(form)) expect_match(entry("mirai_new", task, replace(form, i, list(1)))$message, "`form` must be")
  expect_match(entry("mirai_new", m, form)$message, "task")
  expect_match(entry("task_fetch", list())$message, "must be a task pointer")
  expect_match(entry("mirai_settle", list(), 1)$message, "must be an environment")
  expect_identical(m[], 1)
})

test_that("mirai that are open are found, of a map and single ones, and those that nobody holds are not", {
  local_pool(url = local_url())
  hub <- mirai:::profiles$default$hub
  found <- function() Filter(Negate(is.null), unlist(entry("hub_open_mirai", hub), recursive = FALSE))
  single <- mirai(1)
  map <- mirai_map(1:4, identity)
  other <- mirai_map(c(a = 1), identity)
  stop_mirai(map[2:3])
  map[[2]]$data
  ids <- function(x) sort(vapply(x, attr, 0L, "id"))
  expect_identical(ids(found()), ids(list(single, map[[1]], map[[4]], other[[1]])))
  expect_identical(Filter(function(m) identical(m, map[[4]]), found()), list(map[[4]]))
  rm(other)
  gc()
  expect_identical(ids(found()), ids(list(single, map[[1]], map[[4]])))
})

test_that("an interrupted map leaves no task behind", {
  skip_on_os("windows")
  local_pool(url = local_url())
  pool <- mirai:::profiles$default
  shared <- mirai:::share(pool, list(), NULL)
  submit <- getNamespace("mirai")$wrap__hub_submit_map
  # The signal is there before the native call, which is the next to look for it.
  form <- function() {
    tools::pskill(Sys.getpid(), tools::SIGINT)
    mirai:::mirai_form
  }
  outcome <- tryCatch(
    .Call(submit, pool$hub, seq_len(10000), NULL, NULL, shared, NULL, 2L, NULL, NULL, NULL, form()),
    interrupt = function(e) "interrupted"
  )
  expect_identical(outcome, "interrupted")
  expect_identical(info()[c("awaiting", "executing")], c(awaiting = 0L, executing = 0L))
})

test_that("a map of columns that don't fit is refused, and nothing is submitted", {
  local_pool(1)
  pool <- mirai:::profiles$default
  shared <- mirai:::share(pool, list(), NULL)
  map <- function(x, rows, names, form = mirai:::mirai_form)
    entry("hub_submit_map", pool$hub, x, rows, names, shared, NULL, 2L, NULL, NULL, NULL, form)$message
  expect_match(map(list(1:2, 1), 2L, NULL), "too short")
  expect_match(map(list(1:2), 2L, c("a", "b")), "`names` must be")
  expect_match(map(list(1:2, quote(a)), 2L, NULL), "`x` must be")
  expect_match(map(1:2, NULL, NULL, list()), "`form` must be")
  expect_identical(sum(info()[3:5]), 0L)
})

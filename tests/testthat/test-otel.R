# Tracing (contract 07), by package otel. There is an exporter of the tests' own: it writes each span that has ended to a
# file. Hosts are processes of their own, as whether to trace is decided when mirai is loaded.

skip_within_check()

needs_otel <- function() {
  found <- tryCatch(utils::packageVersion("otel"), error = function(e) NULL)
  if (is.null(found)) skip("no package otel")
  if (found < "0.2.0") skip(sprintf("package otel %s is older than 0.2.0", found))
}

# What otel asks of an exporter. Its ids are counted, as random ones would interfere with the seeds of tasks.
recorder_code <- quote({
  state <- new.env()
  state$active <- list()
  state$count <- 0L

  hex <- function(width) {
    state$count <- state$count + 1L
    digits <- sprintf("%x%06x", Sys.getpid(), state$count)
    paste0(strrep("0", width - nchar(digits)), digits)
  }

  new_context <- function(trace, span, remote) structure(
    list(
      is_valid = function() TRUE, get_trace_flags = function() list(is_sampled = TRUE, is_random = FALSE),
      get_trace_id = function() trace, get_span_id = function() span, is_remote = function() remote,
      is_sampled = function() TRUE,
      to_http_headers = function() c(traceparent = sprintf("00-%s-%s-01", trace, span))
    ),
    class = "otel_span_context"
  )

  context_of <- function(x) if (inherits(x, "otel_span_context")) x else x$get_context()

  new_span <- function(tracer, name, attributes, links, options) {
    parent <- if (!is.null(options$parent)) options$parent else
      if (length(state$active)) state$active[[length(state$active)]]
    if (!is.null(parent)) parent <- context_of(parent)
    trace <- if (is.null(parent)) hex(32L) else parent$get_trace_id()
    id <- hex(16L)
    record <- list(
      tracer = tracer, name = name, kind = options$kind, id = id, trace = trace,
      parent = if (is.null(parent)) "" else parent$get_span_id(),
      links = vapply(unname(links), function(link) link$get_context()$get_span_id(), ""),
      attributes = attributes, status = "unset", description = NULL, pid = Sys.getpid(),
      begun = as.numeric(if (is.null(options$start_system_time)) Sys.time() else options$start_system_time)
    )
    self <- structure(
      list(
        name = name, get_context = function() new_context(trace, id, FALSE), is_valid = function() TRUE,
        is_recording = function() is.null(record$ended),
        set_attribute = function(name, value) record$attributes[[name]] <<- value,
        set_status = function(status_code, description = NULL) {
          record$status <<- status_code
          record["description"] <<- list(description)
        },
        end = function(options = NULL, status_code = NULL) {
          if (!is.null(record$ended)) return(invisible())
          record$ended <<- as.numeric(if (is.null(options$end_system_time)) Sys.time() else options$end_system_time)
          if (!is.null(status_code)) record$status <<- status_code
          file <- file.path(Sys.getenv("SPAN_FOLDER"), id)
          saveRDS(record, paste0(file, ".new"))
          file.rename(paste0(file, ".new"), paste0(file, ".rds"))
        },
        activate = function(activation_scope, end_on_exit = FALSE) {
          state$active <- c(state$active, list(self))
          leave <- function() {
            state$active <- state$active[-length(state$active)]
            if (end_on_exit) self$end()
          }
          do.call(base::on.exit, list(as.call(list(leave)), TRUE, FALSE), envir = activation_scope)
        }
      ),
      class = "otel_span"
    )
    self
  }

  new_tracer <- function(tracer) structure(
    list(
      start_span = function(name = NULL, attributes = NULL, links = NULL, options = NULL, ...)
        new_span(tracer, name, attributes, links, options),
      is_enabled = function() TRUE,
      get_active_span = function() state$active[[length(state$active)]],
      get_active_span_context = function() context_of(state$active[[length(state$active)]]),
      extract_http_context = function(headers) {
        parts <- strsplit(headers[["traceparent"]], "-")[[1L]]
        new_context(parts[2L], parts[3L], TRUE)
      },
      flush = function() NULL
    ),
    class = "otel_tracer"
  )

  provider <- list(new = function() structure(
    list(
      get_tracer = function(name = NULL, ...) new_tracer(name),
      flush = function() file.create(file.path(Sys.getenv("SPAN_FOLDER"), paste0("flushed-", Sys.getpid())))
    ),
    class = "otel_tracer_provider"
  ))
})

# A library with the exporter as package "spanrecorder"; made once.
recorder <- new.env()

recorder_library <- function() {
  if (!is.null(recorder$library)) return(recorder$library)
  library <- tempfile("library")
  source <- file.path(tempfile("source"), "spanrecorder")
  dir.create(library)
  dir.create(file.path(source, "R"), recursive = TRUE)
  writeLines(c(
    "Package: spanrecorder", "Version: 0.0.1", "Title: Writes Spans to Files", "License: MIT",
    "Description: Has what the tests of mirai need.", "Author: mirai authors", "Maintainer: mirai authors <none@invalid>"
  ), file.path(source, "DESCRIPTION"))
  writeLines("export(provider)", file.path(source, "NAMESPACE"))
  writeLines(vapply(as.list(recorder_code)[-1L], function(x) paste(deparse(x), collapse = "\n"), ""),
             file.path(source, "R", "provider.R"))
  log <- tempfile("log")
  status <- system2(file.path(R.home("bin"), "R"),
                    c("CMD", "INSTALL", "--no-docs", paste0("--library=", shQuote(library)), shQuote(source)),
                    stdout = log, stderr = log)
  if (status != 0L) stop("spanrecorder does not install:\n", paste(readLines(log), collapse = "\n"))
  recorder$library <- library
}

# Runs an expression in a host that traces: its value, and a function for the spans of host and daemons so far. `last`: code that
# the host runs at its end.
traced <- function(code, env = character(), last = character(), frame = parent.frame()) {
  needs_otel()
  folder <- tempfile("spans")
  dir.create(folder)
  result <- tempfile("result")
  script <- c(
    "library(mirai)",
    paste(c("result <- ", deparse(substitute(code))), collapse = "\n"),
    sprintf("saveRDS(list(value = result, pid = Sys.getpid()), '%s')", result),
    last
  )
  libs <- paste0("R_LIBS=", paste(c(recorder_library(), .libPaths()), collapse = .Platform$path.sep))
  env <- c(env, "OTEL_R_TRACES_EXPORTER=spanrecorder::provider", paste0("SPAN_FOLDER=", folder))
  log <- spawn(script, env = env, libs = libs, frame = frame)$wait()
  if (!file.exists(result)) stop("the host failed:\n", paste(log, collapse = "\n"))
  c(readRDS(result), list(
    log = log,
    flushed = function() sub("flushed-", "", list.files(folder, "^flushed-")),
    spans = function() {
      spans <- lapply(list.files(folder, "[.]rds$", full.names = TRUE), readRDS)
      spans[order(vapply(spans, function(span) span$begun, 0), vapply(spans, function(span) span$id, ""))]
    }
  ))
}

named <- function(spans, name) Filter(function(span) startsWith(span$name, name), spans)

the_one <- function(spans, name) {
  found <- named(spans, name)
  expect_length(found, 1L)
  found[[1L]]
}

ids <- function(spans) vapply(spans, function(span) span$id, "")

# All spans, once so many daemons have ended, which they do after the reset.
ended <- function(host, daemons) {
  await(length(named(host$spans(), "daemon disconnect")) == daemons)
  host$spans()
}

test_that("nothing is loaded without an exporter", {
  for (env in list(character(), "OTEL_TRACES_EXPORTER=none", "OTEL_R_TRACES_EXPORTER=")) {
    log <- run_r(c(
      "library(mirai)",
      "invisible(daemons(1))",
      "there <- 'otel' %in% mirai('otel' %in% loadedNamespaces())[]",
      "cat('here', 'otel' %in% loadedNamespaces(), 'there', mirai('otel' %in% loadedNamespaces())[])"
    ), env = env)
    expect_identical(log, "here FALSE there FALSE")
  }
})

test_that("otel that is loaded but told nothing means no tracing", {
  needs_otel()
  log <- run_r(c(
    "loadNamespace('otel') |> invisible()",
    "library(mirai)",
    "invisible(daemons(1))",
    "cat(mirai(1 + 1)[], is.null(mirai:::session$tracer))"
  ))
  expect_identical(log, "2 TRUE")
})

test_that("an exporter that is not there does no harm", {
  needs_otel()
  log <- run_r(c(
    "library(mirai)",
    "invisible(daemons(1))",
    "cat(mirai(1 + 1)[])"
  ), env = "OTEL_R_TRACES_EXPORTER=nosuchpackage::provider")
  expect_identical(log[length(log)], "2")
})

test_that("a task has the spans of the contract, with their kinds, parents, links and attributes", {
  host <- traced({
    daemons(1, .compute = "pool")
    url <- status("pool")$daemons
    m <- mirai({
      span <- otel::start_local_active_span("mine", tracer = "user")
      Sys.getpid()
    }, .compute = "pool")
    pid <- m[]
    daemons(0, .compute = "pool")
    list(url = url, pid = pid, id = attr(m, "id"))
  })
  spans <- ended(host, 1L)
  url <- host$value$url
  mine <- the_one(spans, "mine")
  ours <- setdiff(ids(spans), mine$id)
  expect_setequal(
    vapply(spans, function(span) span$name, ""),
    c(paste(c("daemons set", "daemons reset", "daemon connect", "daemon disconnect"), url), "mirai", "daemon eval", "mine")
  )
  for (span in spans[ids(spans) %in% ours]) expect_identical(span$tracer, "org.r-lib.mirai")

  address <- list(server.address = sub("abstract://", "", url), server.port = integer(), network.transport = "abstract")
  set <- the_one(spans, "daemons set")
  reset <- the_one(spans, "daemons reset")
  connect <- the_one(spans, "daemon connect")
  disconnect <- the_one(spans, "daemon disconnect")
  task <- the_one(spans, "mirai")
  eval <- the_one(spans, "daemon eval")
  for (span in list(set, reset)) {
    expect_identical(span$kind, "internal")
    expect_identical(span$attributes, c(address, list(mirai.dispatcher = TRUE, mirai.compute = "pool")))
    expect_identical(span$pid, host$pid)
  }
  for (span in list(connect, disconnect)) {
    expect_identical(span$kind, "internal")
    expect_identical(span$attributes, address)
    expect_identical(span$pid, host$value$pid)
  }
  expect_identical(task$kind, "client")
  expect_identical(task$attributes, list(mirai.id = host$value$id))
  expect_identical(task$pid, host$pid)
  expect_identical(eval$kind, "server")
  expect_null(eval$attributes)
  expect_identical(eval$pid, host$value$pid)

  expect_identical(eval$parent, task$id)
  expect_identical(eval$trace, task$trace)
  expect_identical(mine$parent, eval$id)
  expect_identical(task$links, set$id)
  expect_identical(reset$links, set$id)
  expect_identical(eval$links, connect$id)
  expect_identical(disconnect$links, connect$id)
  expect_identical(c(set$parent, reset$parent, connect$parent, disconnect$parent, task$parent), rep("", 5L))
  for (span in spans) expect_identical(span$status, "unset")
  # Before the daemon's process ends, what the exporter has kept back is sent.
  await(host$value$pid %in% host$flushed())
})

test_that("a daemon that is cut off and returns tells of it, and stays the one that has connected", {
  needs_otel()
  port <- free_port()
  relay <- start_relay(port)
  host <- traced({
    options(mirai.grace = 600)
    daemons(url = paste0("ws://127.0.0.1:", Sys.getenv("PORT")))
    url <- paste0("ws://127.0.0.1:", Sys.getenv("RELAY"))
    call <- shQuote(sprintf("mirai::daemon('%s', asyncdial = TRUE)", url))
    system2(file.path(R.home("bin"), "Rscript"), c("-e", call), stdout = FALSE, stderr = FALSE, wait = FALSE)
    pid <- mirai(Sys.getpid())[]
    gate <- tempfile()
    m <- mirai({while (!file.exists(gate)) Sys.sleep(0.01); Sys.getpid()}, gate = gate)
    while (status()$workers$state != "busy") Sys.sleep(0.01)
    file.create(Sys.getenv("CUT"))
    while (status()$workers$returns == 0L) Sys.sleep(0.01)
    file.create(gate)
    stopifnot(m[] == pid)
    daemons(0)
    list(url = url, pid = pid)
  }, env = c(paste0("PORT=", port), paste0("RELAY=", relay$port), paste0("CUT=", relay$cut)))
  spans <- ended(host, 1L)
  url <- host$value$url
  connect <- the_one(spans, paste("daemon connect", url))
  away <- named(spans, paste("daemon away", url))
  # On a busy machine it may be away more than once.
  expect_gte(length(away), 1L)
  evals <- named(spans, "daemon eval")
  for (span in away) {
    expect_identical(span$kind, "internal")
    expect_identical(span$links, connect$id)
    expect_identical(span$parent, "")
    expect_identical(span$status, "unset")
    expect_identical(span$pid, host$value$pid)
    expect_identical(span$attributes, connect$attributes)
    expect_gte(span$begun, connect$begun)
    expect_gte(span$ended, span$begun)
  }
  expect_identical(connect$attributes, list(
    server.address = "127.0.0.1", server.port = as.integer(sub(".*:", "", url)), network.transport = "ws"
  ))
  expect_length(evals, 2L)
  for (eval in evals) expect_identical(eval$links, connect$id)
  expect_identical(the_one(spans, "daemon disconnect")$links, connect$id)
})

test_that("a daemon whose host is gone for good tells of that, too", {
  host <- traced({
    daemons(url = "tcp://127.0.0.1:0", token = TRUE)
    launch_local(1)
    mirai(Sys.getpid())[]
  }, last = "tools::pskill(Sys.getpid(), tools::SIGKILL)")
  spans <- ended(host, 1L)
  connect <- the_one(spans, "daemon connect")
  away <- the_one(spans, "daemon away")
  expect_identical(away$links, connect$id)
  expect_identical(away$status, "error")
  expect_identical(away$description, "did not return")
  expect_identical(the_one(spans, "daemon disconnect")$links, connect$id)
  await(host$value %in% host$flushed())
})

test_that("a task that ends in time as its host goes leaves a trace, and so does its daemon", {
  skip_unless_linux()
  host <- traced({
    daemons(url = "tcp://127.0.0.1:0", token = TRUE)
    launch_local(1)
    started <- tempfile()
    # Until this process is no more.
    mirai({
      file.create(started)
      while (length(list.files(folder))) Sys.sleep(0.001)
    }, started = started, folder = sprintf("/proc/%d/fd", Sys.getpid()))
    while (!file.exists(started)) Sys.sleep(0.01)
  }, last = "tools::pskill(Sys.getpid(), tools::SIGKILL)")
  spans <- ended(host, 1L)
  connect <- the_one(spans, "daemon connect")
  eval <- the_one(spans, "daemon eval")
  expect_identical(eval$status, "unset")
  expect_identical(eval$links, connect$id)
  expect_identical(the_one(spans, "daemon disconnect")$links, connect$id)
  await(eval$pid %in% as.integer(host$flushed()))
})

test_that("a daemon that serves one host after the other has a connection to each", {
  host <- traced({
    # A port that was free a moment ago.
    daemons(url = "tcp://127.0.0.1:0")
    url <- status()$daemons
    launch_local(1, autoexit = FALSE)
    first <- mirai(Sys.getpid())[]
    daemons(0)
    daemons(url = url)
    again <- mirai(Sys.getpid())[]
    stopifnot(again == first)
    while (status()$connections < 1L) Sys.sleep(0.01)
    tools::pskill(first, tools::SIGTERM)
    url
  })
  spans <- host$spans()
  connects <- named(spans, "daemon connect")
  expect_length(connects, 2L)
  expect_identical(vapply(named(spans, "daemon eval"), function(span) span$links, ""), ids(connects))
  # It has left the first before it came to the second.
  left <- named(spans, "daemon disconnect")[[1L]]
  expect_identical(left$links, connects[[1L]]$id)
  expect_lte(left$ended, connects[[2L]]$begun)
})

test_that("daemon eval tells of errors and interrupts", {
  host <- traced({
    daemons(1)
    m <- list(
      mirai(NULL),
      mirai(stop("boo")),
      mirai(try(stop("caught"), silent = TRUE)),
      mirai({
        tools::pskill(Sys.getpid(), tools::SIGINT)
        repeat Sys.sleep(0.01)
      }),
      mirai("fine")
    )
    values <- collect_mirai(m)
    daemons(0)
    vapply(values, is_error_value, NA)
  })
  spans <- ended(host, 1L)
  expect_identical(host$value, c(FALSE, TRUE, FALSE, TRUE, FALSE))
  evals <- named(spans, "daemon eval")
  expect_identical(vapply(evals, function(span) span$status, ""), c("unset", "error", "unset", "error", "unset"))
  expect_identical(lapply(evals, function(span) span$description), list(NULL, "miraiError", NULL, "miraiInterrupt", NULL))
  expect_identical(vapply(evals, function(span) span$parent, ""), ids(named(spans, "mirai")))
})

test_that("spans of the host last as long as the submission, that of the evaluation as long as the evaluation", {
  host <- traced({
    daemons(1)
    gate <- tempfile()
    slow <- function(x, gate) while (!file.exists(gate)) Sys.sleep(0.005)
    m <- mirai(slow(1, gate), slow = slow, gate = gate)
    x <- mirai_map(1, slow, .args = list(gate = gate))
    submitted <- as.numeric(Sys.time())
    file.create(gate)
    call_mirai(list(m, x[[1]]))
    daemons(0)
    submitted
  })
  spans <- ended(host, 1L)
  times <- function(name) vapply(named(spans, name), function(span) c(span$begun, span$ended), c(0, 0))
  submission <- times("mirai")
  # mirai(), mirai_map() and the task in it.
  expect_identical(ncol(submission), 3L)
  expect_true(all(submission[2L, ] <= host$value))
  expect_true(all(times("daemon eval")[2L, ] > host$value))
  expect_lte(times("mirai_map")[1L], submission[1L, 3L])
  expect_gte(times("mirai_map")[2L], submission[2L, 3L])
})

test_that("deaths, further attempts and replacements have spans", {
  host <- traced({
    daemons(1, retries = 1)
    end_at_first <- function() if (mirai::task_attempt() == 1L) tools::pskill(Sys.getpid(), tools::SIGKILL) else "done"
    suppressWarnings({
      m <- mirai(end_at_first(), end_at_first = end_at_first)
      stopifnot(m[] == "done")
      lost <- mirai(quit("no", status = 3), .retries = 0)
      stopifnot(is_error_value(lost[]))
      while (info()[["connections"]] < 1L || info()[["cumulative"]] < 3L) Sys.sleep(0.01)
      deaths <- status()$deaths
    })
    daemons(0)
    list(ids = c(attr(m, "id"), attr(lost, "id")), deaths = deaths)
  })
  # One of those that died, and the others were killed before they could say goodbye.
  spans <- ended(host, 1L)
  set <- the_one(spans, "daemons set")
  died <- named(spans, "daemon died")
  expect_length(died, 2L)
  expect_identical(lapply(died, function(span) span$attributes$mirai.id), as.list(host$value$ids))
  expect_identical(lapply(died, function(span) span$attributes$process.pid), as.list(host$value$deaths$pid))
  expect_identical(lapply(died, function(span) span$attributes$mirai.attempt), list(1L, 1L))
  for (span in died) {
    expect_identical(span$kind, "internal")
    expect_identical(span$links, set$id)
    expect_identical(span$status, "error")
    expect_identical(span$attributes$network.transport, "abstract")
  }
  expect_match(died[[1L]]$description, "SIGKILL", fixed = TRUE)
  expect_match(died[[2L]]$description, "exit code 3", fixed = TRUE)
  retried <- the_one(spans, "mirai retried")
  expect_identical(retried$attributes, list(mirai.id = host$value$ids[1L], mirai.attempt = 2L))
  expect_identical(retried$links, died[[1L]]$id)
  evals <- named(spans, "daemon eval")
  expect_identical(Filter(Negate(is.null), lapply(evals, function(span) span$attributes)), list(list(mirai.attempt = 2L)))
  replaced <- named(spans, "daemon replaced")
  expect_identical(lapply(replaced, function(span) span$attributes$mirai.daemon), list(2L, 3L))
  expect_length(named(spans, "mirai failed"), 1L)
})

test_that("a daemon that is killed as it does not stop is no failure", {
  host <- traced({
    daemons(1, kill_after = 50)
    m <- mirai({
      work <- function(...) stats::filter(numeric(4e6), numeric(2e6))
      tryCatch(work(), interrupt = work)
    }, .runtime = 200)
    m[]
    while (nrow(status()$deaths) == 0L || info()[["connections"]] == 0L) Sys.sleep(0.01)
    daemons(0)
    list(id = attr(m, "id"))
  })
  spans <- ended(host, 1L)
  killed <- the_one(spans, "daemon killed")
  expect_identical(killed$status, "unset")
  expect_identical(killed$links, the_one(spans, "daemons set")$id)
  expect_identical(killed$attributes$mirai.id, host$value$id)
  expect_match(killed$attributes$mirai.reason, "^was killed, as it did not stop its task")
  expect_identical(the_one(spans, "daemon replaced")$attributes$mirai.daemon, 2L)
  expect_match(the_one(spans, "mirai failed")$attributes$mirai.reason, ".runtime", fixed = TRUE)
  expect_length(named(spans, "daemon died"), 0L)
})

test_that("a task is a child of the span that is active in the host", {
  host <- traced({
    daemons(1)
    span <- function() {
      otel::start_local_active_span("outer", tracer = "user")
      mirai(1)[]
    }
    span()
    try_mirai(2)[]
    daemons(0)
  })
  spans <- ended(host, 1L)
  tasks <- named(spans, "mirai")
  expect_identical(vapply(tasks, function(span) span$parent, ""), c(the_one(spans, "outer")$id, ""))
})

test_that("tasks of a map are children of its span, whatever the elements", {
  host <- traced({
    daemons(2)
    x <- list(1, NULL, quote(a), globalenv(), list(1, 2), "b")
    values <- mirai_map(x, function(x) typeof(x))[.flat]
    rows <- mirai_map(data.frame(a = 1:2, b = 3:4), function(a, b) a + b)[.flat]
    daemons(0)
    list(values, rows)
  })
  spans <- ended(host, 2L)
  expect_identical(host$value, list(c("double", "NULL", "symbol", "environment", "list", "character"), c(4L, 6L)))
  maps <- named(spans, "mirai_map")
  tasks <- setdiff(ids(named(spans, "mirai")), ids(maps))
  tasks <- spans[ids(spans) %in% tasks]
  evals <- named(spans, "daemon eval")
  set <- the_one(spans, "daemons set")
  expect_length(tasks, 8L)
  for (map in maps) {
    expect_identical(map$kind, "internal")
    expect_length(map$attributes, 0L)
    expect_identical(map$links, set$id)
  }
  expect_identical(vapply(tasks, function(span) span$parent, ""), rep(ids(maps), c(6L, 2L)))
  for (task in tasks) expect_identical(task$links, set$id)
  expect_setequal(vapply(evals, function(span) span$parent, ""), ids(tasks))
  connects <- named(spans, "daemon connect")
  expect_length(connects, 2L)
  for (eval in evals) expect_identical(
    eval$links, ids(Filter(function(span) span$pid == eval$pid, connects))
  )
})

test_that("everywhere() is traced, with and without dispatcher", {
  host <- traced({
    ids <- lapply(c(TRUE, FALSE), function(dispatcher) {
      daemons(2, dispatcher = dispatcher)
      m <- everywhere(loaded <- TRUE)
      m[]
      daemons(0)
      vapply(m, attr, 0L, "id")
    })
  })
  spans <- ended(host, 4L)
  tasks <- named(spans, "mirai")
  expect_identical(lapply(tasks, function(span) span$attributes$mirai.id), host$value)
  expect_identical(vapply(named(spans, "daemon eval"), function(span) span$parent, ""), rep(ids(tasks), each = 2L))
  expect_identical(
    vapply(named(spans, "daemons set"), function(span) span$attributes$mirai.dispatcher, NA), c(TRUE, FALSE)
  )
})

test_that("synchronous evaluations connect and disconnect each", {
  host <- traced({
    daemons(sync = TRUE)
    first <- mirai(1)
    second <- mirai(stop("boo"))
    late <- mirai(1, .timeout = 0)
    mapped <- mirai_map(1:2, identity)[.flat]
    everywhere(NULL)[]
    daemons(0)
    list(first[], is_error_value(second[]), mapped, attr(first, "id"))
  })
  spans <- host$spans()
  expect_identical(host$value[1:3], list(1, TRUE, 1:2))
  connects <- named(spans, "daemon connect inproc://")
  expect_length(connects, 5L)
  evals <- named(spans, "daemon eval")
  expect_identical(vapply(evals, function(span) span$links, ""), ids(connects))
  expect_identical(vapply(named(spans, "daemon disconnect"), function(span) span$links, ""), ids(connects))
  expect_identical(vapply(evals, function(span) span$status, "")[1:3], c("unset", "error", "unset"))
  tasks <- Filter(function(span) span$name == "mirai", spans)
  expect_length(tasks, 6L)
  expect_identical(vapply(evals, function(span) span$parent, ""), ids(tasks)[-3L])
  expect_identical(tasks[[1L]]$attributes$mirai.id, host$value[[4L]])
  expect_identical(the_one(spans, "mirai failed")$parent, tasks[[3L]]$id)
  expect_identical(the_one(spans, "daemons set")$attributes$network.transport, "inproc")
  expect_identical(the_one(spans, "daemons reset")$links, the_one(spans, "daemons set")$id)
})

test_that("a task without daemons is traced", {
  host <- traced({
    m <- mirai(Sys.getpid())
    list(m[], attr(m, "id"))
  })
  spans <- ended(host, 1L)
  task <- the_one(spans, "mirai")
  eval <- the_one(spans, "daemon eval")
  expect_length(task$links, 0L)
  expect_identical(task$attributes$mirai.id, host$value[[2L]])
  expect_identical(eval$parent, task$id)
  expect_identical(eval$pid, host$value[[1L]])
  expect_length(named(spans, "daemons"), 0L)
})

test_that("what times out or is lost is marked at the host", {
  host <- traced({
    daemons(1)
    gate <- tempfile()
    slow <- mirai(while (!file.exists(gate)) Sys.sleep(0.01), gate = gate, .timeout = 100)
    codes <- as.integer(unclass(slow[]))
    lost <- mirai(tools::pskill(Sys.getpid(), tools::SIGKILL))
    codes <- c(codes, as.integer(unclass(lost[])))
    for (i in 1:3) c(slow$data, lost$data)
    daemons(0)
    list(codes, c(attr(slow, "id"), attr(lost, "id")))
  })
  spans <- host$spans()
  expect_identical(host$value[[1L]], c(5L, 19L))
  failures <- named(spans, "mirai failed")
  tasks <- Filter(function(span) span$name == "mirai", spans)
  expect_length(failures, 2L)
  expect_identical(vapply(failures, function(span) span$parent, ""), ids(tasks))
  expect_identical(vapply(failures, function(span) span$status, ""), c("error", "error"))
  expect_identical(vapply(failures, function(span) span$description, ""), c("5 | Timed out", "19 | Connection reset"))
  expect_identical(vapply(failures, function(span) span$attributes$mirai.id, 0L), host$value[[2L]])
})

test_that("an evaluation whose value cannot be serialized is marked", {
  host <- traced({
    deep <- function() {
      x <- NULL
      for (i in 1:1e6) x <- list(x)
      x
    }
    handle <- structure(new.env(), class = "handle")
    values <- function() list(is_mirai_error(mirai(f(), f = deep)[]), mirai(1)[])
    here <- with(daemons(sync = TRUE), values())
    there <- with(daemons(1), values())
    daemons(1, serial = serial_config("handle", function(x) stop("no"), identity))
    hooked <- list(is_mirai_error(mirai(structure(new.env(), class = "handle"))[]), mirai(1)[])
    daemons(0)
    list(here, there, hooked)
  })
  expect_identical(host$value, rep(list(list(TRUE, 1)), 3L))
  # Of the synchronous profile each evaluation has a connection.
  evals <- named(ended(host, 4L), "daemon eval")
  expect_identical(vapply(evals, function(span) span$status, ""), rep(c("error", "unset"), 3L))
  for (i in c(1L, 3L, 5L)) expect_identical(evals[[i]]$description, "miraiError")
})

test_that("pools with hooks for serialization carry the context too", {
  host <- traced({
    config <- serial_config("handle", function(x) serialize(x$value, NULL), function(bytes) unserialize(bytes))
    daemons(1, serial = config)
    handle <- structure(list2env(list(value = 7)), class = "handle")
    values <- list(mirai(x + 1, x = handle)[], mirai(2)[], mirai_map(list(handle), function(x) x)[.flat])
    daemons(0)
    values
  })
  spans <- ended(host, 1L)
  expect_identical(host$value, list(8, 2, 7))
  tasks <- Filter(function(span) span$name == "mirai", spans)
  evals <- named(spans, "daemon eval")
  expect_length(evals, 3L)
  expect_identical(vapply(evals, function(span) span$parent, ""), ids(tasks))
})

test_that("the work of a cluster's nodes is traced", {
  host <- traced({
    cl <- make_cluster(2)
    values <- parallel::parLapply(cl, 1:4, function(x) x * 2)
    stop_cluster(cl)
    values
  })
  spans <- ended(host, 2L)
  expect_identical(host$value, list(2, 4, 6, 8))
  expect_length(named(spans, "mirai"), 2L)
  expect_setequal(vapply(named(spans, "daemon eval"), function(span) span$parent, ""), ids(named(spans, "mirai")))
  expect_setequal(vapply(named(spans, "mirai"), function(span) span$links, ""), the_one(spans, "daemons set")$id)
})

test_that("a daemon that does not trace evaluates what a host that does sends it", {
  host <- traced({
    url <- local_url()
    daemons(url = url)
    Sys.unsetenv("OTEL_R_TRACES_EXPORTER")
    launch_local(1)
    values <- list(mirai("otel" %in% loadedNamespaces())[], mirai_map(1:2, identity)[.flat], everywhere("e")[])
    daemons(0)
    values
  })
  expect_identical(host$value, list(FALSE, 1:2, list("e")))
  spans <- host$spans()
  expect_length(named(spans, "daemon"), 2L)
  expect_length(Filter(function(span) span$name == "mirai", spans), 4L)
})

test_that("a submission that fails is marked", {
  host <- traced({
    daemons(1, serial = serial_config("handle", function(x) stop("no way"), identity))
    handle <- structure(new.env(), class = "handle")
    message <- tryCatch(mirai(x, x = handle), error = conditionMessage)
    daemons(0)
    message
  })
  expect_match(host$value, "no way")
  task <- the_one(host$spans(), "mirai")
  expect_identical(task$status, "error")
  expect_identical(task$description, "not submitted")
  expect_null(task$attributes)
})

test_that("attributes come from the address", {
  attributes_of <- getFromNamespace("url_attributes", "mirai")
  of <- function(address, port, transport)
    list(server.address = address, server.port = port, network.transport = transport)
  expect_identical(attributes_of("tcp://127.0.0.1:5555"), of("127.0.0.1", 5555L, "tcp"))
  expect_identical(attributes_of("tls+tcp://[::1]:5555"), of("::1", 5555L, "tls+tcp"))
  expect_identical(attributes_of("ws://host.org:80/path:1"), of("host.org", 80L, "ws"))
  expect_identical(attributes_of("wss://host.org/path:1"), of("host.org", integer(), "wss"))
  expect_identical(attributes_of("tcp://:5555"), of("", 5555L, "tcp"))
  expect_identical(attributes_of("ipc:///tmp/a:1"), of("/tmp/a:1", integer(), "ipc"))
  expect_identical(attributes_of("abstract://a:1"), of("a:1", integer(), "abstract"))
})

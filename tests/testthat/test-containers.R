# start_workers(), stop_workers(), list_workers(): what they ask the API of a machine with containers, and what they say of its replies.
# The replies are those that the tests of the crate mirai-containers assert; tools/containers.sh has the API and containers themselves.

# An API that says what it is told to, by the environment of the session.
local_api <- function(frame = parent.frame()) {
  server <- http_server(frame)
  host <- strsplit(sub("http://", "", server$url), ":")[[1L]]
  local_variables(paste0("MIRAI_API_HOST=", host[1L]), paste0("MIRAI_API_PORT=", host[2L]), "MIRAI_API_TOKEN=", "MIRAI_PORT=", frame = frame)
  server$reply <- function(status, ...) writeLines(c(as.character(status), ...), file.path(server$folder, "reply"))
  server$last <- function() {
    requests <- server$requests()
    requests[[length(requests)]]
  }
  server
}

worker_names <- function(n) sprintf("mirai-worker-192-0-2-4-5555-%d", n)

started <- '{"started":["mirai-worker-192-0-2-4-5555-1","mirai-worker-192-0-2-4-5555-2"],"failed":[],"errors":{},"dispatcher":"192.0.2.4","port":5555}'

test_that("workers are started, with what is given and what the environment says", {
  api <- local_api()
  api$reply(200, started)
  expect_message(names <- expect_invisible(start_workers("192.0.2.4", 2)), "^Started 2 worker\\(s\\) -> 192\\.0\\.2\\.4:5555\n$")
  expect_identical(names, worker_names(1:2))
  request <- api$last()
  expect_identical(request[1L], "POST /workers/start HTTP/1.1")
  expect_true("content-type: application/json" %in% tolower(request))
  expect_false(any(grepl("^authorization", request, ignore.case = TRUE)))
  expect_identical(request[length(request)], '{"dispatcher":"192.0.2.4","port":5555,"n":2}')

  local_variables("MIRAI_API_TOKEN=secret", "MIRAI_PORT=5556")
  expect_message(start_workers("192.0.2.4"), "-> 192.0.2.4:5556", fixed = TRUE)
  request <- api$last()
  expect_true("authorization: bearer secret" %in% tolower(request))
  expect_identical(request[length(request)], '{"dispatcher":"192.0.2.4","port":5556}')

  local_variables("MIRAI_API_HOST=nowhere.invalid")
  expect_message(start_workers("192.0.2.4", 0, 80, api = api$url, token = function() "other"), "-> 192.0.2.4:80", fixed = TRUE)
  request <- api$last()
  expect_true("authorization: bearer other" %in% tolower(request))
  expect_identical(request[length(request)], '{"dispatcher":"192.0.2.4","port":80,"n":0}')
})

test_that("a pool of this session tells its workers where and how they come, by a private way only", {
  api <- local_api()
  api$reply(200, started)
  fields <- function(...) {
    suppressMessages(start_workers("192.0.2.4", ...))
    request <- api$last()
    jsonlite::fromJSON(request[length(request)])
  }
  local_variables("MIRAI_TOKEN=")
  local_pool(url = "tls+tcp://127.0.0.1:0")
  port <- as.integer(sub(".*:", "", nextget("url")))
  tls <- list(dispatcher = "192.0.2.4", port = port, scheme = "tls+tcp", credentials = nextget("tls")[1L])
  expect_identical(fields(), tls)
  expect_identical(fields(port = port), tls)
  # That of another session.
  expect_identical(fields(port = 1L), list(dispatcher = "192.0.2.4", port = 1L))
  local_pool(url = "tcp://127.0.0.1:0", token = TRUE, .compute = "other")
  token <- nextget("tls", .compute = "other")[1L]
  other <- as.integer(sub(".*:", "", nextget("url", .compute = "other")))
  expect_identical(fields(.compute = "other"), list(dispatcher = "192.0.2.4", port = other, credentials = token))
  expect_identical(fields(port = other)$credentials, token)
  # As where an address of this machine is that of a router's.
  expect_identical(fields(port = 2L, .compute = "other")$credentials, token)
  api$reply(200, '{"stopped":0,"workers":[],"failed":[],"errors":{}}')
  suppressMessages(stop_workers("192.0.2.4", .compute = "other"))
  expect_identical(api$last()[length(api$last())], sprintf("{\"dispatcher\":\"192.0.2.4\",\"port\":%d}", other))

  public <- sub("127.0.0.1", "localhost.localdomain", api$url, fixed = TRUE)
  count <- length(api$requests())
  e <- tryCatch(start_workers("192.0.2.4", api = public), error = identity)
  expect_match(conditionMessage(e), "is a secret, which is not sent to http://localhost.localdomain:", fixed = TRUE)
  expect_identical(conditionCall(e)[[1L]], quote(start_workers))
  local_variables(paste0("MIRAI_TOKEN=", strrep("0f", 32L)))
  expect_error(start_workers("192.0.2.4", api = public), "is a secret")
  expect_length(api$requests(), count)
  # The token is in the settings of the API as well.
  approach <- function(pool, url) mirai:::workers_approach(mirai:::find_pool(pool), mirai:::workers_api(url, NULL, 1, TRUE, NULL), NULL)
  expect_null(approach("other", public))
  expect_identical(approach("other", "https://box/mirai"), list(credentials = token))
})

test_that("workers are called as the daemons of their pool, and as they are told besides", {
  api <- local_api()
  api$reply(200, started)
  arguments <- function(...) {
    suppressMessages(start_workers("192.0.2.4", ...))
    request <- api$last()
    sub(".*,\"arguments\":(.*)\\}$", "\\1", request[length(request)])
  }
  local_pool(url = "tcp://127.0.0.1:0", dispatcher = FALSE, cleanup = FALSE, autoexit = NA, walltime = 1e5, maxtasks = Inf)
  expect_identical(arguments(), '{"dispatcher":false,"cleanup":false,"autoexit":null,"walltime":100000}')
  expect_identical(arguments(cleanup = TRUE, maxtasks = 3), '{"dispatcher":false,"cleanup":true,"autoexit":null,"walltime":100000,"maxtasks":3}')
  expect_identical(arguments(port = 1, idletime = 5.5), '{"idletime":5.5}')
  expect_warning(arguments(nonsense = 1), "`nonsense`")
  expect_refused(start_workers("a", tlscert = testthat::test_path("servers", "authority.pem")), "`tlscert` is an argument of `daemons()`", "start_workers")
  expect_refused(start_workers("a", maxtasks = -1), "`maxtasks` must be", "start_workers")
})

test_that("certificates that are no secret go by any way, and what workers cannot use is refused", {
  api <- local_api()
  api$reply(200, started)
  authority <- testthat::test_path("servers", "authority.pem")
  pool <- function(url, tlscert) list2env(list(sync = FALSE, url = url, tlscert = tlscert))
  approach <- function(...) mirai:::workers_approach(pool(...), list(url = "http://box:80", is_private = FALSE), NULL)
  text <- paste0(readLines(authority), "\n", collapse = "")
  expect_identical(approach("wss://h:5555", authority), list(scheme = "wss", credentials = text))
  expect_identical(approach("wss://h:5555/", c(text, "")), list(scheme = "wss", credentials = text))
  expect_null(approach("tcp://h:5555", NULL))
  expect_error(approach("ws://h:5555/a", NULL), "addresses without a path, and this pool listens at \"ws://h:5555/a\"", fixed = TRUE)
  expect_error(approach("tls+tcp://h:1", c(text, "list")), "revoked")
  expect_error(approach("tls+tcp://h:1", "/no/such"), "there is no file \"/no/such\"", fixed = TRUE)
  expect_refused(start_workers("a", .compute = "none"), "daemons must be set", "start_workers")
  local_pool(url = local_url())
  expect_refused(start_workers("a", .compute = "default"), "need a pool that listens on a network", "start_workers")
})

test_that("the files for containers fit together", {
  text <- function(name) readLines(system.file("containers", name, package = "mirai"))
  example <- grep("^[A-Z_]+=", text("env.example"), value = TRUE)
  expect_true(all(c("MIRAI_PORT=5555", "MIRAI_WORKERS=4", "MIRAI_API_PORT=8080") %in% example))
  names <- sub("=.*", "", example)
  # Each worker has its own.
  expect_false(any(c("MIRAI_HOST", "MIRAI_API_HOST") %in% names))
  # All of them reach the API, or name its image.
  compose <- text("compose.yaml")
  used <- unlist(regmatches(compose, gregexpr("\\$\\{[A-Z_]+", compose)))
  expect_setequal(setdiff(sub("^..", "", used), c("MIRAI_HOST", "MIRAI_SCHEME", "MIRAI_CREDENTIALS", "MIRAI_ARGUMENTS")), names)
  workflow <- text("images.yaml")
  for (name in c("worker.Dockerfile", "api.Dockerfile"))
    expect_true(any(grepl(paste0("dockerfile: inst/containers/", name), workflow, fixed = TRUE)), label = name)
  expect_true(any(grepl("branches: [main]", workflow, fixed = TRUE)))
})

test_that("workers are stopped", {
  api <- local_api()
  api$reply(200, '{"stopped":1,"workers":["mirai-worker-192-0-2-4-5555-1"],"failed":[],"errors":{},"dispatcher":"192.0.2.4","port":5555}')
  expect_message(names <- expect_invisible(stop_workers("192.0.2.4")), "^Stopped 1 worker\\(s\\) -> 192\\.0\\.2\\.4:5555\n$")
  expect_identical(names, worker_names(1))
  request <- api$last()
  expect_identical(request[c(1L, length(request))], c("POST /workers/stop HTTP/1.1", '{"dispatcher":"192.0.2.4","port":5555}'))
  api$reply(200, '{"stopped":0,"workers":[],"failed":[],"errors":{}}')
  expect_message(expect_identical(stop_workers("192.0.2.4", 5556), character()), "Stopped 0 worker(s) -> 192.0.2.4:5556", fixed = TRUE)
})

test_that("workers are listed, a row for each", {
  api <- local_api()
  api$reply(200, '{"workers":[{"name":"mirai-worker-a-80-1","id":"0a","state":"running","status":"Up 3 seconds","dispatcher":"a","port":80}]}')
  expect_identical(
    list_workers(),
    data.frame(name = "mirai-worker-a-80-1", dispatcher = "a", port = 80L, state = "running", status = "Up 3 seconds", id = "0a")
  )
  expect_identical(api$last()[1L], "GET /workers HTTP/1.1")
  api$reply(200, '{"workers":[]}')
  none <- list_workers(api$url)
  expect_identical(dim(none), c(0L, 6L))
  expect_type(none$port, "integer")
})

test_that("some workers that fail are a warning, all an error, each reason told once", {
  api <- local_api()
  api$reply(200, '{"started":["mirai-worker-192-0-2-4-5555-1"],"failed":["b","c","d","e","f"],',
            '"errors":{"b":"no room","c":"no room","d":"no room","e":"no room","f":"too hot"}}')
  w <- NULL
  expect_message(
    withCallingHandlers(names <- start_workers("192.0.2.4", 6), warning = function(condition) {
      w <<- condition
      invokeRestart("muffleWarning")
    }),
    "Started 1 worker(s)", fixed = TRUE
  )
  expect_identical(names, worker_names(1))
  expect_identical(conditionMessage(w), paste0("5 of 6 workers could not be started by the API at ", api$url,
                                               ".\nb, c, 2 more: no room\nf: too hot"))
  api$reply(200, '{"started":[],"failed":["b"],"errors":{"b":"no room"}}')
  expect_no_message(expect_refused(start_workers("192.0.2.4", 1), "1 of 1 workers could not be started", "start_workers"))
  api$reply(200, '{"stopped":0,"workers":[],"failed":["b"],"errors":{"b":"it clings"}}')
  expect_no_message(expect_refused(stop_workers("192.0.2.4"), "\nb: it clings", "stop_workers"))
})

test_that("what the API refuses is told in its words", {
  api <- local_api()
  api$reply(401, '{"error":"a bearer token is asked for, and none or another one was shown"}')
  e <- tryCatch(list_workers(token = "guess"), error = identity)
  expect_match(conditionMessage(e), "has refused (status 401): a bearer token is asked for", fixed = TRUE)
  expect_match(conditionMessage(e), "MIRAI_API_TOKEN", fixed = TRUE)
  expect_false(any(grepl("guess", c(conditionMessage(e), deparse(conditionCall(e))))))
  api$reply(502, '{"error":"the engine says 500: no such image anywhere"}')
  expect_refused(start_workers("192.0.2.4"), paste0("the API at ", api$url, " has refused (status 502): the engine says 500: no such image"),
                 "start_workers")
  api$reply(503, "<p>later</p>")
  expect_refused(list_workers(), "(status 503): <p>later</p>", "list_workers")
  for (body in c("hello", "{}", "[]", "\"workers\"")) {
    api$reply(200, body)
    expect_refused(list_workers(), sprintf("what answers at %s/workers is not the API: %s", api$url, body), "list_workers")
  }
})

test_that("an API that does not answer is named, and is not waited for beyond the limit", {
  api <- local_api()
  expect_refused(start_workers("192.0.2.4", api = "127.0.0.1:1"), "the API at http://127.0.0.1:1 cannot be asked: 6 | Connection refused",
                 "start_workers")
  silent <- paste0(api$url, "/silent/")
  expect_refused(start_workers("192.0.2.4", api = silent, timeout = 0.2), "may still happen", "start_workers")
  e <- tryCatch(list_workers(silent, timeout = 0.2), error = conditionMessage)
  expect_match(e, "has not answered within 0.2 seconds (5 | Timed out", fixed = TRUE)
  expect_no_match(e, "may still happen")
})

test_that("arguments are checked before anything is sent", {
  local_variables("MIRAI_API_HOST=127.0.0.1", "MIRAI_API_PORT=1")
  expect_refused(start_workers(), "argument \"dispatcher\" is missing", "start_workers")
  expect_refused(start_workers("tcp://192.0.2.4:5555"), "by which workers reach this session", "start_workers")
  expect_refused(start_workers("a", 1.5), "`n` must be a number of workers", "start_workers")
  expect_refused(start_workers("a", -1), "not `-1`", "start_workers")
  expect_refused(stop_workers("a", 0), "`port` must be a whole number between 1 and 65535", "stop_workers")
  expect_refused(list_workers(""), "`api` must be the address of the API, not `\"\"`", "list_workers")
  expect_refused(list_workers(1), "`api` must be the address", "list_workers")
  e <- tryCatch(list_workers("http://me:secret@box"), error = identity)
  expect_match(conditionMessage(e), "must not have a user or a password")
  expect_no_match(paste(conditionMessage(e), deparse(conditionCall(e))), "secret")
  expect_refused(list_workers("ftp://box"), "a URL with http:// or https://, not `\"ftp://box\"`", "list_workers")
  expect_refused(list_workers(token = 1), "`token` must be a string", "list_workers")
  expect_refused(list_workers(timeout = 0), "`timeout` must be a number of seconds", "list_workers")
  local_variables("MIRAI_API_HOST=", "MIRAI_PORT=many")
  expect_refused(stop_workers("a"), "the environment variable MIRAI_PORT must be a port, not `\"many\"`", "stop_workers")
  expect_refused(list_workers(), "give `api`, or set the environment variable MIRAI_API_HOST", "list_workers")
})

test_that("the address of the API may be a machine, with a port, or a URL", {
  local_variables("MIRAI_API_HOST=box", "MIRAI_API_PORT=")
  url <- function(api) mirai:::workers_url(api, NULL)
  expect_identical(url(NULL), "http://box:8080")
  local_variables("MIRAI_API_PORT=8089")
  expect_identical(url("192.0.2.66"), "http://192.0.2.66:8089")
  expect_identical(url("192.0.2.66:80"), "http://192.0.2.66:80")
  expect_identical(url("fd00::1"), "http://[fd00::1]:8089")
  expect_identical(url("[fd00::1]:80"), "http://[fd00::1]:80")
  expect_identical(url("https://box.example.org/mirai/"), "https://box.example.org/mirai")
})

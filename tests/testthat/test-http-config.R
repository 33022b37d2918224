# Daemons that a service starts: requests to a server of the test's own, what goes wrong, and Posit Workbench as it documents itself.

skip_within_check()

# R takes its time to start, so there is one server for all tests here, of which each sees its own requests.
shared <- new.env()

shared_server <- function() {
  if (is.null(shared$server)) shared$server <- http_server(frame = NULL)
  server <- shared$server
  server$starts(TRUE)
  earlier <- length(server$requests())
  server$requests <- local({
    all <- server$requests
    function() {
      requests <- all()
      requests[seq_along(requests) > earlier]
    }
  })
  server
}

# What waits for many seconds does so in a session beside all others, with a server of its own.
begin_patient <- function() {
  shared$silent <- http_server(frame = NULL)
  shared$patient <- spawn(c(
    "library(mirai)",
    "invisible(daemons(url = local_url(tcp = TRUE)))",
    sprintf("ask <- function(path) launch_remote(1, http_config(paste0(\"%s\", path), headers = NULL, data = \"%%s\"))", shared$silent$url),
    "said <- function(c, how) { cat(how, \": \", conditionMessage(c), \"\\n\", sep = \"\"); invokeRestart(paste0(\"muffle\", how)) }",
    "withCallingHandlers(ask(\"/silent\"), warning = function(w) said(w, \"Warning\"))",
    "ask(\"/agree\")",
    "told <- FALSE",
    "withCallingHandlers(while (!told) { info(); Sys.sleep(0.01) }, message = function(c) { told <<- TRUE; said(c, \"Message\") })"
  ), frame = NULL)
}
begin_patient()

body_of <- function(request) request[length(request)]

test_that("a configuration is a list in which nothing has been evaluated", {
  config <- http_config(url = function() stop("not now"), headers = c(a = "b"), data = "x", image = "i", token = function() "t")
  expect_named(config, c("type", "url", "method", "headers", "data", "dots", "cookie", "token", "verify"))
  expect_identical(config[c("type", "method", "dots", "verify")], list(type = "http", method = "POST", dots = list(image = "i"), verify = TRUE))
  expect_true(all(vapply(http_config()[c("url", "headers", "data")], is.function, NA)))
})

test_that("a configuration is printed without what is secret", {
  secret <- "s3cr3t-t0k3n"
  config <- http_config(
    url = paste0("https://", secret, "@h/a?n=1&access_token=", secret), headers = c(`Content-Type` = "application/json", `X-Api-Key` = secret),
    data = sprintf("{\"token\":\"%s\",\"run\":\"%%s\"}", secret), image = "r:1", api_key = secret, cookie = secret, token = secret
  )
  expect_identical(config$token, secret)
  for (shown in list(printed(config), utils::capture.output(utils::str(config)))) {
    expect_false(any(grepl(secret, shown, fixed = TRUE)), label = paste(shown, collapse = "\n"))
    for (text in c("https://...@h/a?n=1&access_token=...", "application/json", "r:1", "POST"))
      expect_true(any(grepl(text, shown, fixed = TRUE)), label = text)
  }
  config$token <- function() "s3cr3t-t0k3n"
  expect_false(any(grepl(secret, printed(config), fixed = TRUE)))
  expect_identical(printed(http_config("u", headers = NULL, data = NULL))[1:5], c("$type", "[1] \"http\"", "", "$url", "[1] \"u\""))
})

test_that("a request for each daemon starts it", {
  server <- shared_server()
  local_pool(url = local_url(tcp = TRUE))
  count <- 0L
  config <- http_config(
    url = function() paste0(server$url, "/start"), headers = function() c(`Content-Type` = "application/json", `X-Key` = "k"),
    data = function(image) sprintf("{\"image\":\"%s\",\"share\":\"100%%\",\"run\":\"%%s\"}", image), image = "r:1",
    cookie = "c=1", token = function() { count <<- count + 1L; paste0("token-", count) }
  )
  answers <- expect_invisible(launch_remote(2, config, maxtasks = 5))
  expect_identical(answers, rep(list(list(status = 200L, headers = NULL, data = "{\"started\":1}")), 2L))
  await(info()[["connections"]] == 2L)
  requests <- server$requests()
  expect_length(requests, 2L)
  expect_identical(requests[[1L]][1L], "POST /start HTTP/1.1")
  for (header in c("content-type: application/json", "x-key: k", "cookie: c=1", "authorization: Bearer token-1"))
    expect_true(tolower(header) %in% tolower(requests[[1L]]), label = header)
  expect_identical(body_of(requests[[1L]]), sprintf("{\"image\":\"r:1\",\"share\":\"100%%\",\"run\":\"mirai::daemon(\\\"%s\\\",maxtasks=5)\"}",
                                                    nextget("url")))
  # Once for each launch.
  server$starts(FALSE)
  launch_remote(1, config)
  expect_true("authorization: bearer token-2" %in% tolower(server$requests()[[3L]]))
  expect_identical(launch_remote(0, config), list())
})

test_that("daemons over TLS are started with all that they have to show", {
  server <- shared_server()
  expect_message(local_pool(1, url = "tls+tcp://127.0.0.1:0",
                            remote = http_config(paste0(server$url, "/start"), headers = NULL, data = "{\"run\":\"%s\"}")),
                 "mirai: 1 launched, [01] connected so far")
  expect_identical(value(mirai("there")), "there")
})

test_that("what does not start a daemon is told, with the answer", {
  server <- shared_server()
  config <- function(path, ...) http_config(paste0(server$url, path), headers = NULL, data = "%s", ...)
  local_pool(url = local_url(tcp = TRUE))
  expect_warning(answers <- launch_remote(2, config("/refuse")),
                 "2 of 2 daemons could not be launched.\nPOST http://.*/refuse was answered with status 500: no room for another one")
  expect_identical(answers[[2L]], list(status = 500L, headers = NULL, data = "no room for another one"))
  expect_identical(sum(status()$failed$count), 2L)
  expect_warning(launch_remote(1, config("/elsewhere")), "status 302")
  expect_warning(launch_remote(1, config("/nowhere")), "status 404: nothing here")
  expect_warning(answers <- launch_remote(1, http_config("http://127.0.0.1:1/", headers = NULL, data = "%s")), "6 | Connection refused", fixed = TRUE)
  for (part in answers[[1L]]) expect_code(part, 6L)
  expect_refused(launch_remote(1, config("/start", token = 1)), "`token` must be a string", "launch_remote")
  expect_refused(launch_remote(1, http_config(NULL, headers = NULL, data = "")), "`url` must be a string", "launch_remote")
  expect_refused(launch_remote(1, http_config("http://a", headers = "b", data = "")), "`headers` must be a character vector with names", "launch_remote")
  expect_refused(launch_remote(1, http_config("http://a", headers = NULL, data = 1)), "`data` must be text", "launch_remote")
  expect_refused(launch_remote(1, config("/start", verify = "/no/such/file")), "12 | Entry not found", "launch_remote")
})

test_that("credentials that a service sends back are not shown", {
  server <- shared_server()
  local_pool(url = "tls+tcp://127.0.0.1:0")
  text <- NULL
  withCallingHandlers(launch_remote(1, http_config(paste0(server$url, "/echo"), headers = NULL, data = "%s")), warning = function(w) {
    text <<- conditionMessage(w)
    invokeRestart("muffleWarning")
  })
  expect_match(text, "this is no mirai::daemon", fixed = TRUE)
  expect_false(grepl("BEGIN", text), label = text)
  expect_false(grepl("BEGIN", status()$failed$reason))
  # Who quotes the begin of it only.
  body <- strsplit(nextget("tls")[1L], "\n", fixed = TRUE)[[1L]][2L]
  expect_warning(launch_remote(1, http_config(paste0(server$url, "/cut"), headers = NULL, data = "%s")),
                 "this is no mirai::daemon\\(.*\\.\\.\\.$")
  expect_false(any(grepl(body, status()$failed$reason, fixed = TRUE)))
})

test_that("a token is not shown that a service quotes, or that is in its address", {
  server <- shared_server()
  local_pool(url = local_url(tcp = TRUE))
  secret <- "s3cr3t-t0k3n"
  config <- http_config(paste0(server$url, "/headers?access_token=", secret), headers = c(`X-Api-Key` = "k3y-k3y-k3y"), data = "%s",
                        cookie = "session=c00k1e-c00k1e", token = secret)
  said <- NULL
  withCallingHandlers(launch_remote(1, config), warning = function(w) {
    said <<- conditionMessage(w)
    invokeRestart("muffleWarning")
  })
  # It is no service for daemons, and quotes all headers in its own words.
  expect_match(said, "/headers?access_token=... was answered with status 400: you have said ", fixed = TRUE)
  e <- tryCatch(daemons(1, url = local_url(tcp = TRUE), remote = config), error = identity)
  shown <- c(said, conditionMessage(e), deparse(conditionCall(e)), unlist(lapply(status()$failed, as.character)))
  for (value in c(secret, "k3y-k3y-k3y", "c00k1e-c00k1e")) expect_false(any(grepl(value, shown, fixed = TRUE)), label = value)
})

test_that("what a service says does nothing to a terminal, and a password in its address is not shown", {
  server <- shared_server()
  local_pool(url = local_url(tcp = TRUE))
  config <- http_config(paste0(sub("http://", "http://me:secret@", server$url, fixed = TRUE), "/escape"), headers = NULL, data = "%s")
  expect_warning(launch_remote(1, config), "POST http://...@127.*status 500: no room$")
  expect_false(any(grepl("secret", unlist(lapply(status()$failed, as.character)), fixed = TRUE)))
  e <- tryCatch(daemons(1, url = local_url(tcp = TRUE), remote = config), error = identity)
  expect_no_match(conditionMessage(e), "secret|\033")
  expect_no_match(paste(deparse(conditionCall(e)), collapse = ""), "secret")
})

test_that("daemons() fails where no request is granted, and says how many were", {
  server <- shared_server()
  config <- function(path) http_config(paste0(server$url, path), headers = NULL, data = "%s")
  expect_refused(daemons(2, url = local_url(tcp = TRUE), remote = config("/refuse")), "status 500: no room for another one", "daemons")
  expect_false(daemons_set())
  expect_warning(expect_message(local_pool(2, url = local_url(tcp = TRUE), remote = config("/every-other")), "1 launched, 0 connected so far"),
                 "only 1 of 2 daemons could be launched.*status 503: not now")
})

test_that("the certificate of a server is verified, by the system's or others, unless that is switched off", {
  skip_if(Sys.which("openssl") == "", "needs openssl")
  folder <- tempfile("tls")
  dir.create(folder)
  file <- function(name) file.path(folder, paste0(name, ".pem"))
  openssl <- function(...) system2("openssl", shQuote(c(...)), stdout = FALSE, stderr = FALSE)
  new_key <- c("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
  openssl("req", "-x509", new_key, "-keyout", file("authority-key"), "-out", file("authority"), "-subj", "/CN=us", "-days", "2")
  openssl("req", new_key, "-keyout", file("key"), "-out", file("asked"), "-subj", "/CN=here")
  writeLines("subjectAltName=IP:127.0.0.1", file("more"))
  openssl("x509", "-req", "-in", file("asked"), "-CA", file("authority"), "-CAkey", file("authority-key"), "-CAcreateserial", "-days", "2",
          "-extfile", file("more"), "-out", file("certificate"))
  # Behind its TLS this pool speaks no HTTP, so what gets through ends otherwise.
  both <- file("both")
  writeLines(c(readLines(file("certificate")), readLines(file("key"))), both)
  daemons(url = "tls+tcp://127.0.0.1:0", tls = both, .compute = "server")
  defer(daemons(0, .compute = "server"))
  url <- sub("tls+tcp", "https", nextget("url", .compute = "server"), fixed = TRUE)
  local_pool(url = local_url(tcp = TRUE))
  why <- function(...) {
    text <- NULL
    withCallingHandlers(launch_remote(1, http_config(url, headers = NULL, data = "%s", ...)), warning = function(w) {
      text <<- conditionMessage(w)
      invokeRestart("muffleWarning")
    })
    text
  }
  expect_match(why(), "27 | Peer could not be authenticated", fixed = TRUE)
  expect_no_match <- function(text) expect_false(grepl("27 |", text, fixed = TRUE), label = text)
  expect_no_match(why(verify = FALSE))
  expect_no_match(why(verify = file("authority")))
})

test_that("what a service says is shown without secrets, whole or in part, and without what a terminal would act upon", {
  shown <- mirai:::shown_text
  expect_identical(shown("a -----BEGIN MIRAI TOKEN-----\nxyz\n-----END MIRAI TOKEN----- b"), "a ... b")
  for (dash in c("-", "%2D", "\\u002d")) {
    begin <- sprintf("%sBEGIN%%20MIRAI TOKEN", strrep(dash, 5L))
    expect_identical(shown(paste("a", begin, "xyz")), "a ...", label = begin)
  }
  expect_identical(shown("\u001b[2J\u001b]0;title\u0007no\u001b[31m room\u001b[0m\r\n\ttoday\u0001\u009b"), "no room\n\ttoday")
  expect_identical(shown("\u00e9t\u00e9"), "\u00e9t\u00e9")
})

# ---- Kubernetes

test_that("the example for Kubernetes creates a Job as its API documents it", {
  server <- shared_server()
  account <- tempfile("account")
  dir.create(account)
  put <- function(name, text) writeLines(text, file.path(account, name))
  put("namespace", "team")
  put("token", "of-the-account")
  put("ca.crt", readLines(testthat::test_path("servers", "authority.pem")))
  example <- new.env()
  sys.source(system.file("kubernetes", "daemons.R", package = "mirai"), example)
  config <- example$kubernetes_config("r:1", parallelism = 3, memory = "1Gi", server = server$url, account = account)
  suppressMessages(local_pool(1, url = "tls+tcp://127.0.0.1:0", remote = config))
  expect_identical(value(mirai("in a pod")), "in a pod")
  request <- server$requests()[[1L]]
  expect_identical(request[1L], "POST /apis/batch/v1/namespaces/team/jobs HTTP/1.1")
  expect_true("content-type: application/json" %in% tolower(request))
  job <- jsonlite::fromJSON(request[-seq_len(match("", request))], simplifyVector = FALSE)
  expect_identical(job[c("apiVersion", "kind")], list(apiVersion = "batch/v1", kind = "Job"))
  expect_identical(job$metadata$generateName, "mirai-")
  expect_identical(c(job$spec$parallelism, job$spec$completions, job$spec$backoffLimit), c(3L, 3L, 0L))
  pod <- job$spec$template$spec
  expect_identical(pod$restartPolicy, "Never")
  expect_identical(pod$containers[[1L]]$resources$limits, list(memory = "1Gi"))
  expect_match(pod$containers[[1L]]$command[[3L]], "^mirai::daemon\\(\"tls\\+tcp://127.0.0.1:")
  put("token", "stale")
  expect_warning(launch_remote(1, config), "status 403: .*Forbidden")
})

test_that("the manifests for Kubernetes give a session the rights to what the example asks for, and nothing to change besides", {
  needs_package("yaml", "2.0")
  load <- getExportedValue("yaml", "yaml.load")
  manifests <- function(name) {
    lines <- readLines(system.file("kubernetes", name, package = "mirai"))
    lapply(split(lines, cumsum(lines == "---")), function(lines) load(paste(lines[lines != "---"], collapse = "\n")))
  }
  rights <- manifests("rights.yaml")
  names(rights) <- vapply(rights, `[[`, "", "kind")
  expect_named(rights, c("ServiceAccount", "Role", "RoleBinding"))
  group <- "rbac.authorization.k8s.io"
  expect_identical(vapply(rights, `[[`, "", "apiVersion", USE.NAMES = FALSE), c("v1", rep(paste0(group, "/v1"), 2L)))
  account <- rights$ServiceAccount$metadata$name
  expect_identical(rights$RoleBinding$subjects, list(list(kind = "ServiceAccount", name = account)))
  expect_identical(rights$RoleBinding$roleRef, list(apiGroup = group, kind = "Role", name = rights$Role$metadata$name))
  may <- do.call(rbind, lapply(rights$Role$rules, expand.grid, stringsAsFactors = FALSE))
  may <- sprintf("%s %s/%s", may$verbs, may$apiGroups, may$resources)
  # A POST to /apis/<group>/v1/namespaces/<namespace>/<resource>.
  example <- new.env()
  sys.source(system.file("kubernetes", "daemons.R", package = "mirai"), example)
  config <- example$kubernetes_config("r:1", namespace = "team")
  expect_identical(config$method, "POST")
  asked <- regmatches(config$url, regexec("^https://[^/]+/apis/([^/]+)/v1/namespaces/team/([^/]+)$", config$url))[[1L]]
  expect_true(sprintf("create %s/%s", asked[2L], asked[3L]) %in% may)
  # kubectl logs job/<name>
  expect_true(all(c("get batch/jobs", "list /pods", "get /pods/log") %in% may))
  expect_setequal(grep("^(get|list) ", may, value = TRUE, invert = TRUE), c("create batch/jobs", "delete batch/jobs"))

  session <- manifests("session.yaml")[[1L]]
  expect_identical(session[c("apiVersion", "kind")], list(apiVersion = "v1", kind = "Pod"))
  expect_identical(session$spec$serviceAccountName, account)
  # The account's token and certificate are where the example looks for them.
  expect_false(isFALSE(session$spec$automountServiceAccountToken))
  expect_length(session$spec$containers, 1L)
  expect_true(nzchar(session$spec$containers[[1L]]$image))
})

# ---- Posit Workbench

workbench <- function(cookie = "good", frame = parent.frame()) {
  server <- shared_server()
  local_variables(paste0("RS_SERVER_ADDRESS=", server$url), paste0("RS_SESSION_RPC_COOKIE=", cookie), frame = frame)
  session <- getFromNamespace("session", "mirai")
  defer(session$workbench_cookie <- NULL, frame)
  server
}

test_that("outside of Posit Workbench that is an error", {
  local_variables("RS_SERVER_ADDRESS=", "RS_SESSION_RPC_COOKIE=")
  local_pool(url = local_url(tcp = TRUE))
  expect_error(launch_remote(1, http_config()), "can only be used from Posit Workbench: .*RS_SERVER_ADDRESS is not set")
})

test_that("another service is asked without credentials where this session has none", {
  local_variables("RS_SERVER_ADDRESS=", "RS_SESSION_RPC_COOKIE=")
  server <- shared_server()
  server$starts(FALSE)
  local_pool(url = local_url(tcp = TRUE))
  launch_remote(1, http_config(paste0(server$url, "/start"), data = "{\"run\":\"%s\"}", token = "t"))
  request <- server$requests()[[1L]]
  expect_true("authorization: bearer t" %in% tolower(request))
  expect_false(any(grepl("cookie", request, ignore.case = TRUE)))
  local_variables(paste0("RS_SERVER_ADDRESS=", server$url))
  expect_error(launch_remote(1, http_config()), "can only be used from Posit Workbench: .*RS_SESSION_RPC_COOKIE is not set")
})

test_that("Posit Workbench is sent a job as it documents it", {
  server <- workbench()
  expect_message(local_pool(1, url = local_url(tcp = TRUE), remote = http_config()), "1 launched")
  expect_identical(value(mirai("by Workbench")), "by Workbench")
  requests <- server$requests()
  expect_identical(c(requests[[1L]][1L], requests[[2L]][1L]), c("GET /api/get_compute_envs HTTP/1.1", "POST /api/launch_job HTTP/1.1"))
  for (request in requests) for (name in c("cookie", "x-rs-session-server-rpc-cookie"))
    expect_true(paste0(name, ": good") %in% tolower(request))
  job <- jsonlite::fromJSON(body_of(requests[[2L]]), simplifyVector = FALSE)
  call <- sprintf("{.libPaths(c(%s));mirai::daemon(\"%s\")}", paste0("\"", .libPaths(), "\"", collapse = ","), nextget("url"))
  expect_identical(job, list(method = "launch_job", kwparams = list(job = list(
    cluster = "Local", container = list(image = "img:1"), name = "mirai_daemon", exe = "Rscript", args = list("-e", call),
    resourceProfile = "small"
  ))))
})

test_that("its options choose cluster, profile, resources and names", {
  server <- workbench()
  server$starts(FALSE)
  local_pool(url = local_url(tcp = TRUE))
  job <- function(...) {
    launch_remote(1, http_config(...))
    requests <- server$requests()
    jsonlite::fromJSON(body_of(requests[[length(requests)]]), simplifyVector = FALSE)$kwparams$job
  }
  chosen <- job(cluster = "Kubernetes", rscript = "/opt/R/Rscript", job_name = "50% \"mine\"")
  expect_identical(chosen[c("cluster", "name", "exe", "resourceProfile")],
                   list(cluster = "Kubernetes", name = "50% \"mine\"", exe = "/opt/R/Rscript", resourceProfile = "tiny"))
  expect_identical(chosen$container$image, "img:2")
  sized <- job(cpus = 4)
  expect_identical(sized$resources, list(cpus = 4L, memory = 512L))
  expect_null(sized$resourceProfile)
  expect_identical(job(memory = 1e5)$resources, list(cpus = 1L, memory = 100000L))
  expect_identical(job(resource_profile = "big", cpus = 2)$resourceProfile, "big")
  expect_error(job(cluster = "zz"), "cluster 'zz' not found. Available: Local, Kubernetes", fixed = TRUE)
  expect_error(job(resource_profile = "zz"), "resource profile 'zz' not found. Available: small, big", fixed = TRUE)
  expect_error(job(bad = 1), "unused argument (bad = 1)", fixed = TRUE)
})

test_that("where the session's credentials do not do, those of the browser are used, and kept", {
  server <- workbench("stale")
  local_pool(url = local_url(tcp = TRUE))
  expect_error(launch_remote(1, http_config()), "can only be used from Posit Workbench: it answers with status 401")
  seen <- character()
  ide <- list(
    .rs.api.viewer = function(url) {
      seen <<- c(seen, url)
      con <- socketConnection("127.0.0.1", as.integer(sub(".*:", "", url)), open = "r+b", blocking = TRUE, timeout = 30)
      writeBin(charToRaw("GET / HTTP/1.1\r\nHost: x\r\nCookie: good\r\n\r\n"), con)
      seen <<- c(seen, utils::tail(readLines(con, warn = FALSE), 1L))
      close(con)
    },
    .rs.api.executeCommand = function(name) seen <<- c(seen, name)
  )
  attach(ide, name = "tools:rstudio", warn.conflicts = FALSE)
  defer(detach("tools:rstudio"))
  launch_remote(1, http_config())
  expect_identical(value(mirai("there")), "there")
  expect_match(seen[1L], "^http://127.0.0.1:[0-9]+$")
  expect_identical(seen[-1L], c("mirai <> Posit Workbench", "activateConsole"))
  request <- tolower(utils::tail(server$requests(), 1L)[[1L]])
  expect_true(all(c("cookie: good", "x-rs-session-server-rpc-cookie: good") %in% request))
  server$starts(FALSE)
  launch_remote(1, http_config())
  expect_length(seen, 3L)
})

# ---- What was begun at first

test_that("a server that does not answer costs five seconds, and what has been agreed to and does not come is told of", {
  out <- paste(shared$patient$wait(180), collapse = "\n")
  expect_match(out, "Warning: 1 of 1 daemons could not be launched.*5 \\| Timed out")
  expect_match(out, "Message: mirai: 0 of 1 launched daemons have connected so far.*in a while")
  expect_length(shared$silent$requests(), 2L)
})

for (process in list(shared$server, shared$silent, shared$patient)) if (!is.null(process) && alive(process$pid)) tools::pskill(process$pid)

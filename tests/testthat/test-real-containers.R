# Workers in real containers, started and stopped by the real API, which runs in one, too. tools/containers.sh makes the images,
# starts an engine, and says in MIRAI_TEST_ENGINE where its socket is.

engine <- Sys.getenv("MIRAI_TEST_ENGINE")
worker_image <- "localhost/mirai-worker:latest"

needs_engine <- function() testthat::skip_if(!nzchar(engine), "needs a container engine and images: tools/containers.sh test")

# What podman says; its exit status is an attribute if it is not 0.
podman <- function(...) suppressWarnings(system2("podman", shQuote(c(...)), stdout = TRUE, stderr = TRUE))

exit_status <- function(said) {
  status <- attr(said, "status")
  if (is.null(status)) 0L else status
}

# This machine, as containers see it.
gateway <- function() podman("network", "inspect", "podman", "--format", "{{(index .Subnets 0).Gateway}}")

containers <- function(pattern) grep(pattern, podman("ps", "--all", "--format", "{{.Names}}"), value = TRUE)

token <- strrep("0123456789abcdef", 4L)

# The API in a container, asked by the functions under test. Whatever it has started goes with it. `options`: further ones of
# the container.
local_api <- function(options = character(), url = "", verify = TRUE, frame = parent.frame()) {
  needs_engine()
  port <- free_port()
  name <- paste0("mirai-test-api-", port)
  said <- podman("run", "--detach", "--name", name, "--network", "host", "--volume", paste0(engine, ":/var/run/docker.sock"),
                 "--env", paste0("MIRAI_API_PORT=", port), "--env", "MIRAI_API_TOKEN=sesame", "--env", paste0("MIRAI_TOKEN=", token),
                 "--env", paste0("MIRAI_IMAGE=", worker_image), options, "localhost/mirai-containers:latest")
  if (exit_status(said)) stop(paste(said, collapse = "\n"))
  defer(for (container in c(name, containers("^mirai-worker-"))) podman("rm", "--force", "--time", "0", container), frame)
  if (nzchar(url)) url <- sprintf(url, port)
  local_variables(paste0("MIRAI_API_HOST=", if (nzchar(url)) url else "127.0.0.1"), paste0("MIRAI_API_PORT=", port), "MIRAI_API_TOKEN=sesame", paste0("MIRAI_TOKEN=", token),
                  frame = frame)
  await(tryCatch(is.data.frame(list_workers(verify = verify)), error = function(e) FALSE))
  list(url = paste0("http://127.0.0.1:", port), log = function() podman("logs", name))
}

# A pool that containers reach, and its port.
local_network_pool <- function(.compute = NULL, frame = parent.frame()) {
  port <- free_port()
  local_pool(url = sprintf("tcp://:%d", port), token = TRUE, .compute = .compute, frame = frame)
  port
}

workers_of <- function(port, n) sprintf("mirai-worker-%s-%d-%d", gsub(".", "-", gateway(), fixed = TRUE), port, n)

host_names <- function(.compute = NULL) unlist(everywhere(Sys.info()[["nodename"]], .compute = .compute)[])

start <- function(n, port) suppressMessages(start_workers(gateway(), n, port))

# A container of the worker's image that the API knows nothing of.
local_worker <- function(..., frame = parent.frame()) {
  id <- podman("run", "--detach", ..., worker_image)
  if (exit_status(id)) stop(paste(id, collapse = "\n"))
  id <- id[length(id)]
  defer(podman("rm", "--force", "--time", "0", id), frame)
  id
}

test_that("workers start, work side by side, survive an error, and stop", {
  api <- local_api()
  port <- local_network_pool()
  expect_message(names <- start_workers(gateway(), 3, port), sprintf("Started 3 worker(s) -> %s:%d", gateway(), port), fixed = TRUE)
  expect_identical(names, workers_of(port, 1:3))
  await(info()[["connections"]] == 3L, 180)
  hosts <- host_names()
  expect_length(unique(hosts), 3L)
  expect_false(Sys.info()[["nodename"]] %in% hosts)
  listed <- list_workers()
  expect_identical(listed[c("name", "dispatcher", "port", "state")],
                   data.frame(name = names, dispatcher = gateway(), port = port, state = "running"))

  expect_identical(mirai_map(1:20, function(x) x^2)[.flat], (1:20)^2)
  # No one of them begins after another has ended.
  times <- mirai_map(1:3, function(i) {
    begun <- Sys.time()
    Sys.sleep(1)
    c(begun, Sys.time())
  })[]
  expect_lt(max(vapply(times, function(x) as.numeric(x[1L]), 0)), min(vapply(times, function(x) as.numeric(x[2L]), 0)))
  expect_true(is_mirai_error(value(mirai(stop("on purpose")))))
  expect_setequal(host_names(), hosts)

  expect_message(stopped <- stop_workers(gateway(), port), "Stopped 3 worker(s)", fixed = TRUE)
  expect_identical(stopped, names)
  await(info()[["connections"]] == 0L)
  await(!length(containers("^mirai-worker-")))
  expect_identical(nrow(list_workers()), 0L)
  log <- api$log()
  for (line in c("POST /workers/start from 127.0.0.1", sprintf("dispatcher=%s n=3 port=%d image=%s", gateway(), port, worker_image),
                 paste("started", names[3L]), paste("stopped", names[3L])))
    expect_true(any(grepl(line, log, fixed = TRUE)), label = line)
  expect_false(any(grepl("sesame", log)))
})

# Certificate and key for the machine itself, in one file, and the certificate alone.
local_certificate <- function(frame = parent.frame()) {
  skip_if(Sys.which("openssl") == "", "needs openssl")
  folder <- tempfile("certificate")
  dir.create(folder)
  defer(unlink(folder, recursive = TRUE), frame)
  both <- file.path(folder, "api.pem")
  trusted <- file.path(folder, "authority.pem")
  key <- file.path(folder, "key.pem")
  system2("openssl", c("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", trusted,
                       "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-days", "2"),
          stdout = FALSE, stderr = FALSE)
  writeLines(c(readLines(trusted), readLines(key)), both)
  list(both = both, trusted = trusted)
}

test_that("workers come by TLS with what their pool has made for them, by way of HTTPS, and it is nowhere to be seen", {
  needs_engine()
  certificate <- local_certificate()
  api <- local_api(c("--volume", paste0(certificate$both, ":/api.pem:ro"), "--env", "MIRAI_API_CERTIFICATE=/api.pem"),
                   "https://127.0.0.1:%d", certificate$trusted)
  expect_error(list_workers(), "27 | Peer could not be authenticated", fixed = TRUE)
  # The API has a token for workers, and this pool another one.
  local_variables("MIRAI_TOKEN=")
  port <- free_port()
  local_pool(url = sprintf("tls+tcp://:%d", port))
  expect_message(names <- start_workers(gateway(), 2, verify = certificate$trusted), sprintf("Started 2 worker(s) -> %s:%d", gateway(), port),
                 fixed = TRUE)
  expect_identical(names, workers_of(port, 1:2))
  await(info()[["connections"]] == 2L, 180)
  expect_length(unique(host_names()), 2L)
  expect_identical(value(mirai(Sys.getenv("MIRAI_CREDENTIALS"))), "")
  seen <- c(podman("top", names[1L], "args"), podman("logs", names[1L]), api$log(),
            podman("inspect", "--format", "{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Labels}}", names[1L]))
  expect_true(any(grepl(sprintf("worker: connecting to tls+tcp://%s:%d", gateway(), port), seen, fixed = TRUE)))
  expect_true(any(grepl("scheme=tls+tcp credentials=given", seen, fixed = TRUE)))
  expect_false(any(grepl("BEGIN|PRIVATE", seen)))
  suppressMessages(expect_length(stop_workers(gateway(), verify = certificate$trusted), 2L))
})

test_that("workers show the token that a pool has made", {
  local_api()
  local_variables("MIRAI_TOKEN=")
  port <- free_port()
  local_pool(url = sprintf("tcp://:%d", port), token = TRUE)
  suppressMessages(expect_identical(start_workers(gateway(), 1), workers_of(port, 1)))
  await(info()[["connections"]] == 1L, 180)
  expect_identical(value(mirai(Sys.info()[["user"]])), "mirai")
})

test_that("workers of a pool without dispatcher take turns, each with random numbers of its own, and are called as its daemons", {
  local_api()
  port <- free_port()
  local_pool(url = sprintf("tcp://:%d", port), token = TRUE, dispatcher = FALSE, cleanup = FALSE, maxtasks = 4)
  start(2, port)
  await(info()[["connections"]] == 2L, 60)
  numbers <- collect_mirai(lapply(1:2, function(i) mirai(runif(1))), .flat)
  expect_length(unique(numbers), 2L)
  for (i in 1:2) mirai(left <<- Sys.info()[["nodename"]])
  left <- collect_mirai(lapply(1:2, function(i) mirai(left)), .flat)
  expect_length(unique(left), 2L)
  # Their fourth task is their last.
  for (i in 1:2) mirai(NULL)
  await(nrow(list_workers()) == 0L, 60)
})

test_that("a worker by hand has its credentials in a file", {
  needs_engine()
  port <- free_port()
  local_pool(url = sprintf("wss://:%d", port))
  file <- tempfile(fileext = ".pem")
  writeLines(nextget("tls")[1L], file)
  Sys.chmod(file, "644")
  id <- local_worker("--env", paste0("MIRAI_HOST=", gateway()), "--env", paste0("MIRAI_PORT=", port), "--env", "MIRAI_SCHEME=wss",
                     "--env", "MIRAI_CREDENTIALS=/run/secrets/mirai.pem", "--volume", paste0(file, ":/run/secrets/mirai.pem:ro"))
  expect_identical(value(mirai(Sys.info()[["user"]])), "mirai")
  said <- podman("run", "--rm", "--env", "MIRAI_HOST=192.0.2.4", "--env", "MIRAI_SCHEME=ftp", worker_image)
  expect_identical(exit_status(said), 2L)
  expect_true(any(grepl("MIRAI_SCHEME must be tcp, tls+tcp, ws or wss, not `ftp`", said, fixed = TRUE)))
})

test_that("sessions that share an API have workers of their own, and new ones beside them", {
  local_api()
  first <- local_network_pool()
  second <- local_network_pool("second")
  expect_identical(start(2, first), workers_of(first, 1:2))
  expect_identical(start(1, second), workers_of(second, 1))
  expect_identical(start(1, first), workers_of(first, 3))
  await(info()[["connections"]] == 3L && info("second")[["connections"]] == 1L, 180)
  host <- host_names("second")
  suppressMessages(expect_identical(stop_workers(gateway(), first), workers_of(first, 1:3)))
  expect_identical(list_workers()$name, workers_of(second, 1))
  expect_identical(host_names("second"), host)
})

test_that("a worker that is to stop ends its task, and then leaves", {
  local_api()
  port <- local_network_pool()
  start(1, port)
  m <- mirai({
    Sys.sleep(2)
    Sys.info()[["nodename"]]
  })
  await(info()[["executing"]] == 1L, 180)
  suppressMessages(expect_length(stop_workers(gateway(), port), 1L))
  expect_type(value(m), "character")
  expect_false(is_error_value(m$data))
})

test_that("workers end with their host, and their containers go", {
  local_api()
  port <- local_network_pool()
  start(2, port)
  await(info()[["connections"]] == 2L, 180)
  daemons(0)
  await(nrow(list_workers()) == 0L)
  await(!length(containers("^mirai-worker-")))

  # A host that is gone without a word.
  host <- spawn(c(
    "library(mirai)", sprintf("daemons(url = 'tcp://:%d', token = TRUE)", port), "while (info()[['connections']] < 1) Sys.sleep(0.01)",
    "cat('connected\\n')", "Sys.sleep(600)"
  ))
  start(1, port)
  await("connected" %in% host$log(), 180)
  tools::pskill(host$pid, tools::SIGKILL)
  await(nrow(list_workers()) == 0L, 180)
  expect_identical(containers("^mirai-worker-"), character())
})

test_that("a worker waits for its host, and tells what it does", {
  needs_engine()
  local_variables(paste0("MIRAI_TOKEN=", token))
  port <- free_port()
  id <- local_worker("--env", paste0("MIRAI_HOST=", gateway()), "--env", paste0("MIRAI_PORT=", port), "--env", paste0("MIRAI_TOKEN=", token))
  await(any(grepl(sprintf("worker: connecting to tcp://%s:%d", gateway(), port), podman("logs", id), fixed = TRUE)))
  local_pool(url = sprintf("tcp://:%d", port), token = TRUE)
  expect_identical(value(mirai({
    cat("from a task\n")
    Sys.info()[["user"]]
  })), "mirai")
  daemons(0)
  expect_identical(podman("wait", id), "0")
  log <- podman("logs", id)
  expect_true("from a task" %in% log)
  expect_true("worker: 0 | Daemon connection terminated" %in% log)
})

test_that("SIGTERM ends a worker that has no host yet, or no task, as the first process of its container, too", {
  needs_engine()
  local_variables(paste0("MIRAI_TOKEN=", token))
  port <- local_network_pool()
  variables <- c("--env", paste0("MIRAI_HOST=", gateway()), "--env", paste0("MIRAI_TOKEN=", token))
  idle <- local_worker(variables, "--env", paste0("MIRAI_PORT=", port))
  alone <- local_worker(variables, "--env", paste0("MIRAI_PORT=", free_port()))
  await(info()[["connections"]] == 1L, 180)
  await(any(grepl("worker: connecting", podman("logs", alone))))
  for (id in c(idle, alone)) {
    podman("kill", "--signal", "TERM", id)
    await(identical(podman("inspect", "--format", "{{.State.Running}}", id), "false"))
  }
  expect_true("worker: 0 | Daemon connection terminated" %in% podman("logs", idle))
})

test_that("a worker that cannot be one says why, and fails", {
  needs_engine()
  said <- podman("run", "--rm", worker_image)
  expect_identical(exit_status(said), 2L)
  expect_true(any(grepl("worker: MIRAI_HOST is not set", said, fixed = TRUE)))
  said <- podman("run", "--rm", "--env", "MIRAI_HOST=192.0.2.4", "--env", "MIRAI_PORT=many", worker_image)
  expect_identical(exit_status(said), 2L)
  expect_true(any(grepl("MIRAI_PORT must be a port, not `many`", said, fixed = TRUE)))
  for (arguments in c("url=1", "cleanup=system('x')", "cleanup")) {
    said <- podman("run", "--rm", "--env", "MIRAI_HOST=192.0.2.4", "--env", paste0("MIRAI_ARGUMENTS=", arguments), worker_image)
    expect_identical(exit_status(said), 2L)
    expect_true(any(grepl("MIRAI_ARGUMENTS must be like", said, fixed = TRUE)))
  }
  local_variables(paste0("MIRAI_TOKEN=", token))
  port <- local_network_pool()
  said <- podman("run", "--rm", "--env", paste0("MIRAI_HOST=", gateway()), "--env", paste0("MIRAI_PORT=", port), worker_image)
  expect_identical(exit_status(said), 2L)
  expect_true(any(grepl("MIRAI_TOKEN", said, fixed = TRUE)))
})

test_that("the API tells whether its engine does as asked", {
  api <- local_api()
  answer <- mirai:::send_request("GET", paste0(api$url, "/debug"), c(Authorization = "Bearer sesame"), seconds = 60)
  reply <- mirai:::read_json(answer$body)
  expect_true(reply$engine$ok)
  expect_true(reply$create$ok)
  expect_match(reply$received_at, "^[0-9-]{10}T[0-9:]{8}Z$")
  expect_identical(reply$from, "127.0.0.1")
  expect_identical(containers("^mirai-debug"), character())
  expect_error(list_workers(token = "other"), "status 401")
})

test_that("the integration script passes its four checks", {
  api <- local_api()
  script <- system.file("containers", "integration.R", package = "mirai")
  settings <- sub("patience = 300", "patience = 60", readLines(script), fixed = TRUE)
  said <- run_r(settings, env = paste0(c("MIRAI_HOST=", "MIRAI_PORT="), c(gateway(), free_port())), seconds = 180)
  expect_true("4 of 4 checks passed" %in% said, label = paste(said, collapse = "\n"))
})

# Workers in containers on another machine, by the API there (`containers/` of the installed package, and `rust/containers`).

start_workers <- function(dispatcher, n = NULL, port = NULL, api = NULL, token = NULL, timeout = 120, verify = TRUE,
                          .compute = NULL, ...) {
  call <- sys.call()
  if (missing(dispatcher)) absent("dispatcher", call)
  pool <- pool_of_workers(port, .compute, call)
  arguments <- workers_arguments(pool, list(...), call)
  host <- workers_host(dispatcher, port, pool, call)
  if (!is.null(n)) n <- check_workers(n, call)
  service <- workers_api(api, token, timeout, verify, call)
  fields <- c(host, if (!is.null(n)) list(n = n), if (!is.null(pool)) workers_approach(pool, service, call),
              if (length(arguments)) list(arguments = arguments))
  reply <- ask_api(service, "POST", "/workers/start", fields, "started", call)
  started <- reply_names(reply, "started")
  if (length(started) || !length(reply$errors))
    message(sprintf("Started %d worker(s) -> %s:%d", length(started), host$dispatcher, host$port))
  tell_failures(reply, length(started), "started", service, call)
  invisible(started)
}

stop_workers <- function(dispatcher, port = NULL, api = NULL, token = NULL, timeout = 120, verify = TRUE, .compute = NULL) {
  call <- sys.call()
  if (missing(dispatcher)) absent("dispatcher", call)
  host <- workers_host(dispatcher, port, pool_of_workers(port, .compute, call), call)
  service <- workers_api(api, token, timeout, verify, call)
  reply <- ask_api(service, "POST", "/workers/stop", host, "workers", call)
  stopped <- reply_names(reply, "workers")
  if (length(stopped) || !length(reply$errors))
    message(sprintf("Stopped %d worker(s) -> %s:%d", length(stopped), host$dispatcher, host$port))
  tell_failures(reply, length(stopped), "stopped", service, call)
  invisible(stopped)
}

list_workers <- function(api = NULL, token = NULL, timeout = 120, verify = TRUE) {
  call <- sys.call()
  service <- workers_api(api, token, timeout, verify, call)
  workers <- ask_api(service, "GET", "/workers", NULL, "workers", call)$workers
  texts <- function(name) vapply(workers, function(worker) as.character(worker[[name]] %or% NA), "")
  data.frame(name = texts("name"), dispatcher = texts("dispatcher"), port = as.integer(texts("port")), state = texts("state"),
             status = texts("status"), id = texts("id"), stringsAsFactors = FALSE)
}

# ---- arguments

# Where workers reach this session, as the API takes it.
workers_host <- function(dispatcher, port, pool, call) {
  if (!is_string(dispatcher) || grepl("/", dispatcher, fixed = TRUE))
    abort(sprintf("`dispatcher` must be the address by which workers reach this session, such as \"192.0.2.4\", not `%s`.",
                  shown(dispatcher)), call)
  if (is.null(port)) port <- if (!is.null(pool)) pool_port(pool) else port_variable("MIRAI_PORT", 5555L, call)
  if (!is_count(port, 65535) || port < 1)
    abort(sprintf("`port` must be a whole number between 1 and 65535, not `%s`.", shown(port)), call)
  list(dispatcher = dispatcher, port = as.integer(port))
}

check_workers <- function(n, call) {
  if (!is_count(n)) abort(sprintf("`n` must be a number of workers, 0 or more, not `%s`.", shown(n)), call)
  as.integer(n)
}

port_variable <- function(name, default, call) {
  value <- Sys.getenv(name)
  if (!nzchar(value)) return(default)
  port <- if (grepl("^[0-9]{1,5}$", value)) as.integer(value) else 0L
  if (!is_count(port, 65535) || port < 1L)
    abort(sprintf("the environment variable %s must be a port, not `%s`.", name, shown(value)), call)
  port
}

# The API and how to talk to it. What is not given is in the environment.
workers_api <- function(api, token, timeout, verify, call) {
  if (is.function(token)) token <- token()
  if (!is.null(token) && !is_string(token)) abort("`token` must be a string, or a function that returns one.", call)
  if (!is_limit(timeout) || timeout == 0 || timeout > 86400)
    abort(sprintf("`timeout` must be a number of seconds, up to a day, not `%s`.", shown(timeout)), call)
  if (is.null(token)) token <- Sys.getenv("MIRAI_API_TOKEN")
  url <- workers_url(api, call)
  headers <- c(`Content-Type` = "application/json", Accept = "application/json",
               if (nzchar(token)) c(Authorization = paste("Bearer", token)))
  list(url = url, is_private = grepl(private_url, url), headers = headers, seconds = timeout, trust = check_trust(verify, call))
}

# What is sent there nobody else reads.
private_url <- "^https://|^http://(127\\.[0-9.]+|localhost|\\[::1\\])(:[0-9]+)?(/|$)"

workers_url <- function(api, call) {
  given <- !is.null(api)
  if (given && !is_string(api)) abort(sprintf("`api` must be the address of the API, not `%s`.", shown(api)), call)
  if (!given) api <- Sys.getenv("MIRAI_API_HOST")
  if (!nzchar(api))
    abort("it is not known where the API is: give `api`, or set the environment variable MIRAI_API_HOST to its machine.", call)
  if (grepl("^https?://[^/]*@", api))
    abort("`api` must not have a user or a password: what the API asks for is its token, `token`.", call)
  if (grepl("^https?://", api)) return(sub("/+$", "", api))
  if (grepl("[/@]", api)) abort(sprintf(
    "`api` must be a machine, with or without a port, or a URL with http:// or https://, not `%s`.", shown(api)
  ), call)
  has_port <- grepl("(^[^:]+|\\]):[0-9]+$", api)
  # An IPv6 address by itself.
  if (!has_port && grepl(":.*:", api) && !startsWith(api, "[")) api <- paste0("[", api, "]")
  paste0("http://", api, if (!has_port) paste0(":", port_variable("MIRAI_API_PORT", 8080L, call)))
}

# ---- requests

# The reply, a list that has `field`.
ask_api <- function(service, method, path, fields, field, call) {
  body <- if (!is.null(fields)) json_object(fields)
  url <- paste0(service$url, path)
  answer <- tryCatch(send_request(method, url, service$headers, body, service$seconds, service$trust), error = identity)
  if (inherits(answer, "error")) abort(unanswered(answer, service, method), call)
  reply <- tryCatch(read_json(answer$body), error = function(e) NULL)
  if (answer$status != 200L) abort(refused(answer, reply, service), call)
  if (!is.list(reply) || !field %in% names(reply))
    abort(sprintf("what answers at %s is not the API: %s", url, shown_text(answer$body)), call)
  reply
}

unanswered <- function(error, service, method) {
  if (!identical(error$code, 5L)) return(sprintf("the API at %s cannot be asked: %s", service$url, conditionMessage(error)))
  paste0(sprintf("the API at %s has not answered within %s seconds (%s).", service$url, format(service$seconds), conditionMessage(error)),
         if (method == "POST") paste(" What it was asked for may still happen, as when it has to pull the image first:",
                                     "see `list_workers()`, or give it a longer `timeout`."))
}

refused <- function(answer, reply, service) {
  said <- if (is.list(reply) && is_string(reply$error)) reply$error else shown_text(answer$body)
  paste0(sprintf("the API at %s has refused (status %d)", service$url, answer$status), if (nzchar(said)) ": ", said,
         if (answer$status == 401L) "\nGive `token`, or set the environment variable MIRAI_API_TOKEN.")
}

reply_names <- function(reply, field) vapply(reply[[field]], as.character, "")

# An error if nothing worked, else a warning; each reason once.
tell_failures <- function(reply, done, what, service, call) {
  errors <- vapply(reply$errors, as.character, "")
  if (!length(errors)) return()
  reasons <- vapply(split(names(errors), errors), function(names) {
    if (length(names) > 3L) names <- c(names[1:2], sprintf("%d more", length(names) - 2L))
    paste(names, collapse = ", ")
  }, "")
  text <- paste0(sprintf("%d of %d workers could not be %s by the API at %s.", length(errors), done + length(errors), what, service$url),
                 paste0("\n", reasons, ": ", names(reasons), collapse = ""))
  if (done) warn(text, call) else abort(text, call)
}

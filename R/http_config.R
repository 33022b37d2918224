# Daemons that a service starts, asked by HTTP: any service, and by default Posit Workbench.

# Nothing is evaluated here: functions are called at each launch, so that what they give is fresh.
http_config <- function(url = posit_workbench_url, method = "POST", headers = posit_workbench_headers,
                        data = posit_workbench_data, ..., cookie = NULL, token = NULL, verify = TRUE) {
  config <- list(type = "http", url = url, method = method, headers = headers, data = data, dots = list(...), cookie = cookie,
                 token = token, verify = verify)
  structure(config, class = "miraiHttpConfig")
}

print.miraiHttpConfig <- function(x, ...) {
  print(without_own_secrets(x), ...)
  invisible(x)
}

str.miraiHttpConfig <- function(object, ...) utils::str(without_own_secrets(object), ...)

# As it may be seen: what its names say is secret is not, nor are credentials in its texts, or functions, which may have some in their
# code.
without_own_secrets <- function(config) {
  hide <- function(x) {
    if (is.function(x)) return("<function>")
    if (is.list(x)) x[] <- lapply(x, hide)
    if (is.character(x)) x <- hide_credentials(x)
    if (length(x) && (is.list(x) || is.character(x)) && !is.null(names(x)))
      for (i in which(.Call(wrap__are_secret_names, names(x)))) if (is.character(x[[i]])) x[[i]][] <- "..."
    x
  }
  hide(unclass(config))
}

is_http <- function(remote) identical(remote$type, "http")

# Seconds for each request.
http_patience <- 5

# One request for each daemon, one after the other. The answers, in a list as launch_remote() returns it. Failures are warned
# of, or with `is_awaited` left to the caller, who waits by the ticket in the attribute.
launch_by_http <- function(remote, pool, n, arguments, call, is_awaited) {
  if (n == 0L) return(list())
  calls <- vapply(seq_len(n), function(i) pool_call(pool, arguments), "")
  trust <- check_trust(remote$verify, call)
  request <- http_request(remote, trust, call)
  secrets <- secret_values(request)
  answers <- lapply(calls, function(daemon) http_launch(request, daemon, trust))
  failed <- lapply(answers, `[[`, "failure")
  failed <- without_values(unlist(failed[!vapply(failed, is.null, NA)]), secrets)
  said <- Filter(function(answer) is.null(answer$failure), answers)
  said <- if (length(said)) said[[1L]]$response$data else ""
  said <- without_values(shown_text(said), secrets)
  ticket <- checked(.Call(wrap__follow_requests, pool$hub, n - length(failed), said, failed %or% character(),
                          request_line(request)), call)
  if (!is_awaited && length(failed))
    warn(sprintf("%d of %d daemons could not be launched.\n%s", length(failed), n, failed[1L]), call)
  structure(lapply(answers, `[[`, "response"), ticket = if (is_awaited) ticket)
}

`%or%` <- function(x, y) if (is.null(x)) y else x

# What all requests of a launch have in common.
http_request <- function(remote, trust, call) {
  # What functions of the package's own ask meanwhile goes to the same kind of server.
  old <- session$trust
  on.exit(session$trust <- old)
  session$trust <- trust
  url <- http_text(remote$url, "url", call)
  data <- if (is.function(remote$data)) do.call(remote$data, remote$dots) else remote$data
  if (!is.null(data) && (!is.character(data) || anyNA(data)))
    abort(sprintf("`data` must be text, not `%s`.", shown(data)), call)
  headers <- http_headers(if (is.function(remote$headers)) remote$headers() else remote$headers, call)
  cookie <- http_text(remote$cookie, "cookie", call, optional = TRUE)
  token <- http_text(remote$token, "token", call, optional = TRUE)
  list(
    url = url, method = http_text(remote$method, "method", call),
    headers = c(
      headers,
      if (!is.null(cookie)) c(Cookie = cookie),
      if (!is.null(token)) c(Authorization = paste("Bearer", token))
    ),
    data = if (length(data)) paste(data, collapse = "\n")
  )
}

http_text <- function(x, name, call, optional = FALSE) {
  if (is.function(x)) x <- x()
  if (optional && is.null(x)) return(NULL)
  if (!is_string(x)) abort(sprintf("`%s` must be a string, or a function that returns one, not `%s`.", name, shown(x)), call)
  x
}

http_headers <- function(x, call) {
  x <- unlist(x)
  if (is.null(x)) return(character())
  if (!is.character(x) || is.null(names(x)) || !all(nzchar(names(x))) || anyNA(x))
    abort(sprintf("`headers` must be a character vector with names, not `%s`.", shown(x)), call)
  x
}

# Whom to take for the server: as the system does, anyone, or by the certificates in a file.
check_trust <- function(verify, call) {
  if (is.null(verify)) return(TRUE)
  if (!is_string(verify)) return(check_flag(verify, "verify", call))
  if (!file.exists(verify))
    abort(sprintf("%s: there is no file \"%s\" of certificates, as `verify` has it.", coded(12L), verify), call)
  paste(readLines(verify, warn = FALSE), collapse = "\n")
}

# What a request shows to be let in, which the answer may quote.
secret_values <- function(request) {
  headers <- request$headers[.Call(wrap__are_secret_names, as.character(names(request$headers)))]
  unlist(c(headers, strsplit(headers, "[ =;]+")), use.names = FALSE)
}

# As users see it.
request_line <- function(request) printable(paste(request$method, request$url))

# The answer as launch_remote() has it, and why it is a failure if it is one.
http_launch <- function(request, daemon, trust) {
  where <- request_line(request)
  body <- request$data
  # In JSON a text within quotes.
  if (!is.null(body)) body <- gsub("%s", sub("^\"(.*)\"$", "\\1", quote_json(daemon)), body, fixed = TRUE)
  answer <- tryCatch(send_request(request$method, request$url, request$headers, body, http_patience, trust), error = identity)
  if (inherits(answer, "error")) {
    value <- error_value(answer$code %or% 1L)
    failure <- paste0(where, ": ", conditionMessage(answer))
    return(list(response = list(status = value, headers = value, data = value), failure = failure))
  }
  failure <- if (answer$status < 200L || answer$status > 299L)
    paste0(where, " was answered with status ", answer$status, if (nzchar(answer$body)) ": ", shown_text(answer$body))
  list(response = list(status = answer$status, headers = NULL, data = answer$body), failure = failure)
}

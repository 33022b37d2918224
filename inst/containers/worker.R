# What runs in the container of a worker: a daemon of the R session at MIRAI_HOST, port MIRAI_PORT. It keeps trying until that listens, ends
# with it, and on SIGTERM after its task. What tasks print is in the container's log. MIRAI_SCHEME is tcp, tls+tcp, ws or wss;
# MIRAI_CREDENTIALS what the session has its daemons show and trust, as a text in PEM format or the path of a file with it;
# MIRAI_ARGUMENTS further arguments of mirai::daemon(), such as `cleanup=FALSE,maxtasks=10`.

give_up <- function(...) {
  message("worker: ", ...)
  quit("no", status = 2L)
}

worker_url <- function() {
  host <- Sys.getenv("MIRAI_HOST")
  if (!nzchar(host))
    give_up("MIRAI_HOST is not set. It is the address of the machine with the R session, as in `docker run -e MIRAI_HOST=192.0.2.4 ...`.")
  port <- Sys.getenv("MIRAI_PORT")
  if (!nzchar(port)) port <- "5555"
  if (!grepl("^[0-9]{1,5}$", port) || as.integer(port) > 65535L || as.integer(port) < 1L) give_up("MIRAI_PORT must be a port, not `", port, "`.")
  # An IPv6 address.
  if (grepl(":", host, fixed = TRUE) && !startsWith(host, "[")) host <- paste0("[", host, "]")
  scheme <- Sys.getenv("MIRAI_SCHEME")
  if (!nzchar(scheme)) scheme <- "tcp"
  if (!scheme %in% c("tcp", "tls+tcp", "ws", "wss")) give_up("MIRAI_SCHEME must be tcp, tls+tcp, ws or wss, not `", scheme, "`.")
  paste0(scheme, "://", host, ":", port)
}

worker_credentials <- function() {
  given <- Sys.getenv("MIRAI_CREDENTIALS")
  # They are not for the processes that tasks start.
  Sys.unsetenv("MIRAI_CREDENTIALS")
  if (!nzchar(given)) NULL else if (grepl("-----BEGIN ", given, fixed = TRUE)) c(given, "") else given
}

# Those that are not given are of use to a worker: it waits for its host, ends its task before it leaves, and prints to the log.
worker_arguments <- function() {
  arguments <- list(asyncdial = TRUE, autoexit = NA, output = TRUE)
  known <- c("dispatcher", "asyncdial", "autoexit", "cleanup", "output", "maxtasks", "idletime", "walltime")
  for (given in strsplit(Sys.getenv("MIRAI_ARGUMENTS"), ",", fixed = TRUE)[[1L]]) {
    parts <- regmatches(given, regexec("^([a-z]+)=(TRUE|FALSE|NA|Inf|[0-9.]+(e[+-]?[0-9]+)?)$", given))[[1L]]
    if (!length(parts) || !parts[2L] %in% known)
      give_up("MIRAI_ARGUMENTS must be like `cleanup=FALSE,maxtasks=10`, with names among ", toString(known), ", and not have `", given, "`.")
    arguments[[parts[2L]]] <- if (parts[3L] %in% c("TRUE", "FALSE", "NA")) as.logical(parts[3L]) else as.numeric(parts[3L])
  }
  arguments
}

url <- worker_url()
arguments <- worker_arguments()
credentials <- worker_credentials()
message("worker: connecting to ", url)
code <- tryCatch(
  do.call(mirai::daemon, c(list(url, tlscert = credentials), arguments)),
  error = function(e) give_up(conditionMessage(e))
)
message("worker: ", mirai::nextcode(code))

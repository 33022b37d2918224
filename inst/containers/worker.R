# What runs in the container of a worker: a daemon of the R session at MIRAI_HOST, port MIRAI_PORT. It keeps trying until that listens, ends
# with it, and on SIGTERM after its task. What tasks print is in the container's log. MIRAI_SCHEME is tcp, tls+tcp, ws or wss;
# MIRAI_CREDENTIALS what the session has its daemons show and trust, as a text in PEM format or the path of a file with it.

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

url <- worker_url()
credentials <- worker_credentials()
message("worker: connecting to ", url)
code <- tryCatch(
  mirai::daemon(url, asyncdial = TRUE, autoexit = NA, output = TRUE, tlscert = credentials),
  error = function(e) give_up(conditionMessage(e))
)
message("worker: ", mirai::nextcode(code))

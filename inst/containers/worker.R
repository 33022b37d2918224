# What runs in the container of a worker: a daemon of the R session at MIRAI_HOST, port MIRAI_PORT. It keeps trying until that listens, ends
# with it, and on SIGTERM after its task. What tasks print is in the container's log.

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
  paste0("tcp://", host, ":", port)
}

url <- worker_url()
message("worker: connecting to ", url)
code <- tryCatch(mirai::daemon(url, asyncdial = TRUE, autoexit = NA, output = TRUE), error = function(e) give_up(conditionMessage(e)))
message("worker: ", mirai::nextcode(code))

# A server that starts daemons when asked to, and others that don't: `Rscript http.R <folder> <Rscript>`. The port is in the file
# `port` of the folder; each request is left there, as `request-<n>`.
arguments <- commandArgs(TRUE)
folder <- arguments[1L]
rscript <- arguments[2L]

open_socket <- function() {
  for (i in 1:200) {
    port <- 20000L + (Sys.getpid() * 7L + i * 131L) %% 40000L
    socket <- tryCatch(serverSocket(port), error = function(e) NULL, warning = function(w) NULL)
    if (!is.null(socket)) return(list(socket = socket, port = port))
  }
  stop("no port is free")
}

put <- function(text, name) {
  writeLines(text, file.path(folder, paste0(name, ".new")))
  invisible(file.rename(file.path(folder, paste0(name, ".new")), file.path(folder, name)))
}

read_request <- function(con) {
  lines <- character()
  while (length(line <- readLines(con, 1L)) && nzchar(line)) lines <- c(lines, line)
  length <- as.integer(sub(".*: *", "", grep("^content-length:", lines, ignore.case = TRUE, value = TRUE)))
  list(head = lines, body = if (length(length) && length > 0L) rawToChar(readBin(con, "raw", length)) else "")
}

answer <- function(con, status, body, more = NULL) {
  head <- c(sprintf("HTTP/1.1 %d Said", status), "Connection: close", more, paste("Content-Length:", nchar(body, "bytes")), "", "")
  writeBin(charToRaw(paste0(paste(head, collapse = "\r\n"), body)), con)
}

# The value of a text in the body, as far as JSON needs it here.
text_of <- function(body, pattern) {
  text <- regmatches(body, regexec(pattern, body))[[1L]][2L]
  eval(parse(text = paste0("\"", text, "\""), keep.source = FALSE))
}

start <- function(code) {
  if (file.exists(file.path(folder, "dry"))) return()
  system2(rscript, c("-e", shQuote(code)), wait = FALSE, stdout = FALSE, stderr = FALSE)
}

environments <- '{"result":{"clusters":[{"name":"Local","defaultImage":"img:1","resourceProfiles":[{"name":"small"},{"name":"big"}]},
  {"name":"Kubernetes","defaultImage":"img:2","resourceProfiles":[{"name":"tiny"}]}]}}'

header <- function(request, name) sub("^[^:]*: *", "", grep(paste0("^", name, ":"), request$head, ignore.case = TRUE, value = TRUE))

listening <- open_socket()
put(as.character(listening$port), "port")
silent <- list()
count <- 0L
repeat {
  con <- tryCatch(socketAccept(listening$socket, blocking = TRUE, open = "r+b", timeout = 600), error = function(e) quit("no"))
  request <- read_request(con)
  if (!length(request$head)) { close(con); next }
  count <- count + 1L
  put(c(request$head, "", request$body), paste0("request-", count))
  path <- sub("[?].*", "", strsplit(request$head[1L], " ")[[1L]][2L])
  allowed <- function() header(request, "cookie") %in% readLines(file.path(folder, "cookies"))
  switch(path,
    "/start" = { start(text_of(request$body, "\"run\":\"(.*)\"\\}$")); answer(con, 200L, "{\"started\":1}") },
    "/agree" = answer(con, 202L, "in a while"),
    "/refuse" = answer(con, 500L, "no room for another one"),
    "/echo" = answer(con, 400L, paste("this is no", request$body)),
    "/cut" = answer(con, 400L, paste("this is no", substr(request$body, 1L, nchar(request$body) - 60L))),
    "/headers" = answer(con, 400L, paste("you have said", paste(sub("^[^:]*:", "", request$head), collapse = " and "))),
    "/escape" = answer(con, 500L, "\033[2J\033]0;mine\007no room\r\n"),
    "/every-other" = if (count %% 2L) answer(con, 200L, "yes") else answer(con, 503L, "not now"),
    "/elsewhere" = answer(con, 302L, "", "Location: /start"),
    "/silent" = , "/silent/workers" = , "/silent/workers/start" = { silent[[count]] <- con; next },
    # What the test has left to be said: the status, and the body.
    "/workers" = , "/workers/start" = , "/workers/stop" = {
      said <- readLines(file.path(folder, "reply"))
      answer(con, as.integer(said[1L]), paste(said[-1L], collapse = "\n"))
    },
    "/apis/batch/v1/namespaces/team/jobs" = if (identical(header(request, "authorization"), "Bearer of-the-account")) {
      start(text_of(request$body, "\"command\": \\[\"Rscript\", \"-e\", \"(.*?[^\\\\])\"\\]"))
      answer(con, 201L, "{\"kind\":\"Job\",\"metadata\":{\"name\":\"mirai-x7\"}}")
    } else answer(con, 403L, "{\"kind\":\"Status\",\"reason\":\"Forbidden\"}"),
    "/api/get_compute_envs" = if (allowed()) answer(con, 200L, environments) else answer(con, 401L, "who are you?"),
    "/api/launch_job" = if (allowed()) {
      start(text_of(request$body, "\"args\":\\[\"-e\",\"(.*?[^\\\\])\"\\]"))
      answer(con, 200L, "{\"result\":{\"id\":\"job-1\"}}")
    } else answer(con, 401L, "who are you?"),
    answer(con, 404L, "nothing here")
  )
  close(con)
}

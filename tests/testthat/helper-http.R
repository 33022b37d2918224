# HTTP with base R's sockets: a request is on its way when http_ask() returns, and http_answer() waits for what it says.

http_ask <- function(port, method, path, body = NULL) {
  body <- if (!is.null(body)) charToRaw(enc2utf8(jsonlite::toJSON(body, auto_unbox = TRUE)))
  con <- socketConnection("127.0.0.1", port, open = "r+b", blocking = TRUE, timeout = 60)
  head <- c(
    paste(method, path, "HTTP/1.1"), paste0("Host: 127.0.0.1:", port), "Connection: close",
    "Content-Type: application/json; charset=utf-8", paste("Content-Length:", length(body)), "", ""
  )
  writeBin(c(charToRaw(paste(head, collapse = "\r\n")), body), con)
  con
}

# The status and the JSON of an answer, whose connection ends; NULL if none came.
http_answer <- function(con) {
  on.exit(close(con))
  status <- size <- NULL
  while (length(line <- readLines(con, 1L)) && nzchar(line)) {
    if (is.null(status)) status <- as.integer(strsplit(line, " ")[[1L]][2L])
    if (grepl("^content-length:", line, ignore.case = TRUE)) size <- as.integer(sub(".*: *", "", line))
  }
  if (is.null(size)) return(NULL)
  body <- raw()
  while (length(body) < size && length(part <- readBin(con, "raw", size - length(body)))) body <- c(body, part)
  list(status = status, json = jsonlite::fromJSON(rawToChar(body), simplifyVector = FALSE))
}

# A server as `servers/http.R` has it: its URL, and the requests that it has had. Until the end of the test, or with `frame = NULL`
# until the caller ends it. `starts(FALSE)` has it start nothing more.
http_server <- function(frame = parent.frame()) {
  folder <- tempfile("http")
  dir.create(folder)
  writeLines("good", file.path(folder, "cookies"))
  script <- readLines(file.path(servers, "http.R"))
  script[grepl("^arguments <- ", script)] <- sprintf("arguments <- c(%s, %s)", deparse(folder), deparse(rscript))
  process <- spawn(script, frame = frame)
  await(file.exists(file.path(folder, "port")))
  url <- paste0("http://127.0.0.1:", readLines(file.path(folder, "port")))
  dry <- file.path(folder, "dry")
  starts <- function(does) if (does) unlink(dry) else file.create(dry)
  list(url = url, pid = process$pid, folder = folder, starts = starts, requests = function() {
    files <- list.files(folder, "^request-[0-9]+$")
    lapply(file.path(folder, files[order(as.integer(sub("request-", "", files)))]), readLines)
  })
}

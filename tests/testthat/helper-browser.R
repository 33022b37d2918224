# A headless Chromium, driven by chromedriver through the WebDriver protocol (https://www.w3.org/TR/webdriver2/).

chromium <- function() {
  found <- Sys.which(c("chromium", "chromium-browser", "google-chrome"))
  unname(found[nzchar(found)][1L])
}

skip_without_browser <- function() {
  if (is.na(chromium()) || !nzchar(Sys.which("chromedriver"))) testthat::skip("Chromium or chromedriver is not installed")
  testthat::skip_if_not_installed("jsonlite")
}

# A browser until the end of the test: a list of functions.
local_browser <- function(frame = parent.frame()) {
  driver <- local_driver(frame)
  profile <- tempfile("chromium")
  arguments <- c(
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=900,600",
    paste0("--user-data-dir=", profile)
  )
  options <- list(binary = chromium(), args = as.list(arguments))
  session <- driver("POST", "/session", list(capabilities = list(alwaysMatch = list(`goog:chromeOptions` = options))))
  at <- function(...) paste0("/session/", session$sessionId, ...)
  end <- function() tryCatch(driver("DELETE", at()), invalid_session_id = function(e) NULL)
  defer({
    end()
    unlink(profile, recursive = TRUE)
  }, frame)
  element <- function(id) {
    found <- driver("POST", at("/element"), list(using = "css selector", value = paste0("#", id)))
    at("/element/", found[[1L]])
  }
  list(
    end = end,
    open = function(url) driver("POST", at("/url"), list(url = url)),
    # A further window, which is the one in use from then on; its handle.
    new_window = function() {
      handle <- driver("POST", at("/window/new"), list(type = "tab"))$handle
      driver("POST", at("/window"), list(handle = handle))
      handle
    },
    use_window = function(handle) driver("POST", at("/window"), list(handle = handle)),
    # Afterwards none is in use.
    close_window = function() driver("DELETE", at("/window")),
    # Of elements that are still to appear, it is empty.
    text = function(id) tryCatch(driver("GET", paste0(element(id), "/text")), no_such_element = function(e) ""),
    # What an element looks like.
    classes = function(id) strsplit(driver("GET", paste0(element(id), "/attribute/class")), " ")[[1L]],
    type = function(id, text) {
      at <- element(id)
      driver("POST", paste0(at, "/clear"), no_fields)
      driver("POST", paste0(at, "/value"), list(text = text))
    },
    click = function(id) driver("POST", paste0(element(id), "/click"), no_fields),
    screenshot = function(path) writeBin(jsonlite::base64_dec(driver("GET", at("/screenshot"))), path)
  )
}

no_fields <- structure(list(), names = character())

# chromedriver until the end of the test: a function that sends it a command.
local_driver <- function(frame) {
  log <- tempfile("chromedriver")
  pid_file <- tempfile("pid")
  script <- sprintf("echo $$ >%s.new; mv %s.new %s; exec chromedriver --port=0 >%s 2>&1", pid_file, pid_file, pid_file, log)
  system2("sh", c("-c", shQuote(script)), wait = FALSE)
  await(file.exists(pid_file))
  pid <- as.integer(readLines(pid_file))
  defer(tools::pskill(pid), frame)
  said <- function() grep("started successfully on port", if (file.exists(log)) readLines(log, warn = FALSE), value = TRUE)
  await(length(said()) > 0L || !alive(pid))
  if (!length(said())) stop("chromedriver: ", paste(readLines(log, warn = FALSE), collapse = "\n"))
  port <- as.integer(sub(".*on port ([0-9]+).*", "\\1", said()))
  function(method, path, body = NULL) webdriver(port, method, path, body)
}

# Sends a command and returns its value. Errors have the class of WebDriver's name for them.
webdriver <- function(port, method, path, body) {
  answer <- http_answer(http_ask(port, method, path, body))
  if (is.null(answer)) stop("chromedriver gave no answer to ", method, " ", path)
  value <- answer$json$value
  if (!is.list(value) || is.null(value[["error"]])) return(value)
  class <- gsub(" ", "_", value$error)
  stop(structure(list(message = paste(value$error, value$message, sep = ": "), call = NULL), class = c(class, "error", "condition")))
}

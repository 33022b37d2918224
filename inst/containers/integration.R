# Do workers in containers work, from the R session that is to use them? Set what follows, then: Rscript integration.R

settings <- list(
  # The machine with the API, and its port and token, if it asks for one.
  api = Sys.getenv("MIRAI_API_HOST", "192.0.2.66"),
  api_port = Sys.getenv("MIRAI_API_PORT", "8080"),
  api_token = Sys.getenv("MIRAI_API_TOKEN"),
  # This machine, by the address that workers reach, and the port to listen at.
  dispatcher = Sys.getenv("MIRAI_HOST", "192.0.2.4"),
  port = as.integer(Sys.getenv("MIRAI_PORT", "5555")),
  # What session and workers show to each other, if the API has given them that.
  token = Sys.getenv("MIRAI_TOKEN"),
  # The third check takes four.
  workers = 4L,
  # Seconds for workers to come, which may include the pull of their image.
  patience = 300
)

library(mirai)

failures <- 0L
check <- function(what, passed, shown = NULL) {
  if (!isTRUE(passed)) failures <<- failures + 1L
  cat(if (isTRUE(passed)) "ok     " else "FAILED ", what, if (!isTRUE(passed)) paste0(": ", paste(format(shown), collapse = ", ")), "\n", sep = "")
}

come <- function(n) {
  end <- Sys.time() + settings$patience
  while (info()[["connections"]] < n) {
    if (Sys.time() > end) stop(sprintf("%d of %d workers have come: see the logs of their containers", info()[["connections"]], n))
    Sys.sleep(0.1)
  }
}

Sys.setenv(MIRAI_API_HOST = settings$api, MIRAI_API_PORT = settings$api_port, MIRAI_API_TOKEN = settings$api_token,
           MIRAI_TOKEN = settings$token)
daemons(url = sprintf("tcp://:%d", settings$port), token = nzchar(settings$token))

tryCatch({
  start_workers(settings$dispatcher, settings$workers, settings$port, timeout = settings$patience)
  come(settings$workers)

  hosts <- unlist(everywhere(Sys.info()[["nodename"]])[])
  cat("       workers:", hosts, "\n")
  check("each worker has a host name of its own", length(unique(hosts)) == settings$workers, hosts)

  squares <- mirai_map(1:20, function(x) x^2)[.flat]
  check("20 tasks", identical(as.numeric(squares), (1:20)^2), squares)

  begun <- Sys.time()
  mirai_map(1:4, function(i) Sys.sleep(1))[]
  seconds <- as.numeric(Sys.time() - begun, units = "secs")
  check("four sleeps of 1 s take less than two together", seconds < 2, seconds)

  failed <- mirai(stop("on purpose"))[]
  there <- unlist(everywhere(Sys.info()[["nodename"]])[])
  check("workers survive an error of a task", is_mirai_error(failed) && setequal(there, hosts), c(failed, there))
}, finally = {
  daemons(0)
  stop_workers(settings$dispatcher, settings$port)
})

cat(sprintf("%d of 4 checks passed\n", 4L - failures))
if (!interactive()) quit("no", status = as.integer(failures > 0L))

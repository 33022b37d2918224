# Random daemons are killed while tasks with retries run: is every task done, none twice without cause, the pool whole at the end,
# and the memory of this session steady? `Rscript benches/deaths.R [minutes] [milliseconds between kills] [daemons]`, by default
# 10, 50 and 8.

library(mirai)

arguments <- as.numeric(commandArgs(TRUE))
setting <- function(i, default) if (length(arguments) >= i) arguments[i] else default
minutes <- setting(1, 10)
pause <- setting(2, 50) / 1000
n <- setting(3, 8)

megabytes <- function() {
  line <- grep("^VmRSS:", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1000
}

# A task notes each of its attempts, as it begins, by one write that others' cannot come between.
task <- function(i, notes) {
  cat(sprintf("%d %d\n", i, mirai::task_attempt()), file = notes, append = TRUE)
  Sys.sleep(0.02)
  i
}

notes <- tempfile()
told <- c(died = 0, other = 0)
count_warning <- function(w) {
  number <- sub("^mirai: ([0-9]+|a) daemons? ha(s|ve) died.*", "\\1", conditionMessage(w))
  kind <- if (number == conditionMessage(w)) "other" else "died"
  told[[kind]] <<- told[[kind]] + if (kind == "died" && number != "a") as.integer(number) else 1L
  if (kind == "other") cat("told: ", conditionMessage(w), "\n", sep = "")
  invokeRestart("muffleWarning")
}

daemons(n)
killed <- rounds <- lost <- twice <- 0
first <- NULL
end <- Sys.time() + 60 * minutes
report <- Sys.time()
withCallingHandlers(while (Sys.time() < end) {
  rounds <- rounds + 1
  before <- killed
  file.create(notes)
  x <- mirai_map(1:200, task, .args = list(notes = notes), .retries = 1000)
  while (unresolved(x)) {
    pids <- status()$workers$pid
    if (length(pids) && tools::pskill(pids[sample.int(length(pids), 1L)], tools::SIGKILL)) killed <- killed + 1
    Sys.sleep(pause)
  }
  values <- x[]
  lost <- lost + sum(!mapply(identical, values, 1:200))
  # A second attempt has a number of its own, so that one with the same number would be a task that was run again without a death;
  # and there are no more attempts than tasks and deaths. A daemon may have died before it came to note its attempt.
  attempts <- utils::read.table(notes)
  deaths <- killed - before
  twice <- twice + sum(duplicated(attempts)) + max(0, nrow(attempts) - 200 - deaths)
  if (is.null(first) && rounds >= 20) first <- megabytes()
  if (Sys.time() >= report) {
    cat(sprintf("%s: %d rounds, %d killed, %d lost, %d twice, %.0f MB\n", format(Sys.time(), "%H:%M:%S"), rounds, killed, lost, twice,
                megabytes()))
    report <- Sys.time() + 30
  }
}, warning = count_warning)

deadline <- Sys.time() + 30
withCallingHandlers(while (info()[["connections"]] != n && Sys.time() < deadline) Sys.sleep(0.05), warning = count_warning)
whole <- info()[["connections"]]
last <- megabytes()
cat(sprintf("%d tasks in %d rounds, %d kills: %d tasks lost, %d run twice without cause\n", 200 * rounds, rounds, killed, lost, twice))
cat(sprintf("%d of %d daemons at the end, %d started in all; told of %d deaths, and of %d other things\n", whole, n,
            info()[["cumulative"]], told[["died"]], told[["other"]]))
cat(sprintf("memory: %.0f MB, and %.0f after 20 rounds\n", last, if (is.null(first)) NA else first))
daemons(0)
quit("no", status = if (lost || twice || whole != n) 1L else 0L)

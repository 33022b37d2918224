# Several hosts, as far as network namespaces are hosts.

skip_within_check()

# What daemons of the pool show, in a file.
credentials <- function(.compute) {
  file <- tempfile()
  writeLines(nextget("tls", .compute)[1L], file)
  file
}

# A daemon of the pool on that machine.
daemon_at <- function(machine, .compute, frame = parent.frame()) {
  spawn(sprintf("mirai::daemon('%s', asyncdial = TRUE, tlscert = '%s')", nextget("url", .compute), credentials(.compute)),
        within = machine$within, frame = frame)
}

test_that("with 30 daemons on three hosts, of which one disappears, every task comes to its end", {
  frame <- environment()
  hosts <- lapply(1:3, function(i) other_machine(frame))
  before <- options(mirai.grace = 2, mirai.silence = 5, mirai.open = TRUE)
  defer(options(before))
  local_pool(url = "tcp://0.0.0.0:0", token = TRUE)
  port <- sub(".*:", "", nextget("url"))
  certificates <- tempfile()
  writeLines(nextget("tls")[1L], certificates)
  for (host in hosts) {
    call <- sprintf("mirai::daemon('tcp://%s:%s', tlscert = '%s')", host$address, port, certificates)
    command <- sprintf("for i in 1 2 3 4 5 6 7 8 9 10; do %s -e \"%s\" & done", shQuote(rscript), call)
    system2(host$within[1L], c(host$within[-1L], "sh", "-c", shQuote(command)), stdout = FALSE, stderr = FALSE, wait = FALSE,
            env = child_env())
  }
  await(info()[["connections"]] == 30L, 120)
  if (!hosts[[1L]]$narrow()) message("the line of one host is not narrowed, for want of tc or its tbf")
  x <- mirai_map(1:600, function(i) {
    Sys.sleep(0.02)
    c(i, numeric(2000))
  })
  await(info()[["completed"]] > 100L)
  hosts[[3L]]$cut()
  await(!any(vapply(x, unresolved, NA)), 120)
  values <- lapply(x, function(m) m$data)
  lost <- vapply(values, is_error_value, NA)
  expect_lte(sum(lost), 10L)
  for (value in values[lost]) expect_code(value, 19L)
  expect_identical(lapply(values[!lost], `[`, 1L), as.list(as.numeric(which(!lost))))
  await(nrow(status()$workers) == 20L)
  expect_identical(info()[["cumulative"]], 30L)
  # Those that are cut off do not come back as others.
  hosts[[3L]]$mend()
  daemons(0)
})

test_that("where packets are lost at random, and the line breaks besides, every task is evaluated once", {
  machine <- other_machine()
  skip_if(Sys.which("nft") == "", "needs the program nft")
  before <- options(mirai.grace = 600, mirai.silence = 10)
  defer(options(before))
  ledger <- tempfile("ledger")
  dir.create(ledger)
  skip_if_not(machine$lose(5L), "nft does not drop packets at random here")
  schemes <- c("tcp", "tls+tcp", "ws", "wss")
  for (scheme in schemes) {
    local_pool(url = sprintf("%s://%s:0", scheme, machine$address), token = TRUE, .compute = scheme)
    daemon_at(machine, scheme)
  }
  for (scheme in schemes) await(info(scheme)[["connections"]] == 1L, 120)
  work <- function(scheme) mirai_map(1:40, function(i, ledger, scheme) {
    # Each evaluation leaves a mark.
    cat("x", file = file.path(ledger, paste(scheme, i, sep = ".")), append = TRUE)
    c(i, numeric(5000))
  }, .args = list(ledger = ledger, scheme = scheme), .compute = scheme)
  maps <- lapply(schemes, work)
  await(all(vapply(schemes, function(scheme) info(scheme)[["completed"]] > 3L, NA)), 120)
  machine$cut()
  for (scheme in schemes) await(info(scheme)[["connections"]] == 0L || info(scheme)[["completed"]] == 40L, 120)
  machine$mend()
  for (map in maps) {
    await(!any(vapply(map, unresolved, NA)), 240)
    expect_identical(lapply(map, function(m) m$data[1L]), as.list(as.numeric(1:40)))
  }
  marks <- list.files(ledger, full.names = TRUE)
  expect_length(marks, 40L * length(schemes))
  expect_true(all(file.size(marks) == 1))
  for (scheme in schemes) expect_identical(info(scheme)[["cumulative"]], 1L)
  expect_true(machine$lose_nothing())
})

test_that("hosts that know each other by IPv6 only serve as others do", {
  machine <- other_machine()
  skip_if(is.null(machine$address6), "no IPv6 here")
  before <- options(mirai.grace = 600, mirai.silence = 5)
  defer(options(before))
  schemes <- c("tcp", "tls+tcp", "ws", "wss")
  for (scheme in schemes) {
    local_pool(url = sprintf("%s://[%s]:0", scheme, machine$address6), token = TRUE, .compute = scheme)
    expect_match(nextget("url", scheme), sprintf("^[a-z+]+://\\[%s\\]:[1-9][0-9]*$", machine$address6))
    daemon_at(machine, scheme)
  }
  for (scheme in schemes) {
    expect_identical(value(mirai(length(x), x = raw(1e6), .compute = scheme)), 1000000L)
    expect_match(status(scheme)$workers$address, "^\\[fd00:213::[0-9a-f]+:2\\]:[0-9]+$")
  }
  gate <- tempfile()
  tasks <- lapply(schemes, function(scheme) mirai({
    while (!file.exists(gate)) Sys.sleep(0.01)
    gate
  }, gate = gate, .compute = scheme))
  for (scheme in schemes) await(status(scheme)$workers$state == "busy")
  machine$cut()
  for (scheme in schemes) await(status(scheme)$workers$state == "away", 120)
  file.create(gate)
  expect_true(machine$mend())
  for (task in tasks) {
    await(!unresolved(task), 120)
    expect_identical(task$data, gate)
  }
  for (scheme in schemes) expect_identical(info(scheme)[["cumulative"]], 1L)
})

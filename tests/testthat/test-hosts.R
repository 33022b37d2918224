# Several hosts, as far as network namespaces are hosts.

skip_within_check()

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

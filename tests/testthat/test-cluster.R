# A cluster until the end of the test.
local_cluster <- function(..., frame = parent.frame()) {
  cl <- make_cluster(...)
  defer(stop_cluster(cl), frame)
  cl
}

profile <- function(cl) attr(cl, "id")

pids <- function(cl) unlist(parallel::clusterCall(cl, Sys.getpid))

# Ends a node's process, and waits until its cluster knows.
kill_node <- function(cl, i) {
  left <- status(cl)$connections - 1L
  pid <- pids(cl[i])
  tools::pskill(pid, tools::SIGKILL)
  await(status(cl)$connections == left)
  pid
}

test_that("make_cluster(n) makes a cluster of n connected nodes", {
  shown <- withVisible(make_cluster(2))
  expect_true(shown$visible)
  cl <- shown$value
  defer(stop_cluster(cl))
  expect_s3_class(cl, c("miraiCluster", "cluster"), exact = TRUE)
  expect_type(unclass(cl), "list")
  expect_length(cl, 2L)
  expect_null(names(cl))
  expect_match(profile(cl), "^`[0-9]+`$")
  expect_identical(status(cl)$connections, 2L)
  node <- cl[[2]]
  expect_s3_class(node, "miraiNode", exact = TRUE)
  expect_type(node, "environment")
  expect_identical(attr(node, "node"), 2L)
  expect_identical(attr(node, "id"), profile(cl))
})

test_that("each cluster has an id of its own, which is that of its profile", {
  first <- make_cluster(1)
  stop_cluster(first)
  cl <- local_cluster(1)
  number <- function(cl) as.integer(gsub("`", "", profile(cl)))
  expect_gt(number(cl), number(first))
  expect_true(daemons_set(profile(cl)))
  expect_identical(info(profile(cl))[["connections"]], 1L)
  expect_identical(nextget("url", .compute = profile(cl)), status(cl)$daemons)
  expect_identical(mirai(Sys.getpid(), .compute = profile(cl))[], pids(cl))
  expect_identical(info(cl), info(profile(cl)))
})

test_that("clusters and nodes are printed", {
  cl <- local_cluster(2)
  id <- profile(cl)
  expect_identical(printed(cl), sprintf("< miraiCluster | ID: %s nodes: 2 active: TRUE connections: 2 >", id))
  expect_identical(printed(cl[[1]]), sprintf("< miraiNode | node: 1 cluster ID: %s >", id))
  utils::capture.output(returned <- withVisible(print(cl)))
  expect_identical(returned, list(value = cl, visible = FALSE))
  kill_node(cl, 2)
  expect_identical(printed(cl), sprintf("< miraiCluster | ID: %s nodes: 2 active: TRUE connections: 1 >", id))
  stop_cluster(cl)
  expect_identical(printed(cl), sprintf("< miraiCluster | ID: %s nodes: 2 active: FALSE >", id))
})

test_that("wrong arguments are errors of the user's call", {
  expect_error(make_cluster(), "argument \"n\" is missing, with no default", fixed = TRUE)
  for (bad in list("a", TRUE, NULL)) expect_refused(make_cluster(bad), "`n` must be numeric, did you mean to provide `url`?", "make_cluster")
  for (bad in list(0, -1, 0.5)) expect_refused(make_cluster(bad), "`n` must be 1 or greater", "make_cluster")
  expect_refused(make_cluster(1, seed = "a"), "`seed` must be", "make_cluster")
  expect_refused(make_cluster(url = 5), "`url` must be of type character, not double", "make_cluster")
  for (own in c("dispatcher", "sync", ".compute"))
    expect_refused(do.call("make_cluster", c(list(1), structure(list(TRUE), names = own))), sprintf("`%s` cannot be chosen", own), "make_cluster")
  expect_refused(stop_cluster(list()), "`cl` must be a cluster", "stop_cluster")
})

test_that("inside a map there are no local clusters", {
  local_pool(1)
  value <- mirai_map(1, function(x) tryCatch(mirai::make_cluster(1), error = conditionMessage))[[1]][]
  expect_identical(value, "cannot create local daemons from within mirai map")
})

test_that("a stopped cluster says so, and may be stopped again", {
  cl <- make_cluster(1)
  pid <- pids(cl)
  expect_invisible(expect_null(stop_cluster(cl)))
  expect_null(stop_cluster(cl))
  expect_invisible(expect_null(parallel::stopCluster(cl)))
  await(!alive(pid))
  for (f in list(parallel::clusterApply, parallel::parLapply, parallel::clusterApplyLB, parallel::parSapplyLB))
    expect_error(f(cl, 1:2, identity), "^cluster is no longer active$")
  expect_error(parallel::clusterCall(cl, identity, 1), "^cluster is no longer active$")
  expect_error(parallel::clusterEvalQ(cl, 1), "^cluster is no longer active$")
  expect_error(parallel::clusterMap(cl, identity, 1:2), "^cluster is no longer active$")
  expect_error(parallel::clusterExport(cl, "pid", environment()), "^cluster is no longer active$")
  expect_error(parallel::clusterSetRNGStream(cl, 1), "^cluster is no longer active$")
  expect_identical(status(cl), list(connections = 0L, daemons = 0L))
  expect_null(info(cl))
  expect_refused(launch_local(1, .compute = cl), "daemons must be set to use this function", "launch_local")
})

test_that("parallel's stopCluster() ends the workers", {
  cl <- make_cluster(2)
  first <- pids(cl)
  expect_invisible(expect_null(parallel::stopCluster(cl)))
  expect_true(await(!any(vapply(first, alive, NA))))
  expect_false(daemons_set(profile(cl)))
})

test_that("a pool that takes the cluster's place is not the cluster", {
  cl <- local_cluster(1)
  daemons(1, .compute = profile(cl))
  expect_match(printed(cl), "active: FALSE >", fixed = TRUE)
  expect_error(parallel::clusterCall(cl, identity, 1), "^cluster is no longer active$")
})

test_that("parallel's functions give what they give on sockets", {
  cl <- local_cluster(2)
  sockets <- parallel::makePSOCKcluster(2)
  defer(parallel::stopCluster(sockets))
  same <- function(f) expect_identical(f(cl), f(sockets))
  shape <- matrix(1:12, 3, dimnames = list(letters[1:3], NULL))
  named <- c(a = 1, b = 2, c = 3)
  add <- function(x, y = 0) x + y
  environment(add) <- globalenv()
  called <- function(...) list(sys.call(), match.call(expand.dots = FALSE), substitute(list(...)))
  environment(called) <- globalenv()
  same(function(cl) parallel::clusterCall(cl, add, 1, y = 2))
  same(function(cl) parallel::clusterCall(cl, called, 1, a = quote(x + y), as.name("b")))
  same(function(cl) parallel::clusterCall(cl, "paste", "a", "b", sep = "-"))
  same(function(cl) parallel::clusterCall(cl, function() ls(parent.frame())[0]))
  same(function(cl) parallel::clusterEvalQ(cl, 1 + 1))
  same(function(cl) parallel::clusterApply(cl, 1:7, add, 10))
  same(function(cl) parallel::clusterApply(cl, named, add))
  same(function(cl) parallel::clusterApply(cl, list(), add))
  same(function(cl) parallel::clusterApplyLB(cl, 1:7, add, y = 10))
  same(function(cl) parallel::clusterApplyLB(cl, 1, add))
  for (scheduling in c("static", "dynamic"))
    same(function(cl) parallel::clusterMap(cl, function(x, y, k) x + y + k, named, 4:6, MoreArgs = list(k = 1), .scheduling = scheduling))
  same(function(cl) parallel::clusterSplit(cl, 1:7))
  same(function(cl) parallel::parLapply(cl, named, add, y = 1))
  same(function(cl) parallel::parLapply(cl, 1:9, add, chunk.size = 2))
  same(function(cl) parallel::parLapplyLB(cl, named, add, y = 1))
  same(function(cl) parallel::parSapply(cl, c("x", "y"), nchar))
  same(function(cl) parallel::parSapplyLB(cl, 1:9, function(i) c(i, i^2)))
  same(function(cl) parallel::parApply(cl, shape, 1, sum))
  same(function(cl) parallel::parApply(cl, shape, c(1, 2), sqrt))
  same(function(cl) parallel::parRapply(cl, shape, sum))
  same(function(cl) parallel::parCapply(cl, shape, sum))
  same(function(cl) parallel::clusterApply(cl[2:1], 1:3, add))
})

test_that("numbers of nodes and tasks need not fit, and elements may be NULL", {
  cl <- local_cluster(3)
  sockets <- parallel::makePSOCKcluster(3)
  defer(parallel::stopCluster(sockets))
  same <- function(f) expect_identical(f(cl), f(sockets))
  gaps <- list(a = NULL, b = 1, c = NULL, d = 4)
  echo <- function(x) x
  environment(echo) <- globalenv()
  same(function(cl) parallel::clusterApply(cl, 1:2, echo))
  same(function(cl) parallel::clusterApply(cl, gaps, echo))
  same(function(cl) parallel::clusterApplyLB(cl, gaps, echo))
  same(function(cl) parallel::parLapply(cl, gaps, echo))
  same(function(cl) parallel::parLapplyLB(cl, 1:10, echo, chunk.size = 3))
  same(function(cl) parallel::parLapply(cl, list(), echo))
  same(function(cl) parallel::parLapply(cl, data.frame(a = 1:2, b = 3:4), sum))
  same(function(cl) parallel::clusterApply(cl, NULL, echo))
  same(function(cl) parallel::clusterApplyLB(cl, NULL, echo))
  same(function(cl) parallel::clusterMap(cl, echo, integer()))
  same(function(cl) parallel::clusterMap(cl, `+`, 1:4, 1:2))
  same(function(cl) parallel::clusterMap(cl, paste, c(a = "p", b = "q"), "z", SIMPLIFY = TRUE))
  same(function(cl) parallel::clusterMap(cl, echo, c("u", "v"), .scheduling = "dynamic"))
  same(function(cl) parallel::clusterCall(cl, function() NULL))
  same(function(cl) parallel::clusterCall(cl, function() invisible(3)))
  same(function(cl) parallel::clusterCall(cl, function() try(log("a"), silent = TRUE)[0]))
  same(function(cl) parallel::parSapply(cl, integer(), echo))
  same(function(cl) parallel::parSapply(cl, c(a = 1, b = 2), function(x) c(u = x, v = -x)))
  same(function(cl) parallel::parSapply(cl, c("a", "b"), nchar, simplify = FALSE, USE.NAMES = FALSE))
  same(function(cl) parallel::parApply(cl, matrix(integer(), 0, 3), 1, echo))
  same(function(cl) parallel::parRapply(cl, matrix(1:6, 2, dimnames = list(c("a", "b"), NULL)), range))
  same(function(cl) parallel::parCapply(cl, matrix(1:4, 2, dimnames = list(NULL, c("a", "b"))), range))
  same(function(cl) parallel::clusterSplit(cl, 1:2))
  same(function(cl) parallel::clusterExport(cl, "gaps", environment()))
  same(function(cl) parallel::clusterEvalQ(cl, gaps))
  same(function(cl) tryCatch(parallel::clusterExport(cl, "nothing_of_that_name"), error = conditionMessage))
  same(function(cl) parallel::clusterCall(cl, function() search()))
  same(function(cl) parallel::clusterApply(cl[c(TRUE, FALSE, TRUE)], 1:5, echo))
  same(function(cl) length(cl[integer()]))
})

test_that("a node may be in a cluster more than once", {
  cl <- local_cluster(2)
  expect_identical(parallel::clusterApplyLB(cl[c(1, 1)], 1:4, identity), as.list(1:4))
  expect_identical(parallel::parLapplyLB(cl[c(1, 2, 1)], 1:7, identity, chunk.size = 1), as.list(1:7))
})

test_that("a registered cluster serves calls without one", {
  cl <- make_cluster(2)
  defer(stop_cluster(cl))
  parallel::setDefaultCluster(cl)
  defer(parallel::setDefaultCluster(NULL))
  expect_identical(parallel::parSapply(NULL, 1:4, sqrt), sqrt(1:4))
  expect_identical(parallel::clusterApplyLB(x = 1:3, fun = identity), list(1L, 2L, 3L))
  parallel::stopCluster(cl)
  expect_false(daemons_set(profile(cl)))
  expect_error(parallel::clusterCall(NULL, identity, 1), "no cluster")
})

test_that("workers keep their state, and mirai leaves nothing in it", {
  cl <- local_cluster(2)
  expect_identical(parallel::clusterEvalQ(cl, ls()), list(character(), character()))
  shared <- c(1, 2)
  parallel::clusterExport(cl, "shared", envir = environment())
  parallel::clusterEvalQ(cl, {
    y <- 1
    options(cluster.test = 5)
    library(splines)
  })
  kept <- parallel::clusterEvalQ(cl, list(ls(), shared + y, getOption("cluster.test"), "package:splines" %in% search()))
  expect_identical(kept, rep(list(list(c("shared", "y"), c(2, 3), 5, TRUE)), 2))
})

test_that("clean-up is the user's choice", {
  cl <- local_cluster(1, cleanup = TRUE)
  parallel::clusterEvalQ(cl, y <- 1)
  expect_identical(parallel::clusterEvalQ(cl, exists("y")), list(FALSE))
})

test_that("a node is always the same process", {
  cl <- local_cluster(3)
  first <- pids(cl)
  expect_length(unique(first), 3L)
  invisible(parallel::clusterApply(cl, 1:4, identity))
  invisible(parallel::clusterApplyLB(cl, 1:5, identity))
  invisible(mirai(1, .compute = profile(cl))[])
  expect_identical(pids(cl), first)
  expect_identical(pids(cl[2]), first[2])
  expect_identical(pids(cl[-1]), first[-1])
  expect_identical(pids(cl[c(3, 1)]), first[c(3, 1)])
  expect_identical(unlist(parallel::clusterApply(cl, 1:7, function(i) Sys.getpid())), rep(first, length.out = 7))
})

test_that("a part of a cluster is a smaller cluster", {
  cl <- local_cluster(3)
  part <- cl[2:3]
  expect_s3_class(part, c("miraiCluster", "cluster"), exact = TRUE)
  expect_identical(profile(part), profile(cl))
  expect_length(part, 2L)
  expect_identical(part[[1]], cl[[2]])
  expect_identical(parallel::clusterApplyLB(part, 1:5, identity), as.list(1:5))
})

test_that("load balancing keeps each worker busy", {
  cl <- local_cluster(2)
  folder <- tempfile("done")
  dir.create(folder)
  # The first task ends when all others have: these have to run on the other worker, one after the other.
  work <- function(i, folder) {
    if (i == 1) while (length(list.files(folder)) < 5L) Sys.sleep(0.005) else file.create(file.path(folder, i))
    Sys.getpid()
  }
  by <- unlist(parallel::clusterApplyLB(cl, 1:6, work, folder))
  expect_length(unique(by[-1]), 1L)
  expect_false(by[1] %in% by[-1])
})

test_that("random streams are those of a socket cluster", {
  cl <- local_cluster(2)
  sockets <- parallel::makePSOCKcluster(2)
  defer(parallel::stopCluster(sockets))
  draw <- function(cl) {
    parallel::clusterSetRNGStream(cl, 123)
    list(parallel::clusterCall(cl, runif, 2), parallel::clusterApply(cl, 1:5, function(i) rnorm(1)),
         parallel::parSapply(cl, 1:5, function(i) sample(10, 1)), parallel::clusterEvalQ(cl, RNGkind()))
  }
  first <- draw(cl)
  expect_identical(first, draw(sockets))
  invisible(parallel::clusterApply(cl, 1:3, runif))
  expect_identical(draw(cl), first)
})

test_that("without a seed, workers have streams of their own", {
  cl <- local_cluster(2)
  seeds <- parallel::clusterEvalQ(cl, .Random.seed)
  expect_identical(lengths(seeds), c(7L, 7L))
  expect_identical(vapply(seeds, function(seed) seed[1] %% 100L, 1L), c(7L, 7L))
  expect_false(identical(seeds[[1]], seeds[[2]]))
})

test_that("with a seed, tasks have streams in order of submission", {
  cl <- local_cluster(2, seed = 123)
  expect_equal(unlist(parallel::clusterEvalQ(cl, runif(1))), c(0.1663742, 0.3411064), tolerance = 1e-6)
  # Streams 3 and 4.
  streams <- local({
    old <- RNGkind("L'Ecuyer-CMRG")
    on.exit(do.call(RNGkind, as.list(old)))
    set.seed(123)
    Reduce(function(s, i) parallel::nextRNGStream(s), 1:3, globalenv()$.Random.seed, accumulate = TRUE)
  })
  expect_identical(parallel::clusterEvalQ(cl, .Random.seed), streams[3:4])
  # What the user sets later counts.
  parallel::clusterSetRNGStream(cl, 123)
  expect_identical(parallel::clusterEvalQ(cl, .Random.seed), streams[1:2])
})

test_that("errors of workers are raised with their call, if that has a name, else as parallel does it", {
  cl <- local_cluster(2)
  error <- function(expr) tryCatch(expr, error = conditionMessage)
  expect_identical(error(parallel::clusterEvalQ(cl[1], stop("x"))), "one node produced an error: x")
  expect_identical(error(parallel::clusterEvalQ(cl, stop("x"))), "2 nodes produced errors; first error: x")
  expect_identical(error(parallel::parLapply(cl, 1:3, function(i) if (i == 3) stop("three"))),
                   "one node produced an error: Error in FUN(X[[i]], ...): three")
  expect_identical(error(parallel::clusterApply(cl, 1:3, function(i) if (i == 3) stop("three"))),
                   "one node produced an error: three")
  expect_identical(error(parallel::clusterEvalQ(cl, elephant())),
                   "2 nodes produced errors; first error: Error in elephant(): could not find function \"elephant\"")
  expect_identical(error(parallel::clusterApplyLB(cl, 1:5, function(i) base::stop("no ", i))),
                   "5 nodes produced errors; first error: no 1")
  # Errors that the work itself takes care of are its own.
  expect_identical(parallel::clusterCall(cl[1], function() tryCatch(stop("a"), error = conditionMessage)), list("a"))
  # The cluster is as good as before.
  expect_identical(parallel::clusterApply(cl, 1:4, identity), as.list(1:4))
})

test_that("a large argument does not come back with an error", {
  cl <- local_cluster(1)
  # Close to parallel, as the value is raised there.
  parallel:::sendCall(cl[[1]], function(x) stop("a"), list(numeric(1e5)))
  value <- parallel:::recvResult(cl[[1]])
  expect_true(is_mirai_error(value))
  expect_lt(length(serialize(value, NULL)), 10000L)
})

test_that("others go on when a worker dies", {
  cl <- local_cluster(2)
  first <- pids(cl)
  expect_error(parallel::clusterApply(cl, 1:2, function(i) if (i == 2) tools::pskill(Sys.getpid(), 9L)),
               "one node produced an error: 19 | Connection reset", fixed = TRUE)
  await(status(cl)$connections == 1L)
  expect_length(cl, 2L)
  expect_identical(parallel::clusterApply(cl, 1:4, identity), as.list(1:4))
  expect_identical(parallel::clusterApplyLB(cl, 1:4, identity), as.list(1:4))
  expect_identical(pids(cl), first[c(1, 1)])
})

test_that("a worker that is started in place of a dead one becomes that node", {
  cl <- local_cluster(2)
  first <- pids(cl)
  kill_node(cl, 1)
  expect_identical(launch_local(1, .compute = profile(cl)), 1L)
  now <- pids(cl)
  expect_false(now[1] %in% first)
  expect_identical(now[2], first[2])
  expect_identical(pids(cl), now)
})

test_that("with no worker left there is an error", {
  cl <- local_cluster(1)
  kill_node(cl, 1)
  for (f in list(parallel::clusterApply, parallel::clusterApplyLB))
    expect_error(f(cl, 1:2, identity), "no worker of the cluster is left")
  # Also for those that wait already. The worker leaves after its first task, with the other one not begun.
  cl <- local_cluster(1, maxtasks = 1)
  go <- tempfile()
  hold <- function(go) while (!file.exists(go)) Sys.sleep(0.005)
  parallel:::sendCall(cl[[1]], hold, list(go))
  parallel:::sendCall(cl[[1]], identity, list(1))
  file.create(go)
  expect_null(parallel:::recvResult(cl[[1]]))
  expect_error(parallel:::recvResult(cl[[1]]), "no worker of the cluster is left")
})

test_that("a limit of a worker applies, and others take over", {
  cl <- local_cluster(2, maxtasks = 1)
  first <- pids(cl[1])
  await(status(cl)$connections == 1L)
  other <- pids(cl[1])
  expect_false(identical(first, other))
})

test_that("workers that leave by a limit are not started again", {
  cl <- local_cluster(1, idletime = 50)
  await(status(cl)$connections == 0L)
  expect_error(parallel::clusterCall(cl, identity, 1), "no worker of the cluster is left")
})

test_that("a cluster with most of its workers lost in one call goes on with the rest", {
  cl <- local_cluster(5)
  expect_error(parallel::clusterApply(cl, 1:5, function(i) if (i %% 2 == 1) quit("no") else i),
               "3 nodes produced errors; first error: 19 | Connection reset", fixed = TRUE)
  await(status(cl)$connections == 2L)
  expect_identical(parallel::clusterApply(cl, 1:12, identity), as.list(1:12))
  expect_identical(parallel::clusterApplyLB(cl, 1:12, identity), as.list(1:12))
  expect_identical(lengths(parallel::clusterSplit(cl, 1:5)), rep(1L, 5L))
})

test_that("a cluster that listens shows the commands for its nodes", {
  shown <- utils::capture.output(cl <- local_cluster(2, url = local_url(), idletime = 60000))
  url <- status(cl)$daemons
  expect_identical(shown[1:3], c("Shell commands for deployment on nodes:", "", "[1]"))
  expect_identical(shown[c(5, 6, 8)], c("", "[2]", ""))
  start <- sprintf("Rscript -e 'mirai::daemon(\"%s\",dispatcher=FALSE,cleanup=FALSE,idletime=60000,rs=c(10407,", url)
  expect_true(all(startsWith(shown[c(4, 7)], start)))
  expect_false(shown[4] == shown[7])
  expect_true(all(endsWith(shown[c(4, 7)], "))'")))
  expect_identical(status(cl)$connections, 0L)
  utils::capture.output(one <- local_cluster(url = local_url()))
  expect_length(one, 1L)
})

test_that("launch_local() brings workers to a cluster that listens", {
  utils::capture.output(cl <- local_cluster(2, url = local_url()))
  expect_identical(launch_local(2, .compute = profile(cl)), 2L)
  expect_length(unique(pids(cl)), 2L)
  # A cluster with fewer workers than nodes shares them.
  utils::capture.output(cl <- local_cluster(2, url = local_url()))
  launch_local(1, .compute = cl)
  expect_identical(parallel::clusterApply(cl, 1:4, identity), as.list(1:4))
  expect_length(unique(pids(cl)), 1L)
})

test_that("the commands make workers, which calls wait for", {
  shown <- utils::capture.output(cl <- local_cluster(1, url = local_url()))
  command <- sub("^Rscript", shQuote(rscript), shown[4])
  libs <- paste0("R_LIBS=", shQuote(paste(.libPaths(), collapse = .Platform$path.sep)))
  system(paste(libs, command), wait = FALSE)
  expect_identical(parallel::clusterCall(cl, identity, 1), list(1))
  expect_identical(status(cl)$connections, 1L)
})

test_that("waiting is interruptible, and what was interrupted does not come back", {
  gate <- tempfile("gate")
  output <- run_r(c(
    "cl <- mirai::make_cluster(2)",
    "work <- function(i, host, gate) {",
    "  if (i == 1) tools::pskill(host, tools::SIGINT)",
    "  while (!file.exists(gate)) Sys.sleep(0.005)",
    "  'late'",
    "}",
    "stopped <- function(expr) tryCatch(expr, interrupt = function(e) 'interrupted')",
    sprintf("gate <- '%s'", gate),
    "cat(stopped(parallel::clusterApply(cl, 1:2, work, Sys.getpid(), gate)), '\\n')",
    "invisible(file.create(gate))",
    "cat(unlist(parallel::clusterApply(cl, 1:4, identity)), '\\n')",
    "invisible(file.remove(gate))",
    "cat(stopped(parallel::clusterApplyLB(cl, 1:2, work, Sys.getpid(), gate)), '\\n')",
    "invisible(file.create(gate))",
    "cat(unlist(parallel::clusterApplyLB(cl[1], 1:4, identity)), '\\n')",
    "cat(unlist(parallel::clusterApplyLB(cl, 5:8, identity)), '\\n')"
  ))
  expect_identical(trimws(output), c("interrupted", "1 2 3 4", "interrupted", "1 2 3 4", "5 6 7 8"))
})

test_that("methods are there whichever package is loaded first, attached or not", {
  use <- "cat(unlist(parallel::clusterApplyLB(cl, 1:3, sqrt)) == sqrt(1:3), '\\n'); parallel::stopCluster(cl)"
  expect_identical(run_r(c("cl <- mirai::make_cluster(1)", use)), "TRUE TRUE TRUE ")
  expect_identical(run_r(c("loadNamespace('parallel')", "cl <- mirai::make_cluster(1)", use))[-1], "TRUE TRUE TRUE ")
  expect_identical(run_r(c("library(parallel)", "library(mirai)", "cl <- make_cluster(1)", use)), "TRUE TRUE TRUE ")
})

test_that("parallel makes such clusters itself", {
  skip_if(getRversion() < "4.5")
  cl <- parallel::makeCluster(2, type = "MIRAI")
  defer(parallel::stopCluster(cl))
  expect_s3_class(cl, "miraiCluster")
  expect_identical(parallel::parSapply(cl, 1:4, sqrt), sqrt(1:4))
})

test_that("foreach runs on a cluster", {
  skip_if_not_installed("doParallel")
  cl <- local_cluster(2)
  doParallel::registerDoParallel(cl)
  defer(foreach::registerDoSEQ())
  `%dopar%` <- foreach::`%dopar%`
  offset <- 10
  expect_identical(foreach::foreach(i = 1:5, .combine = c) %dopar% (i + offset), 11:15 + 0)
  expect_identical(foreach::foreach(i = 1:5, .combine = `+`) %dopar% sum(seq_len(i)), 35L)
  expect_error(foreach::foreach(i = 1:2) %dopar% stop("no luck"), "no luck")
})

test_that("what is sent to a node queues, and the node stays the same to those that know it by its contents", {
  cl <- make_cluster(1)
  defer(stop_cluster(cl))
  node <- cl[[1L]]
  before <- serialize(node, NULL)
  send <- function(value, tag) parallel:::postNode(node, "EXEC", list(fun = identity, args = list(value), return = TRUE, tag = tag))
  send("first", 1L)
  send("second", 2L)
  expect_identical(serialize(node, NULL), before)
  expect_identical(parallel:::recvOneData(cl)$value$value, "first")
  expect_identical(parallel:::recvData(node)[c("value", "tag")], list(value = "second", tag = 2L))
  expect_identical(serialize(node, NULL), before)
  expect_error(parallel:::recvData(node), "no work to wait for")
})

# A cluster on which futures are evaluated until the end of the test.
local_futures <- function(n, frame = parent.frame()) {
  skip_if_not_installed("future")
  cl <- local_cluster(n, frame = frame)
  old <- future::plan(future::cluster, workers = cl)
  defer(future::plan(old), frame)
  cl
}

test_that("futures on a cluster have their own values", {
  local_futures(2)
  a <- 1
  futures <- lapply(1:5, function(i) future::future(a + i))
  expect_identical(lapply(futures, future::value), list(2, 3, 4, 5, 6))
  expect_error(future::value(future::future(stop("as it should"))), "as it should")
})

test_that("resolved() of a future on a cluster tells whether it is, without a warning and without a wait", {
  local_futures(1)
  gate <- tempfile("gate")
  f <- future::future({
    while (!file.exists(gate)) Sys.sleep(0.005)
    "done"
  })
  expect_warning(expect_false(future::resolved(f)), NA)
  file.create(gate)
  await(future::resolved(f))
  expect_identical(future::value(f), "done")
  # One that is not to come any more is an error of its value, not open for ever.
  f <- future::future(quit("no"))
  expect_error({
    await(future::resolved(f))
    future::value(f)
  }, "19 | Connection reset", fixed = TRUE)
})

test_that("of a cluster that is stopped, futures are resolved, as errors", {
  cl <- local_futures(1)
  f <- future::future(Sys.sleep(60))
  stop_cluster(cl)
  expect_error({
    await(future::resolved(f))
    future::value(f)
  }, "cluster is no longer active|interrupted")
})

test_that("conditions that a future relays at once come before its value, in order", {
  local_futures(1)
  told <- function(n) signalCondition(structure(class = c("told", "immediateCondition", "condition"), list(message = n, call = NULL)))
  environment(told) <- globalenv()
  heard <- NULL
  listen <- function(expr) withCallingHandlers(expr, told = function(condition) heard <<- c(heard, conditionMessage(condition)))
  f <- future::future({
    told("first")
    told("second")
    "done"
  })
  listen(await(future::resolved(f)))
  expect_identical(heard, c("first", "second"))
  expect_identical(future::value(f), "done")
  f <- future::future({
    told("third")
    stop("failed")
  })
  expect_error(listen(future::value(f)), "failed")
  expect_identical(heard, c("first", "second", "third"))
  expect_identical(future::value(future::future("after")), "after")
})

test_that("a node shows whether something has come from it, by one connection for all that someone else may close", {
  cl <- local_cluster(2)
  connections <- nrow(showConnections())
  gate <- tempfile("gate")
  hold <- function(gate) while (!file.exists(gate)) Sys.sleep(0.005)
  environment(hold) <- globalenv()
  for (i in 1:2) parallel:::sendCall(cl[[i]], hold, list(gate))
  # Below 0: one that its owner says nothing of.
  for (node in cl) expect_identical(c(node$con), -1L)
  file.create(gate)
  is_readable <- function(node) {
    con <- node[["con"]]
    as.integer(con) > 2L && socketSelect(list(con), timeout = 0)
  }
  for (node in cl) await(is_readable(node))
  expect_identical(cl[[1]]$con, cl[[2]]$con)
  close(cl[[1]]$con)
  expect_true(is_readable(cl[[2]]))
  expect_lte(nrow(showConnections()), connections + 1L)
  for (node in cl) expect_null(parallel:::recvResult(node))
  expect_null(cl[[1]]$host)
})

test_that("without a network futures have their values, and future says that it cannot tell", {
  skip_unless_linux()
  skip_if_not_installed("future")
  if (system2("unshare", c("-rn", "true"), stdout = FALSE, stderr = FALSE) != 0L) skip("needs a network namespace")
  script <- tempfile(fileext = ".R")
  writeLines(c(
    "cl <- mirai::make_cluster(1)", "old <- future::plan(future::cluster, workers = cl)", "gate <- tempfile()",
    "f <- future::future({ while (!file.exists(gate)) Sys.sleep(0.005); 'done' })",
    "cat(future::resolved(f), '')", "invisible(file.create(gate))",
    "while (!suppressWarnings(future::resolved(f))) Sys.sleep(0.005)", "cat(future::value(f))"
  ), script)
  log <- system2("unshare", c("-rn", shQuote(rscript), shQuote(script)), stdout = TRUE, env = child_env())
  expect_identical(log, "FALSE done")
})

test_that("future.apply and furrr run on a cluster", {
  skip_if_not_installed("future.apply")
  skip_if_not_installed("furrr")
  local_futures(2)
  expect_identical(future.apply::future_lapply(1:20, function(i) i + 1L), as.list(2:21))
  # Newer versions warn that they cancel the rest.
  expect_error(suppressWarnings(future.apply::future_lapply(1:3, function(i) if (i == 2) stop("number two"))), "number two")
  expect_identical(furrr::future_map_dbl(1:10, ~ .x^2), (1:10)^2)
})

test_that("random numbers and packages of future's are the same on a cluster as in sequence", {
  skip_if_not_installed("future.apply")
  skip_if_not_installed("furrr")
  draws <- function() list(
    future.apply::future_sapply(1:4, function(i) stats::rnorm(1), future.seed = 42),
    furrr::future_map_dbl(1:4, function(i) stats::runif(1), .options = furrr::furrr_options(seed = 1L))
  )
  old <- future::plan(future::sequential)
  defer(future::plan(old))
  expected <- draws()
  local_futures(2)
  expect_identical(draws(), expected)
  attached <- furrr::future_map_lgl(1:2, function(i) "package:stats4" %in% search(), .options = furrr::furrr_options(packages = "stats4"))
  expect_identical(attached, c(TRUE, TRUE))
})

test_that("pbapply runs on a cluster, dealt out and with load balancing", {
  skip_if_not_installed("pbapply")
  cl <- local_cluster(2)
  old <- pbapply::pboptions(type = "none")
  defer(pbapply::pboptions(old))
  factor <- 3
  parallel::clusterExport(cl, "factor", envir = environment())
  times <- function(i) i * factor
  environment(times) <- globalenv()
  for (balanced in c(FALSE, TRUE)) {
    pbapply::pboptions(use_lb = balanced)
    expect_identical(pbapply::pblapply(1:10, times, cl = cl), as.list(1:10 * 3))
    expect_identical(pbapply::pbsapply(c(a = 1, b = 2), times, cl = cl), c(a = 3, b = 6))
    expect_identical(pbapply::pbapply(matrix(1:6, 2), 1, sum, cl = cl), c(9L, 12L))
    expect_error(pbapply::pblapply(1:3, function(i) stop("no luck"), cl = cl), "no luck")
  }
})

test_that("BiocParallel runs on a cluster that is registered with doParallel", {
  skip_if_not_installed("BiocParallel")
  skip_if_not_installed("doParallel")
  cl <- local_cluster(2)
  doParallel::registerDoParallel(cl)
  defer(foreach::registerDoSEQ())
  param <- BiocParallel::DoparParam()
  expect_identical(BiocParallel::bplapply(1:4, function(i) i^2, BPPARAM = param), as.list(c(1, 4, 9, 16)))
  result <- BiocParallel::bptry(BiocParallel::bplapply(1:2, function(i) if (i == 2L) stop("no luck") else i, BPPARAM = param))
  expect_identical(BiocParallel::bpok(result), c(TRUE, FALSE))
})

test_that("a manager of its own may hand out work as results come, as BiocParallel does on sockets", {
  cl <- local_cluster(3)
  n <- 20L
  work <- function(i) {
    Sys.sleep(if (i %% 3L) 0 else 0.01)
    c(i, Sys.getpid())
  }
  environment(work) <- globalenv()
  send <- function(node, i) parallel:::postNode(cl[[node]], "EXEC", list(fun = work, args = list(i), return = TRUE, tag = i))
  for (i in seq_along(cl)) send(i, i)
  sent <- length(cl)
  results <- vector("list", n)
  for (received in seq_len(n)) {
    result <- parallel:::recvOneData(cl)
    results[[result$value$tag]] <- result$value$value
    if (sent < n) {
      sent <- sent + 1L
      send(result$node, sent)
    }
  }
  expect_identical(vapply(results, `[`, 0L, 1L), seq_len(n))
  expect_setequal(vapply(results, `[`, 0L, 2L), pids(cl))
})

test_that("some nodes can be stopped, and the others go on", {
  cl <- local_cluster(3)
  # Before any work has told which daemon is which node.
  stop_cluster(cl[2])
  await(status(cl)$connections == 2L)
  rest <- pids(cl[c(1, 3)])
  expect_length(unique(rest), 2L)
  expect_identical(parallel::clusterApplyLB(cl[c(1, 3)], 1:5, identity), as.list(1:5))
  expect_error(parallel::clusterCall(cl, identity, 1), "node 2 of the cluster has been stopped")
  expect_null(stop_cluster(cl[2]))
  expect_null(stop_cluster(cl[integer()]))
  expect_refused(stop_cluster(cl[4]), "`cl` has a node that the cluster has not.", "stop_cluster")
  # A newcomer is none of them.
  launch_local(1, .compute = cl)
  await(status(cl)$connections == 3L)
  expect_error(parallel::clusterCall(cl[2], identity, 1), "node 2 of the cluster has been stopped")
  expect_identical(pids(cl[c(1, 3)]), rest)
  parallel::stopCluster(cl[1])
  await(!alive(rest[1]))
  expect_identical(pids(cl[3]), rest[2])
  # With the last one, the cluster.
  stop_cluster(cl[3])
  await(!alive(rest[2]))
  expect_error(parallel::clusterCall(cl, identity, 1), "^cluster is no longer active$")
  expect_null(stop_cluster(cl[3]))
})

test_that("a node that is stopped at work is not waited for", {
  cl <- local_cluster(2)
  first <- pids(cl)
  gate <- tempfile("gate")
  hold <- function(gate) while (!file.exists(gate)) Sys.sleep(0.005)
  environment(hold) <- globalenv()
  parallel:::sendCall(cl[[1]], hold, list(gate))
  parallel:::sendCall(cl[[1]], identity, list("never"))
  stop_cluster(cl[1])
  await(!alive(first[1]))
  expect_identical(pids(cl[2]), first[2])
  expect_error(parallel:::recvResult(cl[[1]]), "there is no work to wait for on the node")
})

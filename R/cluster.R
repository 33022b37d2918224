# Clusters for package parallel: make_cluster(), and the methods by which parallel sends work and takes results.
#
# A cluster is a profile of its own without dispatcher.

# Numbers clusters over the session.
clusters <- new.env(parent = emptyenv())
clusters$made <- 0L

make_cluster <- function(n, url = NULL, remote = NULL, ...) {
  call <- sys.call()
  if (is_starting()) refuse_task(call)
  check_cluster_arguments(names(list(...)), call)
  if (missing(n) && is.null(url)) absent("n", call)
  if (!missing(n)) n
  n <- cluster_size(if (missing(n)) NULL else check_nodes(n, call), remote, call)
  id <- sprintf("`%d`", clusters$made)
  tryCatch(cluster_daemons(n, url, remote, id, ...), error = function(e) abort(conditionMessage(e), call))
  clusters$made <- clusters$made + 1L
  pool <- profiles[[id]]
  if (is.null(url)) n <- checked(.Call(wrap__hub_info, pool$hub))[2L]
  list2env(cluster_state(n, id, expected = if (is.null(url)) 0L else n), pool)
  if (!is.null(url) && is.null(remote)) show_commands(pool, n)
  new_cluster(pool$members, id)
}

# What the pool of a cluster has besides.
cluster_state <- function(n, id, expected) list(
  n = n,
  # The nodes, which never change: other packages know a node by its digest.
  members = lapply(seq_len(n), new_node, id),
  # For each node: what was sent to it and has not been taken back, the oldest first; whether it has been given a random stream
  # as clusterSetRNGStream() does; the number of the daemon that it is, 0 before it has one; whether it has been stopped, while
  # others go on.
  work = vector("list", n),
  own_stream = logical(n),
  nodes = integer(n),
  stopped = logical(n),
  # How many daemons are to have connected until none is expected any more.
  expected = expected,
  # What launch_local() has started and nobody has waited for.
  launches = NULL
)

# As many nodes as daemons are launched, or by default as the configuration has machines.
cluster_size <- function(n, remote, call) {
  if (is.null(remote)) return(if (is.null(n)) 1L else n)
  check_remote(remote, call)
  remote_count(n, remote, call)
}

cluster_daemons <- function(n, url, remote, id, ..., cleanup = FALSE) {
  daemons(n, url = url, remote = remote, dispatcher = FALSE, cleanup = cleanup, ..., .compute = id)
}

check_cluster_arguments <- function(names, call) {
  own <- intersect(names, c("dispatcher", "sync", ".compute"))
  if (length(own)) abort(sprintf("`%s` cannot be chosen for a cluster, whose nodes are a pool of their own without dispatcher.",
                                 own[1L]), call)
}

check_nodes <- function(n, call) {
  if (is.numeric(n) && length(n) == 1L && !is.na(n) && n < 1) abort("`n` must be 1 or greater", call)
  check_count(n, call, no_number)
}

new_cluster <- function(nodes, id) structure(nodes, class = c("miraiCluster", "cluster"), id = id)

new_node <- function(i, id) structure(new.env(parent = emptyenv()), class = "miraiNode", node = i, id = id)

show_commands <- function(pool, n) {
  cat("Shell commands for deployment on nodes:\n\n")
  print(launch_by(remote_config(), pool, n, pool$arguments, NULL))
}

stop_cluster <- function(cl) {
  if (missing(cl)) absent("cl")
  if (!inherits(cl, "miraiCluster")) abort(sprintf("`cl` must be a cluster made by `make_cluster()`, not `%s`.", shown(cl)))
  # An index beyond the end gives a node that is none.
  if (!all(vapply(unclass(cl), inherits, NA, "miraiNode"))) abort("`cl` has a node that the cluster has not.")
  pool <- cluster_pool(cl)
  if (is.null(pool)) return(invisible())
  nodes <- vapply(unclass(cl), attr, 0L, "node")
  if (all(seq_along(pool$members) %in% c(nodes, which(pool$stopped)))) close_pool(attr(cl, "id")) else
    stop_nodes(pool, nodes[!pool$stopped[nodes]])
  invisible()
}

# Their daemons leave; tasks sent to them and not done are cancelled. The others go on.
stop_nodes <- function(pool, nodes) {
  await_launches(pool)
  find_daemons(pool, checked(.Call(wrap__hub_workers, pool$hub))$id)
  for (i in nodes) {
    for (work in pool$work[[i]]) checked(.Call(wrap__task_cancel, work$task, FALSE))
    pool$work[i] <- list(NULL)
    pool$stopped[i] <- TRUE
    checked(.Call(wrap__hub_dismiss, pool$hub, pool$nodes[i]))
  }
}

stopCluster.miraiCluster <- function(cl = NULL) stop_cluster(cl)

`[.miraiCluster` <- function(x, ...) new_cluster(unclass(x)[...], attr(x, "id"))

print.miraiCluster <- function(x, ...) {
  id <- attr(x, "id")
  pool <- cluster_pool(x)
  live <- if (!is.null(pool)) sprintf(" connections: %d", checked(.Call(wrap__hub_info, pool$hub))[1L])
  cat(sprintf("< miraiCluster | ID: %s nodes: %d active: %s", id, length(x), !is.null(pool)), live, " >\n", sep = "")
  invisible(x)
}

print.miraiNode <- function(x, ...) {
  cat(sprintf("< miraiNode | node: %d cluster ID: %s >\n", attr(x, "node"), attr(x, "id")))
  invisible(x)
}

# ---- what parallel calls

# A node works on what is sent to it in order, and results are taken back in that order. Frames of parallel's here are
# postNode(), sendCall(), and then the function that sends.
sendData.miraiNode <- function(node, data) {
  if (!identical(data$type, "EXEC")) return(invisible())
  pool <- node_pool(node)
  from <- parallel_frame()
  sent <- FALSE
  on.exit(if (!sent) forget_work(pool))
  work <- data$data
  i <- attr(node, "node")
  if (pool$stopped[i]) abort(sprintf("node %d of the cluster has been stopped", i), NULL)
  if (sets_stream(work)) pool$own_stream[i] <- TRUE
  stream <- if (pool$seeded && !pool$own_stream[i]) pool$stream
  object <- new_task(node_call, list(.fun = work$fun, .args = work$args), NULL)
  to <- node_daemon(pool, i)
  send <- if (is.null(session$tracer)) submit_to else submit_to_traced
  task <- send(pool, object, stream, to)
  if (!is.null(stream)) take_stream(pool)
  pool$work[[i]] <- c(kept_work(pool$work[[i]], from), list(list(task = task, tag = work$tag, from = from)))
  sent <- TRUE
  invisible()
}

# The frame of the function of parallel's that sends, such as clusterApply(), from within sendData(); NULL if anyone else
# sends by sendCall(). Functions of parallel's call each other, and it is the outermost that takes back what is sent.
parallel_frame <- function() {
  found <- NULL
  generation <- 4L
  while ((number <- sys.parent(generation)) > 0L && identical(topenv(sys.frame(number)), asNamespace("parallel"))) {
    found <- sys.frame(number)
    generation <- generation + 1L
  }
  found
}

# Functions of parallel's take back all that they send: what is there of another call was left as that was interrupted.
kept_work <- function(queue, from) {
  if (is.null(from)) queue else Filter(function(work) identical(work$from, from), queue)
}

submit_to <- function(pool, object, stream, to) checked(.Call(wrap__hub_submit_to, pool$hub, object, stream, to), NULL)

recvData.miraiNode <- function(node) {
  await_node(list(node))
  take_result(node)
}

# Of work with a tag only, as parallel's load balancing has it. `node` is a position in `cl`.
recvOneData.miraiCluster <- function(cl) {
  nodes <- unclass(cl)
  tagged <- which(vapply(nodes, function(node) !is.null(oldest_work(node)$tag), NA))
  position <- tagged[await_node(nodes[tagged])]
  list(node = position, value = take_result(nodes[[position]]))
}

# The pool of a cluster, or of a node; NULL once it has been stopped, or its profile been set anew.
cluster_pool <- function(x) {
  pool <- profiles[[attr(x, "id")]]
  if (!is.null(pool$nodes)) pool
}

node_pool <- function(node) {
  pool <- cluster_pool(node)
  if (is.null(pool)) abort("cluster is no longer active", NULL)
  pool
}

# The position of the first one of the nodes that is done. If that fails, or is interrupted, the work of all is of no use
# to anyone: a later call must not take it for its own.
await_node <- function(nodes) {
  tasks <- lapply(nodes, function(node) oldest_work(node)$task)
  if (!length(tasks) || any(vapply(tasks, is.null, NA))) abort("there is no work to wait for on the node", NULL)
  pool <- node_pool(nodes[[1L]])
  done <- 0L
  on.exit(if (done == 0L) forget_work(pool))
  done <- checked(.Call(wrap__tasks_wait_served, pool$hub, tasks, expected_workers(pool)), NULL)
  if (done == 0L) abort(no_worker, NULL)
  done
}

no_worker <- "no worker of the cluster is left"

# Whether no worker is connected and none expected.
is_deserted <- function(pool) {
  counts <- checked(.Call(wrap__hub_info, pool$hub))
  counts[1L] == 0L && counts[2L] >= expected_workers(pool)
}

# How many are to come in all: in a cluster that heals, as many as it takes until it gives up.
expected_workers <- function(pool) {
  if (heals(pool) && is.na(checked(.Call(wrap__hub_given_up, pool$hub)))) .Machine$integer.max else pool$expected
}

heals <- function(pool) !is.null(pool$heal) && !isFALSE(pool$heal)

forget_work <- function(pool) pool$work <- vector("list", length(pool$members))

# The work that the node does or has done and that was not taken back; NULL if there is none.
oldest_work <- function(node) {
  queue <- node_pool(node)$work[[attr(node, "node")]]
  if (length(queue)) queue[[1L]]
}

take_work <- function(node) {
  pool <- node_pool(node)
  i <- attr(node, "node")
  work <- pool$work[[i]][[1L]]
  pool$work[[i]] <- pool$work[[i]][-1L]
  work
}

take_result <- function(node) {
  work <- take_work(node)
  if (is.null(work$message)) work <- next_message(node, work)
  list(type = "VALUE", value = with_error_text(work$message[[1L]]), tag = work$tag)
}

# The outcome of work is its value, before which come the conditions that it has relayed.
next_message <- function(node, work) {
  value <- checked(.Call(wrap__task_value, work$task), NULL)[[1L]]
  if (!is.null(span <- attr(work$task, "span", TRUE))) trace_outcome(span, work$task, value)
  values <- if (inherits(value, "miraiRelayed")) c(value$conditions, list(value$value)) else list(value)
  messages <- lapply(values, function(value) c(work, list(message = list(value))))
  pool <- node_pool(node)
  i <- attr(node, "node")
  pool$work[[i]] <- c(messages[-1L], pool$work[[i]])
  messages[[1L]]
}

# An error or interrupt as text, which parallel pastes into its own message.
with_error_text <- function(value) {
  text <- if (is_mirai_interrupt(value)) "interrupted" else
    if (is_error_value(value) && is.numeric(value)) coded(as.integer(value))
  if (is.null(text)) value else structure(text, class = class(value))
}

# ---- which daemon a node is

# The number of the node's daemon; NULL if there is none for it, so that any has to do.
node_daemon <- function(pool, i) {
  if (checked(.Call(wrap__hub_has_worker, pool$hub, pool$nodes[i]), NULL)) return(pool$nodes[i])
  await_launches(pool)
  if (is_deserted(pool)) abort(no_worker, NULL)
  # Rather than do it twice on another node, as with what is exported to all.
  if (heals(pool)) checked(.Call(wrap__hub_wait_healed, pool$hub, sum(!pool$stopped)), NULL)
  connected <- checked(.Call(wrap__hub_workers, pool$hub))$id
  find_daemons(pool, connected)
  if (pool$nodes[i] %in% connected) pool$nodes[i]
}

# Nodes without a daemon take those that are no node so far, in the order in which they have joined.
find_daemons <- function(pool, connected) {
  open <- which(!pool$nodes %in% connected & !pool$stopped)
  free <- setdiff(connected, pool$nodes)
  count <- min(length(open), length(free))
  pool$nodes[open[seq_len(count)]] <- free[seq_len(count)]
}

note_launch <- function(pool, n, ticket) pool$launches <- c(pool$launches, list(list(n = n, ticket = ticket)))

# Waits until all launched daemons have connected or failed.
await_launches <- function(pool) {
  for (launch in pool$launches) checked(.Call(wrap__hub_wait_connected, pool$hub, launch$n, launch$ticket, NULL), NULL)
  pool$launches <- NULL
}

# Whether this work sets the random stream of its node, as clusterSetRNGStream() does. If so, that counts, not the
# cluster's seed.
sets_stream <- function(work) {
  expr <- if (length(work$args)) work$args[[1L]]
  identical(work$fun, eval) && is.call(expr) && length(expr) > 2L && identical(expr[[1L]], quote(assign)) &&
    identical(expr[[2L]], ".Random.seed")
}

# ---- what package future asks of a node

# To see whether a result has come, future looks at the connection of a node. A node has none, but shows one that answers
# that question: while it is at work, one that future takes for silent without looking further; as soon as taking a result
# would not wait, or would fail, a socket that always has something to be read.
`$.miraiNode` <- function(x, name) if (name == "con") node_connection(x)

`[[.miraiNode` <- function(x, i, ...) if (identical(i, "con")) node_connection(x)

node_connection <- function(node) if (is_at_work(node)) silent else readable_socket()

silent <- structure(-1L, class = c("sockconn", "connection"))

is_at_work <- function(node) {
  pool <- cluster_pool(node)
  task <- if (!is.null(pool)) oldest_work(node)$task
  !is.null(task) && is_open(task) && !is_deserted(pool)
}

# One socket for all nodes, made when it is first needed, and again if someone has closed it. NULL where there is no
# network, not even within this machine, or no connection to spare: future then says that it cannot tell, and takes the
# result.
readable_socket <- function() {
  if (!is_open_connection(clusters$socket))
    clusters$socket <- tryCatch(suppressWarnings(make_readable_socket()), error = function(e) NULL)
  clusters$socket
}

is_open_connection <- function(con) {
  tryCatch(identical(attr(getConnection(con), "conn_id"), attr(con, "conn_id")), error = function(e) FALSE)
}

# A socket whose other end is closed, so that it is always readable.
make_readable_socket <- function() {
  server <- listening_socket()
  on.exit(close(server))
  socketConnection("127.0.0.1", attr(server, "port"), blocking = TRUE, open = "rb")
}

# Listens at a free port, without a draw of random numbers.
listening_socket <- function() {
  for (port in 49152L + (Sys.getpid() + 7L * 1:100) %% 16384L) {
    server <- tryCatch(serverSocket(port), error = function(e) NULL)
    if (!is.null(server)) return(structure(server, port = port))
  }
  stop("no port is free")
}

close_readable_socket <- function() if (is_open_connection(clusters$socket)) close(clusters$socket)

# ---- on the node

# What package future takes for the worker's end of a connection, which it looks for in the frames of the worker to
# relay conditions at once. Here they come with the value of the work, before it.
relaying <- structure(list(), class = c("miraiRelay", "SOCKnode"))

sendData.miraiRelay <- function(node, data) {
  session$relayed <- c(session$relayed, list(data$value))
  session$beside <- TRUE
  invisible()
}

# What a node evaluates: as in a worker of parallel's own, so that functions see the same calls and frames.
node_call <- quote(do.call(.fun, .args, quote = TRUE))

# parallel shows the text only, after words of its own, so nothing that may be large goes with it. A call of a function
# without a name, as do.call() makes them, tells nobody anything.
node_error <- function(condition) {
  call <- .subset2(condition, "call")
  if (is.call(call) && (identical(call, node_call) || !has_name(call[[1L]]))) condition$call <- NULL
  error <- mirai_error(condition, list())
  if (is.null(condition$call)) error[] <- full_message(condition)
  error
}

has_name <- function(f) is.symbol(f) || (is.call(f) && as.character(f[[1L]])[1L] %in% c("::", ":::", "$", "@", "[["))

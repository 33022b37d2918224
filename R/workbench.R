# Posit Workbench: its launcher of jobs, by the credentials of the session that runs in it.

posit_workbench_url <- function() paste0(workbench_variable("RS_SERVER_ADDRESS"), "/api/launch_job")

# None where this session has no credentials: another service, at a URL of the user's own, may not want any.
posit_workbench_headers <- function() {
  cookie <- session$workbench_cookie %or% Sys.getenv("RS_SESSION_RPC_COOKIE")
  if (nzchar(cookie)) c(Cookie = cookie, `X-RS-Session-Server-RPC-Cookie` = cookie)
}

# The job. The daemon's call takes the place of the one `%s`.
posit_workbench_data <- function(rscript = "Rscript", job_name = "mirai_daemon", cluster = NULL, resource_profile = NULL,
                                 cpus = NULL, memory = NULL) {
  chosen <- workbench_cluster(workbench_environments(), cluster)
  paths <- paste(vapply(.libPaths(), call_text, "", USE.NAMES = FALSE), collapse = ",")
  code <- sub("HERE", "%s", workbench_text(sprintf("{.libPaths(c(%s));HERE}", paths)), fixed = TRUE)
  image <- chosen$defaultImage
  fields <- c(
    cluster = workbench_text(chosen$name),
    container = if (is_string(image)) sprintf("{\"image\":%s}", workbench_text(image)),
    name = workbench_text(job_name), exe = workbench_text(rscript), args = sprintf("[\"-e\",%s]", code),
    workbench_resources(chosen, resource_profile, cpus, memory)
  )
  sprintf("{\"method\":\"launch_job\",\"kwparams\":{\"job\":{%s}}}",
          paste(sprintf("\"%s\":%s", names(fields), fields), collapse = ","))
}

workbench_error <- function(why) abort(paste0("can only be used from Posit Workbench: ", why), quote(http_config()))

workbench_variable <- function(name) {
  value <- Sys.getenv(name)
  if (!nzchar(value)) workbench_error(sprintf("the environment variable %s is not set", name))
  value
}

# A text in JSON, in which no `%s` can be.
workbench_text <- function(text) gsub("%", "\\u0025", quote_json(as.character(text)), fixed = TRUE)

# What can be launched where. Where the session's own credentials do not do, it is the user's browser that has some.
workbench_environments <- function() {
  if (is.null(session$workbench_cookie)) workbench_variable("RS_SESSION_RPC_COOKIE")
  answer <- workbench_ask(posit_workbench_headers())
  if (answer$status != 200L) {
    cookie <- cookie_of_browser()
    if (is.null(cookie))
      workbench_error(sprintf("it answers with status %d, and the browser has no cookie for it", answer$status))
    answer <- workbench_ask(c(Cookie = cookie))
    if (answer$status != 200L) workbench_error(sprintf("it answers with status %d", answer$status))
    session$workbench_cookie <- cookie
  }
  clusters <- tryCatch(read_json(answer$body)$result$clusters, error = function(e) NULL)
  if (!length(clusters)) workbench_error("it names no cluster")
  clusters
}

workbench_ask <- function(headers) {
  url <- paste0(workbench_variable("RS_SERVER_ADDRESS"), "/api/get_compute_envs")
  tryCatch(send_request("GET", url, headers, NULL, http_patience, session$trust %or% TRUE),
           error = function(e) workbench_error(conditionMessage(e)))
}

workbench_cluster <- function(clusters, name) {
  if (is.null(name)) return(clusters[[1L]])
  choose(clusters, name, "cluster")
}

workbench_resources <- function(cluster, profile, cpus, memory) {
  if (is.null(profile) && (!is.null(cpus) || !is.null(memory)))
    return(c(resources = json_object(list(cpus = cpus %or% 1, memory = memory %or% 512))))
  profiles <- cluster$resourceProfiles
  profile <- if (is.null(profile)) (if (length(profiles)) profiles[[1L]]) else choose(profiles, profile, "resource profile")
  if (!is.null(profile)) c(resourceProfile = workbench_text(profile$name))
}

# The one of that name.
choose <- function(from, name, what) {
  names <- vapply(from, function(x) as.character(x$name %or% ""), "")
  if (!name %in% names) abort(sprintf("%s '%s' not found. Available: %s", what, name, paste(names, collapse = ", ")), NULL)
  from[[match(name, names)]]
}

# The cookie that the user's browser sends as the viewer of the IDE shows a page of this session's. NULL where there is no IDE, or
# nothing has come within 5 seconds.
cookie_of_browser <- function() {
  ide <- if ("tools:rstudio" %in% search()) as.environment("tools:rstudio")
  viewer <- ide$.rs.api.viewer
  if (!is.function(viewer)) return(NULL)
  page <- checked(.Call(wrap__cookie_page, "mirai <> Posit Workbench"))
  viewer(sprintf("http://127.0.0.1:%d", page$port))
  cookie <- checked(.Call(wrap__cookie_wait, page$page, http_patience))
  if (is.function(ide$.rs.api.executeCommand)) ide$.rs.api.executeCommand("activateConsole")
  cookie
}

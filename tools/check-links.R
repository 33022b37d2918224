# Does everything that the documents point to exist? README and its kin, help pages, articles: links to files, headings,
# help topics and articles, and the paths of files that are named in `code`. Addresses on the web are only looked at, since
# this needs no network.
#
#   Rscript tools/check-links.R             the sources
#   Rscript tools/check-links.R <library>   also the package installed there: has it all articles?

args <- commandArgs(TRUE)
tracked <- system2("git", "ls-files", stdout = TRUE)
folders <- unique(dirname(tracked))
articles <- sub("[.]Rmd$", "", basename(Sys.glob("vignettes/*.Rmd")))
pages <- lapply(Sys.glob("man/*.Rd"), tools::parse_Rd)
names(pages) <- Sys.glob("man/*.Rd")

# ---- R documentation

# All parts of a page with one of these tags, at any depth.
tagged <- function(rd, tags) {
  found <- if (isTRUE(attr(rd, "Rd_tag") %in% tags)) list(rd)
  if (is.list(rd)) for (part in rd) found <- c(found, tagged(part, tags))
  found
}

text_of <- function(rd) paste(unlist(rd), collapse = "")

aliases <- unlist(lapply(pages, function(page) vapply(tagged(page, "\\alias"), text_of, "")))

broken <- character()
report <- function(file, what) broken <<- c(broken, sprintf("%s: %s", file, what))

# `\link{topic}`, `\link[=topic]{text}`, `\link[package]{topic}`, `\link[package:topic]{text}`
check_page <- function(file) {
  for (link in tagged(pages[[file]], "\\link")) {
    option <- if (is.null(attr(link, "Rd_option"))) "" else text_of(attr(link, "Rd_option"))
    topic <- if (startsWith(option, "=")) substring(option, 2L) else text_of(link)
    if (nzchar(option) && !startsWith(option, "=")) {
      if (grepl(":", option)) topic <- sub(".*:", "", option)
      package <- sub(":.*", "", option)
      if (requireNamespace(package, quietly = TRUE) && !length(utils::help((topic), (package))))
        report(file, sprintf("no help topic %s in package %s", topic, package))
    } else if (!topic %in% aliases && !length(utils::help((topic), package = c("base", "stats", "utils", "parallel"))))
      report(file, sprintf("no help topic %s", topic))
  }
  check_mentions(file, text_of(pages[[file]]))
}

# ---- Markdown

# Headings as a browser of the repository makes anchors of them.
anchors <- function(file) {
  headings <- grep("^#+ ", plain_lines(file), value = TRUE)
  gsub(" ", "-", tolower(gsub("[^[:alnum:] _-]", "", sub("^#+ +", "", headings))))
}

# Without blocks of code.
plain_lines <- function(file) {
  lines <- readLines(file, encoding = "UTF-8")
  fences <- cumsum(grepl("^\\s*```", lines))
  lines[fences %% 2L == 0L & !grepl("^\\s*```", lines)]
}

matches <- function(pattern, text) {
  found <- regmatches(text, gregexpr(pattern, text, perl = TRUE))[[1L]]
  vapply(found, function(x) sub(pattern, "\\1", x, perl = TRUE), "", USE.NAMES = FALSE)
}

check_markdown <- function(file) {
  text <- paste(plain_lines(file), collapse = "\n")
  prose <- gsub("`[^`]*`", "", text)
  for (target in matches("\\]\\(([^)\\s]+)\\)", prose)) check_target(file, target)
  for (path in matches("`([A-Za-z0-9_.~-]+(?:/[A-Za-z0-9_.-]+)+/?)`", text)) check_path(file, path)
  check_mentions(file, text)
}

check_target <- function(file, target) {
  if (grepl("^https?://[A-Za-z0-9.-]+(/|$)", target)) return()
  path <- sub("#.*", "", target)
  path <- if (nzchar(path)) file.path(dirname(file), path) else file
  if (!file.exists(path)) return(report(file, sprintf("no file %s", target)))
  anchor <- if (grepl("#", target)) sub(".*#", "", target)
  if (length(anchor) && !anchor %in% anchors(path)) report(file, sprintf("no heading for %s", target))
}

# A path in `code` may leave out the folder that the text is about. What is no path of ours begins with a folder that we
# don't have: such are other places of the machine, addresses and the like.
check_path <- function(file, path) {
  path <- sub("/$", "", path)
  if (grepl("^(target|/|~|[.]Rlib)", path) || !sub("/.*", "", path) %in% unlist(strsplit(folders, "/"))) return()
  known <- c(tracked, folders, sub("[.]in$", "", tracked))
  if (!any(known == path | endsWith(known, paste0("/", path))) && !any(endsWith(known, paste0("/src/", sub("^[^/]*/", "", path)))))
    report(file, sprintf("no file %s", path))
}

# ---- what both have: articles by vignette(), topics by `?topic`

check_mentions <- function(file, text) {
  for (name in setdiff(matches("vignette\\(\"([^\"]+)\"", text), articles)) report(file, sprintf("no article %s", name))
  for (topic in setdiff(matches("`\\?([A-Za-z_.]+)`", text), aliases)) report(file, sprintf("no help topic ?%s", topic))
}

# ---- the installed package

check_installed <- function(library) {
  installed <- utils::vignette(package = "mirai", lib.loc = library)$results[, "Item"]
  for (name in setdiff(articles, installed)) report(library, sprintf("article %s is not installed", name))
  for (name in intersect(articles, installed)) {
    article <- utils::vignette(name, "mirai", lib.loc = library)
    if (!file.exists(file.path(article$Dir, "doc", article$PDF))) report(library, sprintf("no page of article %s", name))
  }
}

documents <- c(grep("^[^/]*[.]md$|^(benches|inst/containers)/.*[.]md$", tracked, value = TRUE), Sys.glob("vignettes/*.Rmd"))
for (file in names(pages)) check_page(file)
for (file in documents) check_markdown(file)
# The way to the articles begins in README.
for (name in articles) if (!any(grepl(sprintf("vignettes/%s.Rmd|vignette\\(\"%s\"", name, name), readLines("README.md"))))
  report("README.md", sprintf("article %s is not mentioned", name))
if (length(args)) check_installed(args[1L])

if (length(broken)) {
  writeLines(unique(broken))
  quit("no", status = 1L)
}
cat(sprintf("%d help pages, %d documents: all links lead somewhere\n", length(pages), length(documents)))

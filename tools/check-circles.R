# No two modules of a Rust crate need each other, be it by way of others. Prints those that do, and fails then.
#
# A module needs those that its paths begin with (`crate::a::b`, `super::b`, in `use` or in place); a name that the root or a parent
# only hands on (`pub use a::Name`) counts as the module that has it. Parents and children are no circle, and what is for tests only does
# not count.

paths_of <- function(tree, prefix = "") {
  # `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
  if (!grepl("{", tree, fixed = TRUE)) return(trimws(sub(" as .*", "", paste0(prefix, trimws(tree)))))
  head <- sub("\\{.*", "", tree)
  inner <- sub("\\}[^}]*$", "", sub("^[^{]*\\{", "", tree))
  letters <- strsplit(inner, "")[[1L]]
  depth <- cumsum((letters == "{") - (letters == "}"))
  piece <- cumsum(letters == "," & depth == 0L)
  parts <- vapply(split(letters, piece), paste, "", collapse = "")
  parts <- trimws(sub("^,", "", parts))
  unlist(lapply(parts[nzchar(parts)], paths_of, paste0(prefix, trimws(head))), use.names = FALSE)
}

matches <- function(text, pattern) regmatches(text, gregexpr(pattern, text, perl = TRUE))[[1L]]

code_of <- function(file) {
  text <- paste(sub("//.*", "", readLines(file, warn = FALSE)), collapse = "\n")
  sub("#\\[cfg\\((all\\()?test.*", "", text)
}

module_of <- function(file, src) {
  parts <- strsplit(sub("\\.rs$", "", substring(file, nchar(src) + 2L)), "/")[[1L]]
  if (parts[length(parts)] %in% c("lib", "main", "mod")) parts <- parts[-length(parts)]
  paste(parts, collapse = "::")
}

# The module from which a module hands on a name.
reexports <- function(code, module) {
  trees <- sub(";$", "", sub("^pub(\\([a-z ]+\\))? use ", "", matches(code, "pub(\\([a-z ]+\\))? use [^;]+;")))
  paths <- as.character(unlist(lapply(gsub("\n", " ", trees), paths_of)))
  from <- sub("^(self|crate)::", "", sub("::[^:]+$", "", paths))
  is_of_root <- startsWith(paths, "crate::") | module == ""
  stats::setNames(ifelse(is_of_root, from, paste0(module, "::", from)), sub(".*::", "", paths))
}

# The module that the path `parts`, from the root, leads to.
find_module <- function(parts, modules, handed_on) {
  for (n in rev(seq_along(parts))) {
    found <- paste(parts[seq_len(n)], collapse = "::")
    if (!found %in% modules) next
    source <- if (n < length(parts)) handed_on[[found]][parts[n + 1L]]
    return(if (length(source) && source %in% modules) source[[1L]] else found)
  }
  source <- handed_on[[1L]][parts[1L]]
  if (length(source) && source %in% modules) source[[1L]]
}

needs_of <- function(module, code, modules, handed_on) {
  uses <- matches(code, "(?<![a-z])use (crate|super|self)::[^;]+;")
  in_place <- matches(gsub("(?<![a-z])use [^;]+;", "", code, perl = TRUE), "\\b(crate|super)::[A-Za-z_:]+")
  paths <- c(unlist(lapply(gsub("\n", " ", sub(";$", "", sub("^use ", "", uses))), paths_of)), in_place)
  needed <- lapply(strsplit(paths, "::", fixed = TRUE), function(parts) {
    base <- if (parts[1L] == "crate") character() else strsplit(module, "::", fixed = TRUE)[[1L]]
    while (length(parts) && parts[1L] %in% c("crate", "super", "self")) {
      if (parts[1L] == "super") base <- base[-length(base)]
      parts <- parts[-1L]
    }
    find_module(c(base, trimws(parts)), modules, handed_on)
  })
  needed <- setdiff(as.character(unlist(needed)), module)
  is_kin <- startsWith(needed, paste0(module, "::")) | startsWith(rep(module, length(needed)), paste0(needed, "::"))
  needed[!is_kin]
}

# What is left when modules that need nobody, or that nobody needs, are taken away again and again.
in_circles <- function(needs) {
  repeat {
    needed <- unique(unlist(needs))
    kept <- Filter(length, lapply(needs, intersect, names(needs)))
    kept <- kept[names(kept) %in% needed]
    if (length(kept) == length(needs)) return(kept)
    needs <- kept
  }
}

wrong <- FALSE
for (src in Sys.glob("rust/*/src")) {
  files <- grep("/tests(/|\\.rs$)", list.files(src, "\\.rs$", recursive = TRUE, full.names = TRUE), value = TRUE, invert = TRUE)
  files <- c(file.path(src, "lib.rs"), setdiff(files, file.path(src, c("lib.rs", "main.rs"))))
  modules <- vapply(files, module_of, "", src, USE.NAMES = FALSE)
  code <- lapply(files, code_of)
  handed_on <- Map(reexports, code, modules)
  names(handed_on) <- modules
  needs <- Map(needs_of, modules, code, list(modules), list(handed_on))
  names(needs) <- modules
  circle <- in_circles(needs[nzchar(modules)])
  for (module in names(circle)) cat(sprintf("%s: `%s` needs %s\n", src, module, paste(circle[[module]], collapse = ", ")))
  wrong <- wrong || length(circle) > 0L
}
if (wrong) quit("no", status = 1L)
cat("no circles among the modules of", length(Sys.glob("rust/*/src")), "crates\n")

# Text from outside as it is shown: what services, schedulers and commands answer may hold anything, and may hold what they were
# given.

# Without secrets, and without what a terminal would act upon: colours and the like, as a whole, and other characters that control
# it or turn the direction of writing.
printable <- function(texts) vapply(valid_text(texts), printable_text, "", USE.NAMES = FALSE)

printable_text <- function(text) {
  if (is.na(text)) return(text)
  text <- gsub("\033(\\[[ -?]*[@-~]?|\\][^\007\033\n]*(\033\\\\)?)", "", without_credentials(text), perl = TRUE)
  points <- utf8ToInt(text)
  is_acted_upon <- (points < 0x20 & !points %in% c(0x09, 0x0a)) | (points >= 0x7f & points <= 0x9f) | points %in% turning
  if (any(is_acted_upon)) intToUtf8(points[!is_acted_upon]) else text
}

# Characters that change the direction of writing.
turning <- c(0x061c, 0x200e, 0x200f, 0x202a:0x202e, 0x2066:0x2069)

# In UTF-8, with bytes that are none of it by their numbers; ends of lines as here.
valid_text <- function(texts) {
  texts <- as.character(texts)
  Encoding(texts[Encoding(texts) == "bytes"]) <- "UTF-8"
  texts <- enc2utf8(texts)
  is_bad <- !validUTF8(texts)
  texts[is_bad] <- iconv(texts[is_bad], "UTF-8", "UTF-8", sub = "byte")
  # Characters beyond the last one of Unicode, which some systems let pass.
  is_bad <- !validUTF8(texts)
  texts[is_bad] <- iconv(texts[is_bad], "ASCII", "UTF-8", sub = "byte")
  gsub("\r\n", "\n", texts, fixed = TRUE)
}

# Without what daemons have to show, and without passwords in addresses. Those of services have tokens in the place of users.
without_credentials <- function(text) {
  text <- gsub("(?i)((?:https?|wss?)://)[^/[:space:]]*@", "\\1...@", without_pem(text), perl = TRUE)
  gsub("(://[^/:@[:space:]]*):[^/[:space:]]*@", "\\1:...@", text, perl = TRUE)
}

# Texts of a call: only those that need it are changed at all.
hide_credentials <- function(texts) {
  suspect <- !is.na(texts) & grepl("://|BEGIN|END", texts, useBytes = TRUE)
  if (any(suspect)) texts[suspect] <- vapply(valid_text(texts[suspect]), without_credentials, "")
  texts
}

# Five dashes, also as URLs, JSON and HTML have them.
dashes <- "(?:-|%2D|\\\\+u002D|\\\\+x2D|&#45;|&#x2D;){5}"

# Without all from the first begin to the last end. Whoever quotes what it was sent may have cut it: without an end all that
# follows is secret, without a begin all before.
without_pem <- function(text) {
  find <- function(what) gregexpr(paste0("(?i)", dashes, what), text, perl = TRUE)[[1L]]
  begins <- find("BEGIN")
  ends <- find("END")
  if (begins[1L] < 0L && ends[1L] < 0L) return(text)
  has_begin <- begins[1L] > 0L && (ends[1L] < 0L || begins[1L] < ends[1L])
  before <- if (has_begin) substr(text, 1L, begins[1L] - 1L) else ""
  last <- ends[length(ends)]
  is_cut <- last < 0L || begins[length(begins)] > last
  # The label, and what is behind it.
  rest <- if (!is_cut) substring(text, last + attr(ends, "match.length")[length(ends)])
  label <- if (!is_cut) regexpr(paste0("(?i)", dashes), rest, perl = TRUE) else -1L
  after <- if (label > 0L) substring(rest, label + attr(label, "match.length")) else ""
  paste0(before, "...", after)
}

# Of an answer, which may be a whole page, the begin.
shown_text <- function(text) {
  text <- trimws(printable(substr(valid_text(text), 1L, 20000L)))
  if (nchar(text, type = "bytes") > 1000L) paste0(substr(text, 1L, 1000L), "...") else text
}

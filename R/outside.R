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

# Without certificates, keys, passwords and tokens: the rule is rust/launcher/src/secrets.rs. Of valid texts, none of them `NA`.
without_credentials <- function(texts) .Call(wrap__hide_secrets, texts)

# Texts of a call: only those that need it are changed at all.
hide_credentials <- function(texts) {
  valid <- valid_text(texts)
  valid[is.na(texts)] <- ""
  hidden <- without_credentials(valid)
  is_changed <- hidden != valid
  texts[is_changed] <- hidden[is_changed]
  texts
}

# Without these values, wherever they are.
without_values <- function(text, values) {
  for (value in values[nchar(values) >= 6L]) text <- gsub(value, "...", text, fixed = TRUE)
  text
}

# Of an answer, which may be a whole page, the begin.
shown_text <- function(text) {
  text <- trimws(printable(substr(valid_text(text), 1L, 20000L)))
  if (nchar(text, type = "bytes") > 1000L) paste0(substr(text, 1L, 1000L), "...") else text
}

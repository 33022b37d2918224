# Text from outside as it is shown: unit tests. What services say is in test-http-config.R.

shown_as <- function(text, expected) expect_identical(mirai:::printable(text), expected)

token <- "-----BEGIN MIRAI TOKEN-----\nq83vEjRWeJq83vEjRWeJq83v/+83vEjRWeJq83vEjR=\n-----END MIRAI TOKEN-----\n"

test_that("what a terminal acts upon, or what turns the direction of writing, is not shown", {
  shown_as(c("plain", "a\tb\n", "caf\u00e9", NA), c("plain", "a\tb\n", "caf\u00e9", NA))
  shown_as("\033[2J\033]0;mine\007\r\n", "\n")
  shown_as("\033[1;31mred\033[0m \033]8;;http://a\033\\link", "red link")
  shown_as("a\u202eb\u2066c\u009b\u0001\r", "abc")
  shown_as("\xff\033", "<ff>")
  # Beyond the last character.
  shown_as("A\xf4\x90\x80\x80", "A<f4><90><80><80>")
})

test_that("credentials are not shown, however they are quoted", {
  shown_as(paste0("a ", token, "b ", token, "c"), "a ...\nc")
  shown_as(paste("a", substr(token, 1L, 60L)), "a ...")
  shown_as(paste(substring(token, 40L), "b"), "...\n b")
  shown_as(paste0(substring(token, 40L), token, "b", substr(token, 1L, 60L)), "...")
  shown_as(paste("a", utils::URLencode(token, reserved = TRUE), "b"), "a ...%0A b")
  for (dash in c("\\u002d", "\\\\u002D", "\\x2d", "&#45;", "&#x2d;"))
    shown_as(paste("a", gsub("-", dash, token, fixed = TRUE), "b"), "a ...\n b")
  shown_as("to https://TOKEN@host/x and HTTP://TOKEN@host", "to https://...@host/x and HTTP://...@host")
  shown_as("https://TOKEN:@host wss://TOKEN:x-oauth-basic@host/a@b", "https://...@host wss://...@host/a@b")
  shown_as("tcp://me:secret@host and https://to@ken@host", "tcp://me:...@host and https://...@host")
  shown_as("to http://me:sec@ret@host/x, ssh://me@host:22 and a@b.c:d", "to http://...@host/x, ssh://me@host:22 and a@b.c:d")
})

test_that("errors and warnings of the package show text so", {
  e <- tryCatch(mirai:::abort(paste0("\033", token), quote(f("http://me:secret@host", x[]))), error = identity)
  expect_identical(conditionMessage(e), "...\n")
  expect_identical(deparse(conditionCall(e)), "f(\"http://...@host\", x[])")
  w <- tryCatch(mirai:::warn("\033", NULL), warning = identity)
  expect_identical(conditionMessage(w), "")
  said <- expect_message(mirai:::warn_of_absence("lost", 1L, paste0("\033", token), "", TRUE))
  expect_identical(conditionMessage(said), "mirai: daemons are lost: ...\n\n")
})

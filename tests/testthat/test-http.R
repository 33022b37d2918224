# Requests of the package's own, and JSON. What goes over the wire is tested in the crate mirai-http.

test_that("JSON is read as lists, and written from scalars", {
  expect_identical(
    mirai:::read_json('{"a":[1,"x",null,true],"b":{},"c":"\\u00e9\\n"}'),
    list(a = list(1, "x", NULL, TRUE), b = structure(list(), names = character()), c = "\u00e9\n")
  )
  expect_error(mirai:::read_json("{"), "not JSON")
  expect_error(mirai:::read_json(strrep("[", 100)), "not JSON|too many")
  expect_identical(mirai:::json_object(list(dispatcher = "a\"b\n", n = 4L, port = 100000, on = TRUE)),
                   '{"dispatcher":"a\\"b\\n","n":4,"port":100000,"on":true}')
})

test_that("a request that has no answer says why, with a code", {
  e <- tryCatch(mirai:::send_request("GET", "http://127.0.0.1:1/"), error = identity)
  expect_match(conditionMessage(e), "6 | Connection refused", fixed = TRUE)
  expect_identical(e$code, 6L)
  e <- tryCatch(mirai:::send_request("GET", "nowhere"), error = identity)
  expect_identical(e$code, 3L)
})

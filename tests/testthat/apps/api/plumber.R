# Handlers that return what mirai gives. A held request is answered when its gate opens, a file in the folder
# MIRAI_APP_GATES; what is in the file is what its task does.

library(mirai)

gates <- Sys.getenv("MIRAI_APP_GATES")

# A mirai where a promise is wanted, as far as package promises lets others be promises.
given <- function(x) if (utils::isS3stdGeneric(promises::is.promising)) x else promises::as.promise(x)

#* @get /held
#* @serializer unboxedJSON
function(gate) {
  given(mirai(
    {
      file.create(paste0(gate, ".begun"))
      while (!file.exists(gate)) Sys.sleep(0.005)
      eval(parse(gate))
    },
    gate = file.path(gates, gate)
  ))
}

#* @get /plain
#* @serializer unboxedJSON
function() "plain"

#* @get /map
#* @serializer unboxedJSON
function() given(mirai_map(c(a = 1, b = 4), sqrt))

#* @get /chain
#* @serializer unboxedJSON
function(res) {
  promises::then(mirai(6 * x, x = 7), function(value) {
    res$status <- 201L
    list(answer = value)
  })
}

#* @post /body
#* @serializer unboxedJSON
function(x) given(mirai(rev(x), x = x))

#* @get /stopped
#* @serializer unboxedJSON
function() {
  m <- mirai(repeat Sys.sleep(0.1))
  stop_mirai(m)
  given(m)
}

#* @get /number
#* @serializer unboxedJSON
function(n) {
  given(mirai(
    {
      while (!file.exists(gate)) Sys.sleep(0.005)
      n
    },
    gate = file.path(gates, "numbers"), n = as.integer(n)
  ))
}

#* @get /counts
#* @serializer unboxedJSON
function() as.list(info())

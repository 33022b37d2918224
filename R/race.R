# The first of several.

race_mirai <- function(x, .compute = NULL) {
  profile_name(.compute)
  if (!is.list(x)) return(invisible(0L))
  invisible(checked(.Call(wrap__mirai_race, unclass(x))))
}

# The first of several.

race_mirai <- function(x, .compute = NULL) {
  profile_name(.compute)
  if (!is.list(x)) return(invisible(0L))
  first <- checked(.Call(wrap__mirai_race, unclass(x)))
  if (first > 0L) settle_shadows(x[first])
  invisible(first)
}

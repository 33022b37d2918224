# Objects of other packages go to a daemon, are used there, come back, and are used here. What is missing here is skipped.

skip_within_check()

# For each package: `make` makes an object, and what `use` gives is the same here, there, and here again of what came back.
travellers <- list(
  data.table = list(
    make = function() data.table::data.table(id = 1:4, group = c("a", "b", "a", "b")),
    use = function(x) {
      # Adds a column in place, as data.table does in a package that knows it.
      x <- data.table::copy(x)
      data.table::set(x, j = "half", value = x$id / 2)
      data.table::setkeyv(x, "group")
      as.list(x)
    }
  ),
  tibble = list(
    make = function() tibble::tibble(id = 1:2, list = list(1, "b")),
    use = function(x) dim(tibble::add_row(x, id = 3L))
  ),
  sf = list(
    make = function() {
      points <- sf::st_sfc(sf::st_point(c(0, 1)), sf::st_point(c(2, 2)), crs = 4326)
      sf::st_sf(id = 1:2, geometry = points)
    },
    use = function(x) as.numeric(sf::st_distance(x)[1L, 2L])
  ),
  Matrix = list(
    make = function() Matrix::sparseMatrix(i = 1:3, j = c(2L, 3L, 1L), x = c(1, 2, 4)),
    use = function(x) as.matrix(Matrix::crossprod(x))
  ),
  R6 = list(
    make = function() R6::R6Class("Counter", public = list(n = 1, add = function(k) self$n <- self$n + k))$new(),
    use = function(x) {
      x <- x$clone()
      x$add(2)
      x$n
    }
  ),
  S7 = list(
    make = function() S7::new_class("interval", properties = list(from = S7::class_double, to = S7::class_double), package = NULL)(from = 1, to = 3),
    use = function(x) c(x@to - x@from, S7::S7_inherits(x))
  ),
  igraph = list(
    make = function() igraph::make_ring(5),
    use = function(x) c(igraph::diameter(x), igraph::vcount(igraph::add_vertices(x, 2)))
  ),
  vctrs = list(
    make = function() vctrs::new_rcrd(list(from = 1:2, to = 3:4), class = "mirai_interval"),
    use = function(x) vctrs::field(vctrs::vec_slice(x, 2L), "to")
  ),
  bit64 = list(
    make = function() bit64::as.integer64("9007199254740993"),
    use = function(x) as.character(bit64::as.integer64(x) * 2L)
  ),
  xts = list(
    make = function() xts::xts(c(3, 1, 2), as.Date("2026-01-01") + 0:2),
    use = function(x) as.numeric(xts::lag.xts(x))
  ),
  lme4 = list(
    make = function() lme4::lmer(Reaction ~ Days + (1 | Subject), lme4::sleepstudy),
    use = function(x) {
      loadNamespace("lme4")
      list(unname(stats::predict(x)[1:3]), stats::deviance(lme4::refitML(x)))
    }
  ),
  survival = list(
    make = function() survival::coxph(survival::Surv(time, status) ~ age, survival::lung),
    use = function(x) {
      loadNamespace("survival")
      unname(stats::predict(x)[1:3])
    }
  ),
  mgcv = list(
    make = function() mgcv::gam(mpg ~ s(wt), data = datasets::mtcars),
    use = function(x) {
      loadNamespace("mgcv")
      as.numeric(stats::predict(x)[1:3])
    }
  )
)

# Without its surroundings, so that it finds packages by their names alone.
as_sent <- function(f) {
  environment(f) <- globalenv()
  f
}

for (package in names(travellers)) local({
  package <- package
  test_that(sprintf("objects of %s are used on a daemon, and after their return", package), {
    skip_if_not_installed(package)
    suppressPackageStartupMessages(loadNamespace(package))
    make <- as_sent(travellers[[package]]$make)
    use <- as_sent(travellers[[package]]$use)
    x <- make()
    here <- use(x)
    # Exact results of the same code on the same machine.
    local_pool(1)
    there <- mirai(list(used = use(x), back = x, made = make()), x = x, use = use, make = make)[]
    if (is_error_value(there)) fail(there)
    expect_equal(there$used, here)
    expect_equal(use(there$back), here)
    expect_equal(use(there$made), here)
    # As elements of a map, too.
    expect_equal(mirai_map(list(x, x), use)[], list(here, here))
  })
})

test_that("a data.table that has come back takes new columns in place", {
  # Older versions want to be told first.
  skip_if_not_installed("data.table", "1.17.0")
  local_pool(1)
  x <- mirai(data.table::data.table(id = 1:3))[]
  y <- x
  expect_no_warning(data.table::set(x, j = "double", value = x$id * 2L))
  expect_identical(names(x), c("id", "double"))
  expect_identical(x$double, c(2L, 4L, 6L))
})

test_that("data.table: assignment in place works on a daemon that has attached it, and after the return", {
  skip_if_not_installed("data.table", "1.17.0")
  # Its own operator is found by the package's name in the search path, so a session of its own attaches it.
  shown <- run_r(c(
    "suppressPackageStartupMessages(library(data.table)); library(mirai)",
    "daemons(1)",
    "x <- data.table(id = 1:3)",
    "add <- function(x) x[, half := id / 2][id > 1]",
    "done <- list(task = mirai({ library(data.table); x[, half := id / 2]; x }, x = x)[])",
    "invisible(everywhere(library(data.table))[])",
    "done$local <- mirai({ x[, half := id / 2]; x }, .args = list(x = x))[]",
    "done$map <- mirai_map(list(x), add)[][[1L]]",
    "for (y in done) { y[, third := id / 3]; cat(names(y), '|', y$half, '|', y$third * 3, '\\n') }",
    # What was sent is another one.
    "cat(names(x), '\\n')"
  ))
  whole <- "id half third | 0.5 1 1.5 | 1 2 3 "
  expect_identical(shown, c(whole, whole, "id half third | 1 1.5 | 2 3 ", "id "))
})

# ---- what comes empty

# A data base in memory, disconnected from at the end of the tests.
memory_base <- function() {
  base <- DBI::dbConnect(RSQLite::SQLite(), ":memory:")
  defer(DBI::dbDisconnect(base), teardown_env())
  base
}

# For each package: `make` and `use` as above, what is empty, and the remedy that is told of.
lame <- list(
  arrow = list(make = function() arrow::arrow_table(a = 1:3), use = function(x) nrow(x), class = "Table", remedy = "serial_config"),
  arrow = list(make = function() arrow::record_batch(a = 1:3), use = function(x) nrow(x), class = "RecordBatch", remedy = "serial_config"),
  terra = list(make = function() terra::rast(nrows = 2, ncols = 2, vals = 1:4), use = function(x) terra::values(x), class = "SpatRaster",
               remedy = "terra::wrap(x)"),
  terra = list(make = function() terra::vect(cbind(1, 2)), use = function(x) terra::crds(x), class = "SpatVector", remedy = "terra::wrap(x)"),
  nanoarrow = list(make = function() nanoarrow::as_nanoarrow_array_stream(data.frame(a = 1:3)), use = function(x) x$get_schema(),
                   class = "nanoarrow_array_stream", remedy = "serial_config"),
  RSQLite = list(make = function() memory_base(), use = function(x) DBI::dbGetQuery(x, "SELECT 1"), class = "SQLiteConnection",
                 remedy = "connect in the task"),
  xml2 = list(make = function() xml2::read_xml("<a><b>x</b></a>"), use = function(x) xml2::xml_text(x), class = "xml_document",
              remedy = "as.character(x)")
)

for (case in lame) local({
  case <- case
  package <- names(lame)[vapply(lame, identical, NA, case)]
  test_that(sprintf("an error with an empty %s says so, and what to do", case$class), {
    skip_if_not_installed(package)
    suppressPackageStartupMessages(loadNamespace(package))
    use <- as_sent(case$use)
    local_pool(1)
    x <- case$make()
    expect_told <- function(e, name) {
      expect_s3_class(e, "miraiError")
      told <- sprintf("%s is of class \"%s\" and came without its contents", name, case$class)
      expect_match(e$message, told, fixed = TRUE)
      expect_match(as.vector(e), told, fixed = TRUE)
      expect_match(e$message, case$remedy, fixed = TRUE)
    }
    expect_told(mirai(use(x), x = x, use = use)[], "`x`")
    expect_told(mirai(use(data), .args = list(data = x, use = use))[], "`data`")
    expect_told(mirai(use(all[[2L]]), all = list(1, x), use = use)[], "`all`")
    expect_told(mirai_map(list(x), use)[][[1L]], "The element")
    expect_told(mirai_map(1, function(i, data, use) use(data), .args = list(data = x, use = use))[][[1L]], "`data`")
    # An error without one is left as it is.
    expect_identical(as.vector(mirai(stop("other"), .args = list(n = 1))[]), "Error: other")
  })
})

test_that("an empty object of a class of one's own is told of", {
  local_pool(1)
  pointer <- structure(attr(mirai(1), "task"), class = "my_handle")
  expect_match(mirai(stop("no"), x = pointer)[]$message, "`x` is of class \"my_handle\" and came without its contents", fixed = TRUE)
  expect_match(mirai(stop("no"), x = pointer)[]$message, "daemons(serial = serial_config(\"my_handle\", ...))", fixed = TRUE)
  # Within what holds it.
  holder <- structure(list(name = "a", at = pointer), class = "holder")
  expect_match(mirai(stop("no"), x = holder)[]$message, "`x` is of class \"holder\"", fixed = TRUE)
  holder <- structure(list2env(list(at = pointer)), class = "keeper")
  makeActiveBinding("never", function() stop("looked at"), holder)
  expect_match(mirai(stop("no"), x = holder)[]$message, "`x` is of class \"keeper\"", fixed = TRUE)
})

test_that("rasters travel wrapped, and documents as text, as the article has it", {
  local_pool(1)
  skip_if_not_installed("terra")
  skip_if_not_installed("xml2")
  suppressPackageStartupMessages(loadNamespace("terra"))
  raster <- terra::rast(nrows = 2, ncols = 2, vals = 1:4)
  doubled <- mirai(terra::wrap(terra::unwrap(x) * 2), x = terra::wrap(raster))[]
  expect_equal(as.vector(terra::values(terra::unwrap(doubled))), c(2, 4, 6, 8))
  document <- xml2::read_xml("<a><b>text</b></a>")
  expect_identical(mirai(xml2::xml_text(xml2::read_xml(x)), x = as.character(document))[], "text")
})

test_that("what a query gives as a stream travels by the article's hook, both ways", {
  skip_if_not_installed("nanoarrow")
  skip_if_not_installed("RSQLite")
  stream_bytes <- function(x) {
    con <- rawConnection(raw(), "wb")
    on.exit(close(con))
    nanoarrow::write_nanoarrow(x, con)
    rawConnectionValue(con)
  }
  local_pool(1, serial = serial_config("nanoarrow_array_stream", stream_bytes, nanoarrow::read_nanoarrow))
  table <- data.frame(id = 1:3, name = c("a", "b", NA))
  query <- function(base, table) {
    DBI::dbWriteTable(base, "t", table)
    DBI::dbGetQueryArrow(base, "SELECT * FROM t")
  }
  query <- as_sent(query)
  suppressPackageStartupMessages(loadNamespace("nanoarrow"))
  expect_identical(mirai(as.data.frame(x), x = query(memory_base(), table))[], table)
  there <- mirai({
    base <- DBI::dbConnect(RSQLite::SQLite(), ":memory:")
    query(base, table)
  }, query = query, table = table)
  expect_identical(as.data.frame(there[]), table)
})

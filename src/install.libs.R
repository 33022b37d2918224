# Run by R CMD INSTALL in src/: mirai.so goes to libs/, the worker binary to bin/.

put <- function(files, folder) {
  dir.create(folder, recursive = TRUE, showWarnings = FALSE)
  ok <- file.copy(files, folder, overwrite = TRUE, copy.mode = TRUE)
  if (!all(ok)) stop("cannot copy ", toString(files[!ok]), " to ", folder)
}

put(Sys.glob(paste0("*", SHLIB_EXT)), file.path(R_PACKAGE_DIR, paste0("libs", R_ARCH)))
if (file.exists("symbols.rds")) {
  put("symbols.rds", file.path(R_PACKAGE_DIR, paste0("libs", R_ARCH)))
}
if (file.exists("mirai-daemon")) {
  put("mirai-daemon", file.path(R_PACKAGE_DIR, "bin"))
}

# Everything a developer runs. `make demo` and `make test` set up the machine first (Debian and its kin) and keep
# their installation in .Rlib/ here; only `make install` writes to your own R library.

RLIB := $(CURDIR)/.Rlib
EXPORT := $(CURDIR)/target/export

# One cargo target folder for every build of the package: install, vignettes, check.
export MIRAI_CARGO_TARGET_DIR ?= $(CURDIR)/target/package

.PHONY: demo test test-testing test-containers bench install check build vendor setup local clean help

help:
	@echo "make local    set up, then install into .Rlib/ here"
	@echo "make demo     the same, then a bootstrap of regression models: sequential against daemons"
	@echo "make test     the same, then all tests, Rust and R"
	@echo "make test-testing  the R tests under the R and the packages of Debian's testing suite (as root)"
	@echo "make test-containers  workers in real containers, by podman (as root)"
	@echo "make bench    all benchmarks, Rust and R"
	@echo "make install  install the package and its articles into your R library"
	@echo "make build    the source package, target/mirai_<version>.tar.gz"
	@echo "make check    R CMD check of it"
	@echo "make vendor   make rust/vendor.tar.xz anew after a change of Cargo.lock"
	@echo "make clean    remove everything that was built"

demo: local
	@R_LIBS="$(RLIB):$$R_LIBS" Rscript tools/demo.R

test: local
	@tools/setup.sh test
	@R_LIBS="$(RLIB):$$R_LIBS" tools/test.sh

# Status 77: this machine cannot make that folder, and the reason has been printed.
test-testing:
	@tools/testing-suite.sh test || test $$? -eq 77

# Status 77: podman cannot run here.
test-containers: local
	@R_LIBS="$(RLIB):$$R_LIBS" tools/containers.sh test || test $$? -eq 77

bench: local
	PATH="$$(tools/find-rust.sh):$$PATH" cargo bench --workspace
	R_LIBS="$(RLIB):$$R_LIBS" Rscript benches/peers.R
	R_LIBS="$(RLIB):$$R_LIBS" Rscript benches/network.R

setup:
	@tools/setup.sh

# The package, installed inside the project.
local: setup
	@tools/install.sh "$(RLIB)"

install:
	@tools/install.sh

# R CMD build copies the whole folder before it leaves anything out, so it is given the committed files only.
build: setup
	@rm -rf "$(EXPORT)" && mkdir -p "$(EXPORT)"
	@git archive --prefix=mirai/ HEAD | tar -x -C "$(EXPORT)"
	cd target && R CMD build export/mirai
	@rm -rf "$(EXPORT)"

check: build
	cd target && _R_CHECK_FORCE_SUGGESTS_=false R CMD check --no-manual "mirai_$$(sed -n 's/^Version: //p' ../DESCRIPTION).tar.gz"

vendor:
	tools/vendor.sh

clean:
	./cleanup
	rm -rf target .Rlib

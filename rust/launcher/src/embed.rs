//! R in this process, by its embedding interface alone, loaded at run time.
//!
//! All `unsafe` code of the program is here. No R object is ever touched: R gets its arguments
//! as texts and runs to its end.

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicPtr;
use thiserror::Error;

/// Packages of an `R_SCRIPT_LEGACY` session: all but methods.
const LEGACY_PACKAGES: &str = "datasets,utils,grDevices,graphics,stats";

/// Limit of the code that R accepts on its command line: it cuts off the rest with a warning.
const MOST_CODE_BYTES: usize = 9_990;

/// Why R cannot run in this process.
#[derive(Debug, Error)]
pub(crate) enum EmbedError {
    #[error("cannot load R from {path}: {source}")]
    Library {
        path: PathBuf,
        source: libloading::Error,
    },
    #[error("libR lacks a function: {0}")]
    Function(#[source] libloading::Error),
    #[error("the R code is longer than {MOST_CODE_BYTES} bytes")]
    TooLong,
    #[error("an argument holds a zero byte")]
    Zero(#[from] std::ffi::NulError),
}

/// libR, loaded and not started.
pub(crate) struct R {
    initialize: Symbol<unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int>,
    set_up: Symbol<unsafe extern "C" fn()>,
    run: Symbol<unsafe extern "C" fn()>,
    /// Present in all versions so far, but not documented.
    is_main_program: Option<Symbol<*mut c_int>>,
    /// Documented, and not required.
    tempdir: Option<Symbol<*mut *mut c_char>>,
    arguments: Vec<CString>,
}

impl R {
    /// Loads R from `home`, to run `code` as `Rscript -e` does.
    pub(crate) fn load(home: &Path, code: &str) -> Result<Self, EmbedError> {
        if code.len() > MOST_CODE_BYTES {
            return Err(EmbedError::TooLong);
        }
        let arch = std::env::var_os("R_ARCH").unwrap_or_default();
        let path = below(home, "lib", &arch).join("libR.so");
        let program = below(home, "bin/exec", &arch).join("R");
        let program = program.to_string_lossy().into_owned();
        let arguments = [&program, "--no-echo", "--no-restore", "-e", code]
            .map(CString::new)
            .into_iter()
            .collect::<Result<_, _>>()?;
        choose_packages();
        // SAFETY: loading R runs the initialisers of its libraries. Its symbols are global,
        // as packages need them.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }
            .map_err(|source| EmbedError::Library { path, source })?;
        // SAFETY: the types are those of R's headers Rembedded.h and Rinterface.h.
        let (initialize, set_up, run, is_main_program, tempdir) = unsafe {
            (
                library
                    .get(b"Rf_initialize_R\0")
                    .map_err(EmbedError::Function)?,
                library
                    .get(b"setup_Rmainloop\0")
                    .map_err(EmbedError::Function)?,
                library
                    .get(b"run_Rmainloop\0")
                    .map_err(EmbedError::Function)?,
                library.get(b"R_running_as_main_program\0").ok(),
                library.get(b"R_TempDir\0").ok(),
            )
        };
        // R stays until the process ends.
        std::mem::forget(library);
        Ok(Self {
            initialize,
            set_up,
            run,
            is_main_program,
            tempdir,
            arguments,
        })
    }

    /// R's variable for the path of its temporary folder, null while there is none.
    pub(crate) fn tempdir(&self) -> Option<&'static AtomicPtr<c_char>> {
        let variable = **self.tempdir.as_ref()?;
        // SAFETY: a pointer variable of a library that stays until the process ends. It is
        // read on the thread that R writes it on.
        Some(unsafe { AtomicPtr::from_ptr(variable) })
    }

    /// Runs R; the process ends with it.
    pub(crate) fn run(self) -> ! {
        let texts = self.arguments.into_iter().map(CString::into_raw);
        let argv: Vec<*mut c_char> = texts.chain([std::ptr::null_mut()]).collect();
        let count = (argv.len() - 1) as c_int;
        // R may keep pointers to its arguments.
        let argv = argv.leak().as_mut_ptr();
        // SAFETY: on the main thread of a process in which R has not run; the arguments live
        // as long as the process. R leaves by ending the process, over Rust frames that hold
        // nothing to be dropped.
        unsafe {
            if let Some(is_main_program) = &self.is_main_program {
                ***is_main_program = 1;
            }
            (self.initialize)(count, argv);
            (self.set_up)();
            (self.run)();
        }
        std::process::exit(0)
    }
}

/// `home/part` with R's sub-architecture, which starts with a slash where there is one.
fn below(home: &Path, part: &str, arch: &OsStr) -> PathBuf {
    let mut path = OsString::from(home.join(part));
    path.push(arch);
    path.into()
}

/// The default packages, by the rules of `Rscript`.
fn choose_packages() {
    let is_legacy = || std::env::var_os("R_SCRIPT_LEGACY").is_some_and(|value| value == "yes");
    let packages = match std::env::var_os("R_SCRIPT_DEFAULT_PACKAGES") {
        Some(packages) => packages,
        None if is_legacy() && std::env::var_os("R_DEFAULT_PACKAGES").is_none() => {
            LEGACY_PACKAGES.into()
        }
        None => return,
    };
    // SAFETY: R is not loaded, the process has one thread.
    unsafe { std::env::set_var("R_DEFAULT_PACKAGES", packages) };
}

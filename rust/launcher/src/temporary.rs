//! Temporary folders of R in the fork server and its children.
//!
//! R remembers the name of its session's folder and uses whatever is there. In a folder that all users write to, a name
//! that is free can be taken by any of them. So the server's name is never free: its folder makes way for a file, which
//! R in a child does not take for a folder, so that it makes one of its own; and a child refuses a folder that others
//! could write to.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Permissions of the group and of others to write.
const OTHERS_WRITE: u32 = 0o022;

/// Names to try beside one.
const NAMES: u32 = 1000;

/// Puts a file in the place of the folder, without a moment in which the name is free where the file system can do that,
/// and removes the folder.
///
/// # Errors
/// As the system gives them; then the name may be anybody's, and must not be used.
pub(crate) fn replace_by_file(folder: &Path) -> io::Result<()> {
    let spare = make_beside(folder)?;
    match exchange(&spare, folder) {
        Ok(()) => fs::remove_dir_all(&spare),
        Err(_) => {
            fs::remove_file(&spare)?;
            fs::remove_dir_all(folder)?;
            make_file(folder)
        }
    }
}

#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn make_beside(folder: &Path) -> io::Result<PathBuf> {
    for number in 0..NAMES {
        let mut name = OsString::from(folder);
        name.push(format!("-{number}"));
        let name = PathBuf::from(name);
        match make_file(&name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn make_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map(drop)
}

/// Checks that a folder is this user's, and that nobody else may write to it.
///
/// # Errors
/// `PermissionDenied` if it is not so; otherwise as the system gives them.
pub(crate) fn check_private(folder: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(folder)?;
    if is_own_folder(&data) && data.mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "the temporary folder {} is another user's, or others may write to it",
            folder.display()
        ),
    ))
}

/// Whether this is a folder of this user's, and no link to one.
pub(crate) fn is_own_folder(data: &fs::Metadata) -> bool {
    data.is_dir() && data.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mirai-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_holds_the_name_of_a_folder_and_nothing_else_is_left() {
        let top = scratch("held");
        let folder = top.join("Rtmp1");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inside"), b"").unwrap();
        fs::write(top.join("Rtmp1-0"), b"somebody's").unwrap();
        replace_by_file(&folder).unwrap();
        assert!(fs::symlink_metadata(&folder).unwrap().is_file());
        assert_eq!(fs::read_dir(&top).unwrap().count(), 2);
        assert_eq!(fs::read(top.join("Rtmp1-0")).unwrap(), b"somebody's");
        fs::remove_dir_all(&top).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = scratch("open");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        check_private(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            check_private(&folder).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        let link = folder.with_extension("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(check_private(&link).is_err());
        fs::remove_file(&link).unwrap();
        fs::remove_dir(&folder).unwrap();
    }
}

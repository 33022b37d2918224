//! Memory that a hub shares with one daemon of this machine, and the descriptor by which the daemon gets it.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64};

/// How many words there are.
#[cfg(target_os = "linux")]
const COUNT: usize = 512;

/// How many bytes there are besides.
#[cfg(target_os = "linux")]
const REST: usize = 32 * 1024;

#[cfg(target_os = "linux")]
pub use linux::{Passed, SharedWords};
#[cfg(not(target_os = "linux"))]
pub use nowhere::{Passed, SharedWords};

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::ptr::NonNull;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    use super::{AtomicU8, AtomicU64, COUNT, REST, io};

    const WORDS: usize = COUNT * size_of::<AtomicU64>();
    const BYTES: usize = WORDS + REST;

    /// A descriptor on its way to another process.
    #[derive(Debug)]
    pub struct Passed(pub(crate) OwnedFd);

    impl AsFd for Passed {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    /// Words and bytes that two processes read and change. They are zero at first.
    #[derive(Debug)]
    pub struct SharedWords(NonNull<AtomicU64>);

    // SAFETY: it is a pointer to atomic numbers that are there until it is dropped, for whatever thread.
    #[allow(unsafe_code)]
    unsafe impl Send for SharedWords {}
    // SAFETY: as above; what is reached through it is atomic.
    #[allow(unsafe_code)]
    unsafe impl Sync for SharedWords {}

    impl SharedWords {
        /// New ones, and what the other process opens them by.
        ///
        /// # Errors
        /// As the system gives them.
        pub fn create() -> io::Result<(SharedWords, Passed)> {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let fd = memfd_create("mirai-words", flags)?;
            ftruncate(&fd, BYTES as u64)?;
            // Memory that is cut off under a mapping kills whoever reads it.
            fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            Ok((SharedWords::map(&fd)?, Passed(fd)))
        }

        /// Those that another process has created.
        ///
        /// # Errors
        /// As the system gives them; `InvalidData` if the descriptor is of something else.
        pub fn open(passed: &Passed) -> io::Result<SharedWords> {
            if fstat(passed)?.st_size != BYTES as i64 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            SharedWords::map(passed)
        }

        #[allow(unsafe_code)]
        fn map(fd: impl AsFd) -> io::Result<SharedWords> {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping at an address of the kernel's choice, of a file that has as many bytes.
            let start = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    BYTES,
                    protection,
                    MapFlags::SHARED,
                    fd,
                    0,
                )
            }?;
            let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(SharedWords(start))
        }

        /// The words.
        #[allow(unsafe_code)]
        pub fn all(&self) -> &[AtomicU64] {
            // SAFETY: the mapping begins at a page, has room for as many, any bits are a number, and it lives as long as
            // `self`. Other processes change it by atomic operations.
            unsafe { std::slice::from_raw_parts(self.0.as_ptr(), COUNT) }
        }

        /// The bytes. They are there after the death of either process, too.
        #[allow(unsafe_code)]
        pub fn bytes(&self) -> &[AtomicU8] {
            // SAFETY: the mapping has as many behind the words, any bits are a number, and it lives as long as `self`.
            // Other processes change them by atomic operations.
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().byte_add(WORDS).cast(), REST) }
        }
    }

    impl Drop for SharedWords {
        #[allow(unsafe_code)]
        fn drop(&mut self) {
            // SAFETY: our own mapping, of that length, to which nothing refers any more.
            let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nowhere {
    use super::{AtomicU8, AtomicU64, io};

    /// There is none on this platform.
    #[derive(Debug)]
    pub struct Passed(());

    /// There are none on this platform.
    #[derive(Debug)]
    pub struct SharedWords(());

    impl SharedWords {
        /// Never succeeds on this platform.
        ///
        /// # Errors
        /// Always.
        pub fn create() -> io::Result<(SharedWords, Passed)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Never succeeds on this platform.
        ///
        /// # Errors
        /// Always.
        pub fn open(_passed: &Passed) -> io::Result<SharedWords> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Never called on this platform.
        pub fn all(&self) -> &[AtomicU64] {
            &[]
        }

        /// Never called on this platform.
        pub fn bytes(&self) -> &[AtomicU8] {
            &[]
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_see_what_either_writes() {
        let (here, passed) = SharedWords::create().unwrap();
        let there = SharedWords::open(&passed).unwrap();
        drop(passed);
        here.all()[COUNT - 1].store(7, Ordering::Relaxed);
        assert_eq!(there.all()[COUNT - 1].load(Ordering::Relaxed), 7);
        there.all()[0].store(8, Ordering::Relaxed);
        there.bytes()[REST - 1].store(9, Ordering::Relaxed);
        drop(there);
        assert_eq!(here.bytes()[REST - 1].load(Ordering::Relaxed), 9);
        assert_eq!(here.all()[0].load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_descriptor_of_something_else_is_refused() {
        let (other, _write_end) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(SharedWords::open(&Passed(other.into())).is_err());
    }

    #[test]
    fn a_descriptor_travels_with_bytes() {
        use crate::local;
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let (words, passed) = SharedWords::create().unwrap();
        let parts = [io::IoSlice::new(b"ab")];
        assert_eq!(local::send_passing(&here, &parts, &passed).unwrap(), 2);
        let mut bytes = [0; 8];
        let (count, passed) = local::receive_passed(&there, &mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"ab");
        let opened = SharedWords::open(&passed.unwrap()).unwrap();
        words.all()[1].store(1, Ordering::Relaxed);
        assert_eq!(opened.all()[1].load(Ordering::Relaxed), 1);
    }
}

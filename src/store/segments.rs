//! The pack files: names, open handles, reads, creation and removal.
//!
//! Owns a bounded cache of open files. A removed segment stays readable for whoever holds its
//! handle; a reader that comes later gets [`io::ErrorKind::NotFound`] and looks in the index again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::db::fail;
use crate::ipld::buffer::Buffer;

/// Open pack files kept for reuse; a store of a terabyte has thousands of segments, a process
/// often 1,024 file descriptors.
const OPEN_FILES_MAX: usize = 128;

/// The folder of pack files.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    open: RwLock<HashMap<u32, Arc<File>>>,
}

impl Segments {
    /// Opens, or creates, the folder.
    pub(super) fn new(dir: PathBuf) -> io::Result<Self> {
        if !dir.is_dir() {
            fs::create_dir_all(&dir)?;
            if let Some(parent) = dir.parent() {
                sync_dir(parent)?;
            }
        }
        Ok(Self { dir, open: RwLock::default() })
    }

    /// The path of a segment.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}.pack"))
    }

    /// The numbers of all segments, ascending.
    pub(super) fn list(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".pack"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The open file of a segment.
    pub(super) fn get(&self, number: u32) -> io::Result<Arc<File>> {
        if let Some(file) = self.read_lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        // Under the lock, so that a segment which is being removed does not come back.
        let mut open = self.write_lock();
        let file = OpenOptions::new().read(true).write(true).open(self.path(number))?;
        let file = Arc::new(file);
        if open.len() >= OPEN_FILES_MAX
            && let Some(any) = open.keys().next().copied()
        {
            open.remove(&any);
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Creates a segment and makes its name durable.
    pub(super) fn create(&self, number: u32) -> io::Result<Arc<File>> {
        let path = self.path(number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        fail::point("store-segment-created");
        sync_dir(&self.dir)?;
        let file = Arc::new(file);
        self.write_lock().insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Removes a segment; readers that hold it go on.
    pub(super) fn remove(&self, number: u32) -> io::Result<()> {
        {
            let mut open = self.write_lock();
            open.remove(&number);
            fs::remove_file(self.path(number))?;
        }
        sync_dir(&self.dir)
    }

    /// Bytes of all pack files.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        self.list()?.into_iter().try_fold(0, |sum, number| match fs::metadata(self.path(number)) {
            Ok(metadata) => Ok(sum + metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(sum),
            Err(error) => Err(error),
        })
    }

    fn read_lock(&self) -> std::sync::RwLockReadGuard<'_, HashMap<u32, Arc<File>>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u32, Arc<File>>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the names in a folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Reads exactly `len` bytes at `offset`.
pub(super) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Buffer> {
    let mut bytes = Buffer::with_room(len);
    file.read_exact_at(bytes.grow(len), offset)?;
    Ok(bytes)
}

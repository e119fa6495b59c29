//! Where data comes from: finds out what a path holds and opens it.

pub(crate) mod archive;
pub(crate) mod cifar;
pub(crate) mod digits;
pub(crate) mod folder;
pub(crate) mod idx;
pub(crate) mod input;
pub(crate) mod labels;
pub(crate) mod layout;
pub(crate) mod shards;
pub(crate) mod table;

use std::path::Path;

use crate::dataset::{Dataset, OpenOptions};
use crate::error::DataError;
use input::DataFile;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    if let Some(shards) = shards::expand(&path.to_string_lossy()).filter(|_| !path.exists()) {
        return shards::open(&path.display().to_string(), &shards, options);
    }
    let metadata = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
    if metadata.is_dir() { open_folder(path, options) } else { open_file(path, options) }
}

fn open_folder(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let files = folder::data_files(path)?;
    if idx::present(&files) {
        return idx::open(&files);
    }
    if cifar::present(&files) {
        return cifar::open(&files);
    }
    let listing = folder::list(path)?;
    if listing.files.is_empty() {
        cifar::refuse_pickles(&listing.place, listing.others.iter().map(String::as_str))?;
    }
    if listing.files.is_empty() || table::named_after_parts(&files).len() > 1 {
        let tables = table::named_after_parts(&files);
        if !tables.is_empty() {
            return table::open(&tables, options);
        }
        let is_shard = |f: &&DataFile| archive::looks_like_tar(&f.name, &[]);
        let shards: Vec<_> =
            files.iter().filter(is_shard).filter_map(|f| f.path().map(Path::to_owned)).collect();
        if !shards.is_empty() {
            return shards::open(&path.display().to_string(), &shards, options);
        }
    }
    layout::arrange(listing, options)
}

fn open_file(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let name = input::file_name(path);
    let head = input::head(path)?;
    if idx::is_images(&name) {
        return idx::open(&idx::with_labels(path)?);
    }
    if archive::looks_like_tar(&name, &head) {
        return open_archive(path, options);
    }
    if table::is_table(&name) {
        return table::open(&table::with_companions(path)?, options);
    }
    if input::without_gz(&name).ends_with(".bin") {
        return cifar::open_single(&DataFile::on_disk(path));
    }
    let found = if head.starts_with(b"PK\x03\x04") {
        "a zip archive; unpack it first".to_owned()
    } else if head.starts_with(&[0xFF, 0xD8]) || head.starts_with(b"\x89PNG") {
        "a single image".to_owned()
    } else {
        "a file that is no tar archive and has no known name".to_owned()
    };
    Err(DataError::UnknownKind { path: path.to_owned(), found })
}

fn open_archive(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let contents = archive::read(path, options.max_archive_bytes)?;
    if contents.listing.files.is_empty() {
        if idx::present(&contents.data_files) {
            return idx::open(&contents.data_files);
        }
        if cifar::present(&contents.data_files) {
            return cifar::open(&contents.data_files);
        }
        let listing = &contents.listing;
        cifar::refuse_pickles(&listing.place, listing.others.iter().map(String::as_str))?;
    }
    if shards::has_labels(&contents.listing) {
        return shards::open_single(path, contents, options);
    }
    layout::arrange(contents.listing, options)
}

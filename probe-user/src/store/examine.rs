//! What `hostprobe check` says about the store, without changing anything there.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use nix::unistd::{AccessFlags, eaccess, geteuid};

use super::{StoreError, connections, migrations, place::Place};
use crate::config;

/// Where the store would be, and whether it could be used.
#[derive(Debug)]
pub struct Examination {
    /// Where, without its password; `none` when none is configured.
    pub location: String,
    /// What is there, or why it can't be used.
    pub found: Result<String, StoreError>,
}

/// Looks at the place that is configured. Makes nothing, and writes nothing.
pub async fn examine(settings: &config::Store) -> Examination {
    match Place::configured(settings) {
        Ok(None) => Examination {
            location: "none".to_owned(),
            found: Ok("nothing is kept".to_owned()),
        },
        Ok(Some(place)) => Examination {
            location: place.to_string(),
            found: look(&place).await,
        },
        Err(error) => Examination {
            location: "unknown".to_owned(),
            found: Err(error),
        },
    }
}

async fn look(place: &Place) -> Result<String, StoreError> {
    let Place::Sqlite(path) = place else {
        let (mut connection, dialect) = connections::connect(place).await?;
        return Ok(
            match migrations::version(&mut connection, dialect, place).await? {
                0 => "can be reached; the schema hostprobe will be made".to_owned(),
                version if version < migrations::newest() => {
                    format!("can be reached; its schema has version {version} and will be updated")
                }
                version => format!("can be reached; its schema has version {version}"),
            },
        );
    };
    // SQLite itself would make its log beside the file, and as another user perhaps.
    if path.exists() {
        may_write(path)?;
        let mut begin = [0; 16];
        let read = File::open(path).and_then(|mut file| {
            let empty = file.metadata()?.len() == 0;
            if !empty {
                file.read_exact(&mut begin)?;
            }
            Ok(empty)
        });
        let empty = read.map_err(failed("read", path))?;
        if !empty && &begin != b"SQLite format 3\0" {
            return Err(StoreError::NotAStore {
                location: place.to_string(),
            });
        }
        return Ok("is there and can be written".to_owned());
    }
    let there = path
        .ancestors()
        .skip(1)
        .find(|directory| directory.exists());
    may_write(there.unwrap_or(Path::new("/")))?;
    Ok("is not there yet and can be made".to_owned())
}

/// Whether the daemon could write there. Root gives up the right to ignore the mode, so the mode
/// counts for root, too.
fn may_write(path: &Path) -> Result<(), StoreError> {
    let found = fs::metadata(path).map_err(failed("look at", path))?;
    let forbidden = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    if found.uid() == geteuid().as_raw() {
        return match found.permissions().mode() & 0o200 {
            0 => Err(failed("write to", path)(forbidden())),
            _ => Ok(()),
        };
    }
    eaccess(path, AccessFlags::W_OK).map_err(|errno| failed("write to", path)(errno.into()))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::File {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreUrl;

    async fn found(path: &Path) -> Result<String, String> {
        let settings = config::Store {
            url: Some(StoreUrl::Sqlite(path.to_owned())),
            ..config::Store::default()
        };
        let examined = examine(&settings).await;
        assert_eq!(examined.location, format!("sqlite://{}", path.display()));
        examined.found.map_err(|error| error.to_string())
    }

    /// An operator learns before the start what the start would find.
    #[tokio::test]
    async fn what_is_in_the_way_is_said_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/x.db");
        assert!(found(&path).await.unwrap().contains("can be made"));
        assert!(!path.parent().unwrap().exists());
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert!(found(&path).await.unwrap().contains("can be written"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(
            found(&path)
                .await
                .unwrap_err()
                .contains("cannot write to /")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "something else entirely").unwrap();
        assert!(found(&path).await.unwrap_err().contains("no store"));
    }
}

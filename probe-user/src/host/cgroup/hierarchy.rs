//! Where control groups are mounted, and where a process is among them.

use std::path::PathBuf;

use super::super::filesystems::unescape;

/// A group in the file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) version: Version,
    /// Where the hierarchy is mounted: the end of the way up.
    pub(super) top: PathBuf,
    pub(super) directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Version {
    V1,
    V2,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    version: Version,
    /// Of v1.
    controllers: Vec<String>,
    /// The group that is mounted.
    root: String,
    mountpoint: PathBuf,
}

/// A line of `/proc/self/mountinfo`, when it is a hierarchy.
pub(super) fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let root = unescape(place.nth(3)?);
    let mountpoint = PathBuf::from(unescape(place.next()?));
    let mut what = what.split(' ');
    let version = match what.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = what.nth(1).unwrap_or_default();
    Some(Hierarchy {
        version,
        controllers: options.split(',').map(ToOwned::to_owned).collect(),
        root,
        mountpoint,
    })
}

/// Where the group is that has this controller for a process, whose `/proc/PID/cgroup` says `text`.
pub(super) fn place(hierarchies: &[Hierarchy], text: &str, controller: &str) -> Option<Place> {
    // With a v1 hierarchy for the controller, the v2 one has nothing to say about it.
    let v1 = hierarchies.iter().find(|hierarchy| {
        hierarchy.version == Version::V1 && hierarchy.controllers.iter().any(|c| c == controller)
    });
    let hierarchy = match v1 {
        Some(hierarchy) => hierarchy,
        None => hierarchies.iter().find(|h| h.version == Version::V2)?,
    };
    in_hierarchy(hierarchy, text, controller)
}

/// The process' group in the v2 hierarchy, which tells its pressure even where v1 has the controllers.
pub(super) fn unified(hierarchies: &[Hierarchy], text: &str) -> Option<Place> {
    let v2 = hierarchies.iter().find(|h| h.version == Version::V2)?;
    in_hierarchy(v2, text, "")
}

fn in_hierarchy(hierarchy: &Hierarchy, text: &str, controller: &str) -> Option<Place> {
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = match hierarchy.version {
            Version::V1 => controllers.split(',').any(|name| name == controller),
            Version::V2 => controllers.is_empty(),
        };
        is_it.then_some(path)
    })?;
    // A group outside of what is mounted, or above our own namespace's root, can't be reached.
    let below = path.strip_prefix(hierarchy.root.trim_end_matches('/'))?;
    if below.split('/').any(|segment| segment == "..") {
        return None;
    }
    Some(Place {
        version: hierarchy.version,
        top: hierarchy.mountpoint.clone(),
        directory: hierarchy.mountpoint.join(below.trim_start_matches('/')),
    })
}

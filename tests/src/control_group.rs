//! A control group with limits, under whichever version this host has: v1 where its controllers
//! are mounted, else v2.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A group of our own at the root of its hierarchies, removed with its owner.
#[derive(Debug)]
pub struct ControlGroup {
    cpu: PathBuf,
    memory: PathBuf,
    is_v2: bool,
}

impl ControlGroup {
    /// Makes an empty group.
    ///
    /// # Errors
    /// No hierarchy is mounted below `/sys/fs/cgroup`, or it can't be written.
    pub fn create(name: &str) -> Result<Self> {
        let name = format!("{name}-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = root.join("cgroup.controllers").is_file();
        let group = if is_v2 {
            fs::write(root.join("cgroup.subtree_control"), "+cpu +memory")
                .context("enabling the controllers of CPU and memory")?;
            let folder = root.join(name);
            Self {
                cpu: folder.clone(),
                memory: folder,
                is_v2,
            }
        } else {
            Self {
                cpu: root.join("cpu").join(&name),
                memory: root.join("memory").join(&name),
                is_v2,
            }
        };
        for folder in [&group.cpu, &group.memory] {
            fs::create_dir_all(folder)
                .with_context(|| format!("making the group {}", folder.display()))?;
        }
        Ok(group)
    }

    /// Allows this share of one CPU.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn limit_cpu(&self, quota_us: u32, period_us: u32) -> Result<()> {
        if self.is_v2 {
            return write(&self.cpu, "cpu.max", &format!("{quota_us} {period_us}"));
        }
        write(&self.cpu, "cpu.cfs_period_us", &period_us.to_string())?;
        write(&self.cpu, "cpu.cfs_quota_us", &quota_us.to_string())
    }

    /// Allows so much memory.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn limit_memory(&self, bytes: u64) -> Result<()> {
        let name = match self.is_v2 {
            true => "memory.max",
            false => "memory.limit_in_bytes",
        };
        write(&self.memory, name, &bytes.to_string())
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// The process is gone.
    pub fn add(&self, pid: u32) -> Result<()> {
        write(&self.cpu, "cgroup.procs", &pid.to_string())?;
        write(&self.memory, "cgroup.procs", &pid.to_string())
    }

    /// Periods, those that were throttled, and the time for that in nanoseconds, as the kernel
    /// counts them.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn throttling(&self) -> Result<[u64; 3]> {
        let text = fs::read_to_string(self.cpu.join("cpu.stat"))?;
        let value = |key: &str| -> u64 {
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            let mut found = lines.filter(|(name, _)| *name == key);
            found.next().and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
        };
        let time = match self.is_v2 {
            true => value("throttled_usec") * 1000,
            false => value("throttled_time"),
        };
        Ok([value("nr_periods"), value("nr_throttled"), time])
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {text} to {}", path.display()))
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Who is still in it goes back to the root.
        for folder in [&self.cpu, &self.memory] {
            let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            let parent = folder.parent().map(|parent| parent.join("cgroup.procs"));
            if let Some(parent) = parent {
                for pid in members.lines() {
                    let _ = fs::write(&parent, pid);
                }
            }
            let _ = fs::remove_dir(folder);
        }
    }
}

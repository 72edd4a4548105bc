//! A virtual machine: a kernel, and an initramfs that holds nothing but busybox and our binaries.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{FOLDER, Payload, guest};
use crate::workspace::{Workspace, find_command};

/// How long a machine may run, in seconds: the guest's time and some for the boot.
const TIME_LIMIT: u32 = guest::TIME_LIMIT + 60;

/// PID 1. tracefs and debugfs are left unmounted on purpose: the probe must not need them.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
ip link set lo up
hostname guest
HOSTPROBE_BIN=/hostprobe timeout -s KILL @TIME_LIMIT@ /guest
echo "@MARKER@ $?"
poweroff -f
"#;

/// Folders that programs expect.
const FOLDERS: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "var/lib/hostprobe",
];

/// Users that programs look up; busybox has no other source for them.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Makes the initramfs that all machines boot. Returns its path.
pub(super) fn pack_initramfs(workspace: &Workspace, payload: &Payload) -> Result<PathBuf> {
    let tree = workspace.target(FOLDER).join("initramfs");
    workspace.shell.remove_path(&tree)?;
    for folder in FOLDERS {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let busybox = find_command("busybox").context("busybox is not installed")?;
    let copies = [
        (busybox.as_path(), "bin/busybox"),
        (&payload.hostprobe, "hostprobe"),
        (&payload.guest, "guest"),
    ];
    for (from, to) in copies {
        fs::copy(from, tree.join(to)).with_context(|| format!("copying {}", from.display()))?;
    }
    let init = INIT
        .replace("@TIME_LIMIT@", &guest::TIME_LIMIT.to_string())
        .replace("@MARKER@", guest::MARKER);
    for (name, text) in [
        ("init", init.as_str()),
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
    ] {
        fs::write(tree.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))
        .context("making /init executable")?;
    let archive = workspace.target(FOLDER).join("initramfs.cpio");
    archive_tree(&tree, &archive, &busybox)?;
    Ok(archive)
}

/// Writes a folder as the `newc` archive that kernels read. Not compressed: the emulated machine
/// would spend longer on unpacking than this one saves.
fn archive_tree(tree: &Path, archive: &Path, busybox: &Path) -> Result<()> {
    let mut list = Command::new("find")
        .arg(".")
        .current_dir(tree)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting find")?;
    let names = list.stdout.take().context("reading find's output")?;
    let packed = Command::new(busybox)
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(tree)
        .stdin(names)
        .stdout(File::create(archive).with_context(|| format!("writing {}", archive.display()))?)
        .stderr(Stdio::null())
        .status()
        .context("starting busybox cpio")?;
    let listed = list.wait().context("waiting for find")?;
    if !packed.success() || !listed.success() {
        bail!("packing {} failed", tree.display());
    }
    Ok(())
}

/// Boots a kernel and waits until the machine powers off. Its console goes to `log`.
pub(super) fn boot(kernel: &Path, initramfs: &Path, log: &Path) -> Result<()> {
    let console = File::create(log).with_context(|| format!("writing {}", log.display()))?;
    let status = Command::new("timeout")
        .args([
            "--kill-after=5",
            &TIME_LIMIT.to_string(),
            "qemu-system-x86_64",
        ])
        // Emulated, not KVM: the same everywhere, also in virtual machines and containers.
        //
        // Two processors that take turns on one thread. With a thread each, 4 of 8 runs died: a
        // processor ran into a breakpoint that the other had put into the kernel's code, and taken
        // out again, to switch a static key (`Oops: int3`, or both stuck), as each attach and
        // detach does. Taking turns, none of 8 runs and 130 attaches did.
        .args(["-accel", "tcg,thread=single", "-cpu", "max"])
        .args(["-smp", "2", "-m", "1G"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        // panic=-1 with -no-reboot: a panic ends the machine at once, with its text in the log.
        // tsc=reliable: else the kernel finds the emulated counters apart, takes a clock that
        // can't be read without a syscall, and workloads make calls that nobody asked for.
        .arg("-append")
        .arg("console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable")
        .args(["-nographic", "-no-reboot", "-nic", "none"])
        .stdin(Stdio::null())
        .stderr(console.try_clone().context("sharing the log")?)
        .stdout(console)
        .status()
        .context("starting qemu-system-x86_64")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(124 | 137) | None => bail!("the machine did not power off within {TIME_LIMIT} s"),
        Some(code) => bail!("qemu ended with code {code}"),
    }
}

//! Writes a small copy of a kernel's type information (BTF) that holds what the probe looks up:
//! the structures of `Offsets::FIELDS` with all they contain by value, and the tracepoints' typedefs
//! with their prototypes. Pointers to anything else become pointers to a declaration or to `void`.
//!
//! `cargo run --example reduce_btf -- /sys/kernel/btf/vmlinux probe-user/fixtures/btf/$(uname -r).btf`
//!
//! The copy is checked against the original before the program says that it succeeded.

use std::{collections::HashMap, env, fs, io::Write as _, time::Instant};

use anyhow::{Context as _, ensure};
use probe_user::kernel::{
    btf::{Btf, Kind, Type},
    offsets,
};

/// The tracepoints that the probe attaches to, now or soon.
const TRACEPOINTS: &[&str] = &[
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
    "sys_enter",
    "sys_exit",
    "inet_sock_set_state",
    "tcp_retransmit_skb",
    "tcp_receive_reset",
    "tcp_send_reset",
    "tcp_destroy_sock",
    "sched_switch",
    "sched_wakeup",
    "sched_wakeup_new",
    "block_io_start",
    "block_rq_insert",
    "block_rq_issue",
    "block_rq_complete",
    "mark_victim",
    "sock_send_length",
    "sock_recv_length",
];

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(input), Some(output), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        anyhow::bail!("usage: reduce_btf IN OUT (IN: BTF such as /sys/kernel/btf/vmlinux)");
    };
    let data = fs::read(&input).with_context(|| format!("reading {input}"))?;
    let started = Instant::now();
    let full = Btf::parse(&data).with_context(|| format!("parsing {input}"))?;
    let parsing = started.elapsed();
    let reduced = Reducer::new(&full).reduce()?;
    compare(
        &full,
        &Btf::parse(&reduced).context("parsing the reduced copy")?,
    )?;
    fs::write(&output, &reduced).with_context(|| format!("writing {output}"))?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{input}: {} bytes, {} types",
        data.len(),
        full.type_count()
    )?;
    writeln!(
        out,
        "parsed in {parsing:?}; {output}: {} bytes",
        reduced.len()
    )?;
    for field in offsets::resolve(&full).missing {
        writeln!(out, "{field}")?;
    }
    for name in TRACEPOINTS
        .iter()
        .filter(|name| !full.tracepoint_exists(name))
    {
        writeln!(out, "this kernel has no tracepoint {name}")?;
    }
    Ok(())
}

/// Fails unless both answer everything alike.
fn compare(full: &Btf<'_>, reduced: &Btf<'_>) -> anyhow::Result<()> {
    let (expected, got) = (offsets::resolve(full), offsets::resolve(reduced));
    ensure!(
        expected == got,
        "the reduced copy says {got:?} instead of {expected:?}"
    );
    for name in TRACEPOINTS {
        ensure!(
            full.tracepoint_exists(name) == reduced.tracepoint_exists(name),
            "{name} differs"
        );
        let (expected, got) = (
            full.tracepoint_arguments(name),
            reduced.tracepoint_arguments(name),
        );
        ensure!(
            expected == got,
            "{name} has {got:?} arguments instead of {expected:?}"
        );
    }
    Ok(())
}

/// One type of the copy, already in its stored form.
#[derive(Default)]
struct Stored {
    name: u32,
    info: u32,
    size_or_type: u32,
    data: Vec<u32>,
}

struct Reducer<'a> {
    full: &'a Btf<'a>,
    types: Vec<Stored>,
    /// Old id to new id.
    copied: HashMap<u32, u32>,
    /// Declarations that stand for structures not copied, by (is union, name).
    declared: HashMap<(bool, Vec<u8>), u32>,
    strings: Vec<u8>,
    string_offsets: HashMap<Vec<u8>, u32>,
}

impl<'a> Reducer<'a> {
    fn new(full: &'a Btf<'a>) -> Self {
        Self {
            full,
            types: Vec::new(),
            copied: HashMap::new(),
            declared: HashMap::new(),
            strings: vec![0],
            string_offsets: HashMap::from([(Vec::new(), 0)]),
        }
    }

    fn reduce(mut self) -> anyhow::Result<Vec<u8>> {
        for name in offsets::structures() {
            // All namesakes, so that an ambiguous name stays ambiguous.
            for kind in [Kind::Struct, Kind::Union] {
                for id in self.full.types_by_name(kind, name) {
                    self.copy(id)?;
                }
            }
        }
        for tracepoint in TRACEPOINTS {
            let name = format!("btf_trace_{tracepoint}");
            let Some(id) = self.full.type_by_name(Kind::Typedef, &name) else {
                continue;
            };
            let pointer = self.get(self.get(id)?.size_or_type)?;
            ensure!(
                pointer.kind == Kind::Ptr,
                "{name} is a {} and no pointer",
                pointer.kind
            );
            let prototype = self.copy(pointer.size_or_type)?;
            let pointer = self.add(Kind::Ptr, b"", prototype)?;
            self.add(Kind::Typedef, name.as_bytes(), pointer)?;
        }
        self.finish()
    }

    /// Copies a type and all that it holds by value; gives its new id.
    fn copy(&mut self, id: u32) -> anyhow::Result<u32> {
        if id == 0 {
            return Ok(0);
        }
        if let Some(&copy) = self.copied.get(&id) {
            return Ok(copy);
        }
        let old = self.get(id)?;
        // The id is taken before descending, because structures may refer to themselves.
        let copy = self.add(old.kind, b"", old.size_or_type)?;
        self.copied.insert(id, copy);
        let (size_or_type, data) = match old.kind {
            Kind::Int | Kind::Float => (old.size_or_type, words(old.data)),
            // Names and values of enumerators do not matter to any look-up.
            Kind::Enum | Kind::Enum64 => (old.size_or_type, Vec::new()),
            Kind::Fwd => (0, Vec::new()),
            Kind::Ptr => (self.pointee(old.size_or_type)?, Vec::new()),
            Kind::Array => {
                let [element, index, count] = old.array().context("an array without extent")?;
                (0, vec![self.copy(element)?, self.copy(index)?, count])
            }
            Kind::Struct | Kind::Union => (old.size_or_type, self.members(&old)?),
            Kind::FuncProto => {
                let mut data = Vec::new();
                for parameter in old.parameters() {
                    data.extend([
                        self.string(parameter.name_offset)?,
                        self.copy(parameter.type_id)?,
                    ]);
                }
                (self.copy(old.size_or_type)?, data)
            }
            Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                (self.copy(old.size_or_type)?, Vec::new())
            }
            other => anyhow::bail!("type {id} is a {other}, which nothing can hold by value"),
        };
        let name = self.string(old.name_offset)?;
        let len = if data.is_empty() { 0 } else { old.len };
        let info = info(old.kind, len, old.flag);
        *self.slot(copy)? = Stored {
            name,
            info,
            size_or_type,
            data,
        };
        Ok(copy)
    }

    fn members(&mut self, old: &Type<'_>) -> anyhow::Result<Vec<u32>> {
        let mut data = Vec::new();
        for member in old.members() {
            let name = self.string(member.name_offset)?;
            let flagged = if old.flag {
                member.bitfield_bits << 24
            } else {
                0
            };
            data.extend([
                name,
                self.copy(member.type_id)?,
                flagged | member.bit_offset,
            ]);
        }
        Ok(data)
    }

    /// What a pointer in the copy points to: pointers and structures that are copied anyway as
    /// they are, other structures as a declaration, everything else as `void`.
    fn pointee(&mut self, id: u32) -> anyhow::Result<u32> {
        if id == 0 {
            return Ok(0);
        }
        let old = self.get(id)?;
        match old.kind {
            Kind::Ptr => self.copy(id),
            Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict => {
                self.pointee(old.size_or_type)
            }
            Kind::TypeTag => {
                let inner = self.pointee(old.size_or_type)?;
                let name = self.name(old.name_offset)?;
                self.add(Kind::TypeTag, name, inner)
            }
            Kind::Struct | Kind::Union if old.name_offset != 0 => {
                let name = self.name(old.name_offset)?;
                if offsets::structures()
                    .iter()
                    .any(|kept| kept.as_bytes() == name)
                {
                    return self.copy(id);
                }
                let key = (old.kind == Kind::Union, name.to_vec());
                if let Some(&declaration) = self.declared.get(&key) {
                    return Ok(declaration);
                }
                let declaration = self.add(Kind::Fwd, name, 0)?;
                self.slot(declaration)?.info = info(Kind::Fwd, 0, key.0);
                self.declared.insert(key, declaration);
                Ok(declaration)
            }
            _ => Ok(0),
        }
    }

    fn add(&mut self, kind: Kind, name: &[u8], size_or_type: u32) -> anyhow::Result<u32> {
        let name = self.intern(name)?;
        self.types.push(Stored {
            name,
            info: info(kind, 0, false),
            size_or_type,
            data: vec![],
        });
        Ok(u32::try_from(self.types.len())?)
    }

    fn slot(&mut self, id: u32) -> anyhow::Result<&mut Stored> {
        self.types
            .get_mut((id as usize).wrapping_sub(1))
            .context("a type that was never added")
    }

    fn get(&self, id: u32) -> anyhow::Result<Type<'a>> {
        self.full
            .get(id)
            .with_context(|| format!("the original has no type {id}"))
    }

    fn name(&self, offset: u32) -> anyhow::Result<&'a [u8]> {
        self.full
            .name(offset)
            .with_context(|| format!("the original has no name at {offset}"))
    }

    /// Copies a string of the original; gives its new offset.
    fn string(&mut self, offset: u32) -> anyhow::Result<u32> {
        let name = self.name(offset)?;
        self.intern(name)
    }

    fn intern(&mut self, name: &[u8]) -> anyhow::Result<u32> {
        if let Some(&offset) = self.string_offsets.get(name) {
            return Ok(offset);
        }
        let offset = u32::try_from(self.strings.len())?;
        self.strings.extend(name);
        self.strings.push(0);
        self.string_offsets.insert(name.to_vec(), offset);
        Ok(offset)
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        let types: Vec<u32> = self
            .types
            .into_iter()
            .flat_map(|t| [t.name, t.info, t.size_or_type].into_iter().chain(t.data))
            .collect();
        let type_len = u32::try_from(types.len() * 4)?;
        let header = [
            24,
            0,
            type_len,
            type_len,
            u32::try_from(self.strings.len())?,
        ];
        let magic = 0xeb9f_u16.to_ne_bytes();
        let version_and_flags = [1, 0];
        let mut blob = [magic, version_and_flags].concat();
        blob.extend(header.into_iter().chain(types).flat_map(u32::to_ne_bytes));
        blob.extend(self.strings);
        Ok(blob)
    }
}

fn info(kind: Kind, len: u16, flag: bool) -> u32 {
    u32::from(flag) << 31 | (kind as u32) << 24 | u32::from(len)
}

fn words(data: &[u8]) -> Vec<u32> {
    data.as_chunks()
        .0
        .iter()
        .copied()
        .map(u32::from_ne_bytes)
        .collect()
}

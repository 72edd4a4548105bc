//! How large a file is, as it is and compressed.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

/// Larger files are not compressed.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// What `gzip -9` does.
const GZIP_LEVEL: u32 = 9;
/// The best that Brotli does, as for files that are compressed once; with its largest window.
const BROTLI: (u32, u32) = (11, 22);
const BUFFER: usize = 64 << 10;

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// As it is.
    pub raw: u64,
    /// Compressed by gzip; `None` when nobody asked.
    pub gzip: Option<u64>,
    /// Compressed by Brotli, likewise.
    pub brotli: Option<u64>,
}

/// Measures a file.
///
/// # Errors
/// It can't be read.
pub(super) fn measure(path: &Path, gzip: bool, brotli: bool) -> io::Result<Sizes> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let compress = |wanted: bool| wanted && length <= MAX_BYTES;
    let mut gzip =
        compress(gzip).then(|| GzEncoder::new(Counted::default(), Compression::new(GZIP_LEVEL)));
    let mut brotli = compress(brotli)
        .then(|| brotli::CompressorWriter::new(Counted::default(), BUFFER, BROTLI.0, BROTLI.1));
    let mut raw = 0;
    if gzip.is_some() || brotli.is_some() {
        // A file that grows meanwhile is measured as far as it may be.
        let mut file = file.take(MAX_BYTES);
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            raw += read as u64;
            if let Some(gzip) = &mut gzip {
                gzip.write_all(bytes)?;
            }
            if let Some(brotli) = &mut brotli {
                brotli.write_all(bytes)?;
            }
        }
    } else {
        raw = length;
    }
    let gzip = gzip.map(GzEncoder::finish).transpose()?;
    Ok(Sizes {
        raw,
        gzip: gzip.map(|counted| counted.0),
        brotli: brotli.map(|writer| writer.into_inner().0),
    })
}

/// Counts bytes and forgets them.
#[derive(Default)]
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever compares with the tools at hand gets the same numbers.
    #[test]
    fn sizes_are_those_of_gzip_and_brotli() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.js");
        let text: String = (0..2_000)
            .map(|n| format!("function f{n}(){{return {n}}}\n"))
            .collect();
        std::fs::write(&path, &text).unwrap();
        let sizes = measure(&path, true, true).unwrap();
        assert_eq!(sizes.raw, text.len() as u64);
        let gzip = std::process::Command::new("gzip")
            .arg("-9cn")
            .arg(&path)
            .output()
            .unwrap();
        let (ours, theirs) = (sizes.gzip.unwrap() as f64, gzip.stdout.len() as f64);
        assert!((ours / theirs - 1.0).abs() < 0.03, "{ours} {theirs}");
        let mut whole = Vec::new();
        let parameters = brotli::enc::BrotliEncoderParams::default();
        brotli::BrotliCompress(&mut text.as_bytes(), &mut whole, &parameters).unwrap();
        assert_eq!(sizes.brotli.unwrap(), whole.len() as u64);
        let plain = measure(&path, false, false).unwrap();
        assert_eq!(
            (plain.raw, plain.gzip, plain.brotli),
            (sizes.raw, None, None)
        );
        assert!(measure(&folder.path().join("none"), true, true).is_err());
    }
}

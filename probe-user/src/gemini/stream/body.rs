//! Content codings (RFC 9110, section 8.4.1), undone as the body comes. What comes out is handed on
//! at once; a decoder holds its window and a buffer of 32 KiB.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// The most that a body may become. It is not held, but takes time to read.
const MAX_DECODED: u64 = 256 * 1024 * 1024;
/// Windows of zstd beyond 8 MiB are refused (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;
const BUFFER: usize = 16 * 1024;

/// Why a body can't be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// No such coding is known, or there are several around one another.
    Coding,
    /// The bytes are not of that coding, or broke off.
    Corrupt,
    /// More comes out than is looked at.
    TooLarge,
}

/// Who takes what comes out.
pub(super) trait Sink: Default {
    /// The next bytes.
    fn take(&mut self, bytes: &[u8]);
}

/// A body whose coding is undone.
pub(super) struct Body<S: Sink> {
    coding: Coding<S>,
    failed: Option<BodyError>,
    /// Anything has come.
    begun: bool,
}

enum Coding<S: Sink> {
    Identity(Limited<S>),
    Gzip(Box<MultiGzDecoder<Limited<S>>>),
    /// `deflate` is zlib's format, but some servers send the bare one: the first two bytes tell.
    Deflate(Limited<S>, Vec<u8>),
    Zlib(Box<ZlibDecoder<Limited<S>>>),
    Bare(Box<DeflateDecoder<Limited<S>>>),
    Brotli(Box<DecompressorWriter<Limited<S>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Limited<S>>>),
    /// Nothing more is read.
    Over(Limited<S>),
}

impl<S: Sink> Body<S> {
    /// A body with this value of `Content-Encoding`.
    pub(super) fn new(content_encoding: &str, sink: S) -> Self {
        let sink = Limited { sink, decoded: 0 };
        let name = content_encoding.trim().to_ascii_lowercase();
        let mut failed = None;
        let coding = match name.as_str() {
            "" | "identity" => Coding::Identity(sink),
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(MultiGzDecoder::new(sink))),
            "deflate" => Coding::Deflate(sink, Vec::new()),
            "br" => Coding::Brotli(Box::new(DecompressorWriter::new(sink, BUFFER))),
            "zstd" => zstd_decoder(sink, &mut failed),
            _ => {
                failed = Some(BodyError::Coding);
                Coding::Over(sink)
            }
        };
        Self {
            coding,
            failed,
            begun: false,
        }
    }

    /// Whether the bytes are read as they are.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.coding, Coding::Identity(_))
    }

    /// Who takes what comes out.
    pub(super) fn sink(&mut self) -> &mut S {
        &mut self.coding.limited().sink
    }

    /// The next bytes, as they were sent.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() || bytes.is_empty() {
            return;
        }
        if let Coding::Deflate(sink, first) = &mut self.coding {
            first.extend_from_slice(bytes);
            if first.len() < 2 {
                return;
            }
            let first = std::mem::take(first);
            let sink = std::mem::take(sink);
            self.coding = if is_zlib(&first) {
                Coding::Zlib(Box::new(ZlibDecoder::new(sink)))
            } else {
                Coding::Bare(Box::new(DeflateDecoder::new(sink)))
            };
            return self.feed(&first);
        }
        self.feed(bytes);
    }

    fn feed(&mut self, bytes: &[u8]) {
        // Brotli's large windows, an extension, begin like this and may take a gigabyte.
        let large = matches!(self.coding, Coding::Brotli(_))
            && !std::mem::replace(&mut self.begun, true)
            && bytes.first().is_some_and(|first| first & 0x7f == 0x11);
        if large {
            self.fail(BodyError::Coding);
        } else if let Err(error) = self.coding.write(bytes) {
            self.fail(reason(&error));
        }
    }

    /// Nothing of the rest can be read, because bytes are missing.
    pub(super) fn give_up(&mut self) {
        self.failed.get_or_insert(BodyError::Corrupt);
    }

    fn fail(&mut self, error: BodyError) {
        self.failed.get_or_insert(error);
    }

    /// The end: who took it, and what went wrong.
    pub(super) fn finish(mut self) -> (S, Option<BodyError>) {
        if let Coding::Deflate(_, first) = &self.coding
            && !first.is_empty()
        {
            self.fail(BodyError::Corrupt);
        }
        if self.failed.is_none()
            && let Err(error) = self.coding.end()
        {
            self.fail(reason(&error));
        }
        let sink = std::mem::take(&mut self.coding.limited().sink);
        (sink, self.failed)
    }
}

fn zstd_decoder<S: Sink>(sink: Limited<S>, failed: &mut Option<BodyError>) -> Coding<S> {
    let mut decoder = match zstd::stream::write::Decoder::new(sink) {
        Ok(decoder) => decoder,
        // No memory for it.
        Err(_) => {
            *failed = Some(BodyError::Coding);
            return Coding::Over(Limited::default());
        }
    };
    if decoder.window_log_max(ZSTD_WINDOW_LOG).is_err() {
        *failed = Some(BodyError::Coding);
    }
    Coding::Zstd(Box::new(decoder))
}

/// RFC 1950, section 2.2.
fn is_zlib(first: &[u8]) -> bool {
    match first {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

fn reason(error: &io::Error) -> BodyError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => BodyError::TooLarge,
        _ => BodyError::Corrupt,
    }
}

impl<S: Sink> Coding<S> {
    fn limited(&mut self) -> &mut Limited<S> {
        match self {
            Self::Identity(sink) | Self::Deflate(sink, _) | Self::Over(sink) => sink,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Bare(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(sink) => sink.write_all(bytes),
            Self::Deflate(..) | Self::Over(_) => Ok(()),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Zlib(decoder) => decoder.write_all(bytes),
            Self::Bare(decoder) => decoder.write_all(bytes),
            Self::Brotli(decoder) => decoder.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// Hands on what a decoder still holds.
    fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Identity(_) | Self::Deflate(..) | Self::Over(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Bare(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::Zstd(decoder) => decoder.flush(),
        }
    }
}

/// Refuses what is too much.
#[derive(Default)]
struct Limited<S: Sink> {
    sink: S,
    decoded: u64,
}

impl<S: Sink> Write for Limited<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.decoded = self.decoded.saturating_add(bytes.len() as u64);
        if self.decoded > MAX_DECODED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.sink.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

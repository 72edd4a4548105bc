//! The script that pages load, `vitals.js`. `cargo xtask generate` builds it from `web/vitals`.

use serde::Serialize;

/// As it was built, without defaults.
const BUILT: &str = include_str!("script/vitals.js");

/// The licence of the library within, which must go where the script goes.
pub const LICENCE: &str = include_str!("script/LICENSE-web-vitals");

/// What the script does where its tag does not say otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Defaults {
    /// Share of page loads that are reported, 0 to 1 (`data-sample`).
    pub sample: f64,
    /// Milliseconds from which a call of the page is slow (`data-slow-ms`).
    pub slow_ms: u32,
}

/// The script with these defaults, which are its first line. Never changes while they don't.
pub fn served(defaults: &Defaults) -> String {
    // Numbers alone: JSON of them is JavaScript. They always serialise.
    let defaults = serde_json::to_string(defaults).unwrap_or_else(|_| "{}".to_owned());
    let rest = BUILT.split_once('\n').map_or(BUILT, |(_, rest)| rest);
    format!("(()=>{{const HOSTPROBE_DEFAULTS={defaults};\n{rest}")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// What a page has to load for it, in bytes. More would be felt by the users it is to protect.
    const LARGEST: usize = 12_000;

    /// Otherwise the defaults replace a part of the program.
    #[test]
    fn the_first_line_holds_the_defaults_and_nothing_else() {
        assert!(
            BUILT.starts_with("(()=>{const HOSTPROBE_DEFAULTS={};\n"),
            "not as web/vitals/build.mjs writes it: {:?}",
            BUILT.lines().next()
        );
        let served = served(&Defaults {
            sample: 0.25,
            slow_ms: 700,
        });
        let (first, rest) = served.split_once('\n').expect("there are several lines");
        assert_eq!(
            first,
            r#"(()=>{const HOSTPROBE_DEFAULTS={"sample":0.25,"slow_ms":700};"#
        );
        assert!(BUILT.ends_with(rest));
    }

    #[test]
    fn it_is_small() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(BUILT.as_bytes()).expect("memory takes all");
        let size = gzip.finish().expect("memory takes all").len();
        assert!(size <= LARGEST, "vitals.js has {size} bytes, compressed");
    }

    /// A strict Content-Security-Policy forbids what makes code from text.
    #[test]
    fn it_makes_no_code_from_text_and_keeps_nothing() {
        for word in [
            "eval(",
            "Function(",
            "innerHTML",
            "document.write",
            ".cookie",
            "localStorage",
            "sessionStorage",
            "indexedDB",
        ] {
            assert!(!BUILT.contains(word), "{word}");
        }
    }

    /// Its licence asks for that.
    #[test]
    fn the_library_is_named_with_its_licence() {
        assert!(BUILT.contains("web-vitals") && BUILT.contains("Apache-2.0"));
        assert!(LICENCE.contains("Apache License"));
    }
}

//! The members as they are written, before anything is checked but their types.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::List;

/// A batch, or an object of the web-vitals library.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Top {
    pub(super) v: Option<u64>,
    pub(super) session: Option<String>,
    pub(super) page: Option<String>,
    pub(super) app: Option<String>,
    pub(super) release: Option<String>,
    pub(super) device: Option<String>,
    pub(super) connection: Option<String>,
    pub(super) navigation: Option<String>,
    pub(super) sample_rate: Option<f64>,
    pub(super) started: Option<bool>,
    pub(super) at_ms: Option<f64>,
    pub(super) vitals: List<Vital>,
    pub(super) errors: List<PageError>,
    pub(super) calls: List<Call>,
    pub(super) resources: List<Resources>,
    pub(super) long_frames: Option<LongFrames>,
    pub(super) actions: List<Action>,
    // From here on: the names of the library's objects, and where people put the page.
    pub(super) name: Option<String>,
    pub(super) value: Option<f64>,
    pub(super) id: Option<String>,
    pub(super) rating: Option<String>,
    #[serde(rename = "navigationType")]
    pub(super) navigation_type: Option<String>,
    #[serde(rename = "navigationURL")]
    pub(super) navigation_url: Option<String>,
    pub(super) attribution: Option<Attribution>,
    pub(super) path: Option<String>,
    pub(super) pathname: Option<String>,
    pub(super) url: Option<String>,
    pub(super) timestamp: Option<f64>,
}

impl Top {
    /// Whether it is an object of the library.
    pub(super) fn is_plain(&self) -> bool {
        self.name.is_some()
    }
}

/// What decided, under names that differ from vital to vital and from version to version.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Attribution(BTreeMap<String, Value>);

impl Attribution {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(str::to_owned)
    }

    /// The selector.
    pub(super) fn target(&self) -> Option<String> {
        let names = [
            "target",
            "interactionTarget",
            "largestShiftTarget",
            "eventTarget",
            "element",
        ];
        names.iter().find_map(|name| self.text(name))
    }
}

/// One of `vitals`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Vital {
    pub(super) name: Option<String>,
    pub(super) value: Option<f64>,
    pub(super) id: Option<String>,
    pub(super) rating: Option<String>,
    pub(super) target: Option<String>,
    pub(super) url: Option<String>,
    pub(super) load_state: Option<String>,
}

/// One of `errors`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PageError {
    pub(super) kind: Option<String>,
    #[serde(rename = "type")]
    pub(super) type_: Option<String>,
    pub(super) message: Option<String>,
    pub(super) stack: Option<String>,
    pub(super) source: Option<String>,
    pub(super) line: Option<f64>,
    pub(super) column: Option<f64>,
    pub(super) count: Option<f64>,
}

/// One of `calls`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    pub(super) method: Option<String>,
    pub(super) page_origin: Option<bool>,
    pub(super) path: Option<String>,
    pub(super) status: Option<f64>,
    pub(super) duration_ms: Option<f64>,
    pub(super) count: Option<f64>,
    pub(super) reason: Option<String>,
}

/// One of `resources`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) count: Option<f64>,
    pub(super) bytes: Option<f64>,
    pub(super) opaque: Option<f64>,
    pub(super) duration_ms: Option<f64>,
}

/// `long_frames`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LongFrames {
    pub(super) count: Option<f64>,
    pub(super) blocking_ms: Option<f64>,
}

/// One of `actions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    pub(super) name: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) count: Option<f64>,
}

//! Reads the body of Grafana Faro's web SDK: `meta`, `exceptions`, `measurements`, `events`, `logs`.
//!
//! Whoever uses it points its collector's `url` at `/api/faro`. The body is made into a batch of our
//! own, and checked as such: vitals, exceptions, resources and navigations (`faro.performance.*`),
//! changes of the view, and events of the page's own as actions. Logs and traces are not kept.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{Beacon, Context, Endpoint, Refusal, beacon::VitalName, parse};

/// Members of each list that are taken; a body is small in any case.
const MAX_MEMBERS: usize = parse::MAX_MEMBERS;
/// Frames of an exception.
const MAX_FRAMES: usize = 50;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(deserialize_with = "or_default")]
    meta: Meta,
    #[serde(deserialize_with = "or_default")]
    exceptions: Vec<Exception>,
    #[serde(deserialize_with = "or_default")]
    measurements: Vec<Measurement>,
    #[serde(deserialize_with = "or_default")]
    events: Vec<Event>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    #[serde(deserialize_with = "or_default")]
    app: App,
    #[serde(deserialize_with = "or_default")]
    session: Session,
    #[serde(deserialize_with = "or_default")]
    page: Page,
    #[serde(deserialize_with = "or_default")]
    browser: Browser,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct App {
    name: Option<String>,
    version: Option<String>,
    release: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Session {
    id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Browser {
    mobile: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Exception {
    #[serde(rename = "type")]
    type_: Option<String>,
    value: Option<String>,
    #[serde(deserialize_with = "or_default")]
    stacktrace: Stacktrace,
    timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stacktrace {
    #[serde(deserialize_with = "or_default")]
    frames: Vec<Frame>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Frame {
    function: Option<String>,
    filename: Option<String>,
    lineno: Option<f64>,
    colno: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Measurement {
    #[serde(deserialize_with = "or_default")]
    values: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_default")]
    context: BTreeMap<String, Value>,
    timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    attributes: BTreeMap<String, Value>,
}

/// `null` is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a body.
///
/// # Errors
/// What is wrong, where, and what is allowed.
pub fn read(body: &[u8], context: &Context) -> Result<Vec<Beacon>, Refusal> {
    parse::check_depth(body)?;
    let body: Body = parse::read(body)?;
    for (field, members) in [
        ("exceptions", body.exceptions.len()),
        ("measurements", body.measurements.len()),
        ("events", body.events.len()),
    ] {
        if members > MAX_MEMBERS {
            return Err(Refusal::TooMany {
                field,
                most: MAX_MEMBERS,
            });
        }
    }
    let batch = serde_json::to_vec(&batch(&body)).unwrap_or_default();
    Beacon::parse(&batch, Endpoint::Metrics, context)
}

fn batch(body: &Body) -> Value {
    let meta = &body.meta;
    let mut events = Events::default();
    for event in &body.events {
        events.add(event);
    }
    let vitals: Vec<Value> = body.measurements.iter().flat_map(vitals).collect();
    let mut batch = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            batch.insert(name.to_owned(), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    set("session", text(&meta.session.id));
    set("page", text(&meta.page.url));
    set("app", text(&meta.app.name));
    set(
        "release",
        text(&meta.app.release).or(text(&meta.app.version)),
    );
    set(
        "device",
        meta.browser
            .mobile
            .filter(|mobile| *mobile)
            .map(|_| json!("mobile")),
    );
    set(
        "navigation",
        navigation(&body.measurements).map(Value::from),
    );
    set("started", events.started.then_some(json!(true)));
    set("at_ms", told_at(body).map(Value::from));
    set("vitals", Some(vitals.into()));
    let errors: Vec<Value> = body.exceptions.iter().map(error).collect();
    set("errors", Some(errors.into()));
    set("actions", Some(events.actions.into()));
    let resources: Vec<Value> = events
        .resources
        .into_iter()
        .map(|(kind, sums)| {
            json!({
                "type": kind, "count": sums.count, "bytes": sums.bytes,
                "opaque": sums.opaque, "duration_ms": sums.duration_ms
            })
        })
        .collect();
    set("resources", Some(resources.into()));
    Value::Object(batch)
}

/// A measurement has one vital, and what it is made of beside it.
fn vitals(measurement: &Measurement) -> Vec<Value> {
    let context = |names: &[&str]| -> Option<&str> {
        names
            .iter()
            .find_map(|name| measurement.context.get(*name)?.as_str())
    };
    let known = VitalName::ALL.iter().filter_map(|name| {
        let value = measurement.values.get(&name.as_str().to_ascii_lowercase())?.as_f64()?;
        Some(json!({
            "name": name.as_str(),
            "value": value,
            "id": context(&["id"]).unwrap_or_default(),
            "target": context(&["element", "largest_shift_target", "interaction_target", "event_target"]),
            "url": context(&["url", "resource_url"]),
            "load_state": context(&["load_state"]),
        }))
    });
    known.collect()
}

/// The library's words, with either mark.
fn navigation(measurements: &[Measurement]) -> Option<String> {
    let mut told = measurements
        .iter()
        .filter_map(|one| one.context.get("navigation_type"));
    let word = told.find_map(Value::as_str)?.replace('_', "-");
    super::beacon::Navigation::from_word(&word).map(|known| known.as_str().to_owned())
}

fn told_at(body: &Body) -> Option<i64> {
    let exceptions = body.exceptions.iter().map(|one| &one.timestamp);
    let mut told = exceptions.chain(body.measurements.iter().map(|one| &one.timestamp));
    let at = told.find_map(|text| text.as_ref()?.parse::<Timestamp>().ok())?;
    Some(at.as_millisecond())
}

fn error(exception: &Exception) -> Value {
    let type_ = exception.type_.clone().unwrap_or_default();
    let message = exception.value.clone().unwrap_or_default();
    let frames = &exception.stacktrace.frames;
    // What the SDK calls a rejection with something that is no error.
    let rejected = type_ == "UnhandledRejection";
    let mut stack = format!("{type_}: {message}");
    for frame in frames.iter().take(MAX_FRAMES) {
        let file = frame.filename.as_deref().unwrap_or("<anonymous>");
        let number = |number: Option<f64>| number.map_or_else(String::new, |n| format!(":{n}"));
        let (line, column) = (number(frame.lineno), number(frame.colno));
        match frame
            .function
            .as_deref()
            .filter(|name| !matches!(*name, "" | "?"))
        {
            Some(function) => {
                stack.push_str(&format!("\n    at {function} ({file}{line}{column})"))
            }
            None => stack.push_str(&format!("\n    at {file}{line}{column}")),
        }
    }
    let first = frames.first();
    json!({
        "kind": if rejected { "unhandledrejection" } else { "error" },
        "type": if rejected { "" } else { type_.as_str() },
        "message": message,
        "stack": (!frames.is_empty()).then_some(stack),
        "source": first.and_then(|frame| frame.filename.clone()),
        "line": first.and_then(|frame| frame.lineno),
        "column": first.and_then(|frame| frame.colno),
        "count": 1,
    })
}

/// What events are added up to.
#[derive(Default)]
struct Events {
    started: bool,
    actions: Vec<Value>,
    resources: BTreeMap<&'static str, Sums>,
}

#[derive(Default)]
struct Sums {
    count: u64,
    bytes: f64,
    opaque: u64,
    duration_ms: f64,
}

impl Events {
    fn add(&mut self, event: &Event) {
        let Some(name) = event.name.as_deref() else {
            return;
        };
        // Numbers come as text.
        let number = |name: &str| -> Option<f64> {
            let value = event.attributes.get(name)?;
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            number.filter(|number| number.is_finite() && *number >= 0.0)
        };
        let text = |names: &[&str]| -> Option<&str> {
            names
                .iter()
                .find_map(|name| event.attributes.get(*name)?.as_str())
        };
        match name {
            "faro.performance.navigation" => self.started = true,
            "faro.performance.resource" => {
                let sums = self
                    .resources
                    .entry(kind(text(&["initiatorType"]), text(&["name"])));
                let sums = sums.or_default();
                let bytes = number("transferSize").unwrap_or_default();
                sums.count += 1;
                sums.bytes += bytes;
                sums.opaque += u64::from(bytes <= 0.0);
                sums.duration_ms += number("duration").unwrap_or_default();
            }
            "view_changed" | "route_change" => {
                let route = text(&["toView", "toRoute"]).unwrap_or(name);
                self.actions
                    .push(json!({"name": route, "kind": "route", "count": 1}));
            }
            // What the SDK tells of itself.
            _ if name.starts_with("faro.") || name.starts_with("session_") => {}
            _ => self
                .actions
                .push(json!({"name": name, "kind": "click", "count": 1})),
        }
    }
}

/// Type of a file by who asked for it, else by its name.
fn kind(initiator: Option<&str>, address: Option<&str>) -> &'static str {
    let path = address.unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (initiator.unwrap_or_default(), extension) {
        ("fetch" | "xmlhttprequest" | "beacon", _) => "fetch",
        (_, "woff" | "woff2" | "ttf" | "otf") => "font",
        ("script", _) | (_, "js" | "mjs") => "script",
        (_, "css") => "css",
        ("img" | "image" | "imageset", _)
        | (_, "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico") => "image",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vitals::beacon::{ActionKind, Device, ErrorKind, Navigation, ResourceType};

    fn read_text(text: &str) -> Result<Vec<Beacon>, Refusal> {
        read(text.as_bytes(), &Context::default())
    }

    /// As the SDK sends it.
    const BODY: &str = r##"{
      "meta": {
        "sdk": {"name": "@grafana/faro-web-sdk", "version": "1.12.2", "integrations": []},
        "app": {"name": "shop", "version": "1.4.2", "environment": "production"},
        "session": {"id": "9XkqT3", "attributes": {"previousSession": null}},
        "page": {"url": "https://shop.example/cart?user=17#x"},
        "browser": {"name": "Chrome", "mobile": true, "userAgent": "x"},
        "view": {"name": "default"}, "user": null
      },
      "measurements": [
        {"type": "web-vitals", "values": {"lcp": 2712.5, "delta": 2712.5, "element_render_delay": 3},
         "context": {"id": "v4-17-1", "rating": "needs-improvement", "navigation_type": "back_forward",
                     "element": "#hero>img"}, "timestamp": "2026-01-31T12:00:00.250Z"},
        {"type": "web-vitals", "values": {"cls": 0.02, "delta": 0.02},
         "context": {"id": "v4-17-2", "load_state": "complete", "largest_shift_target": "#ad"}},
        {"type": "custom", "values": {"queue": 3}, "context": {}}
      ],
      "exceptions": [
        {"type": "TypeError", "value": "x is null", "timestamp": "2026-01-31T12:00:01Z",
         "stacktrace": {"frames": [
           {"function": "sum", "module": "", "filename": "https://shop.example/a.js", "lineno": 10, "colno": 15},
           {"function": "?", "filename": "https://shop.example/b.js", "lineno": 2, "colno": 3}]}},
        {"type": "UnhandledRejection", "value": "gone"}
      ],
      "events": [
        {"name": "faro.performance.navigation", "domain": "browser", "attributes": {"duration": "812"}},
        {"name": "faro.performance.resource", "attributes":
          {"name": "https://shop.example/a.js?v=1", "initiatorType": "script", "transferSize": "1200", "duration": "12"}},
        {"name": "faro.performance.resource", "attributes":
          {"name": "https://cdn.example/b.js", "initiatorType": "script", "transferSize": "0", "duration": "8"}},
        {"name": "session_start", "attributes": {}},
        {"name": "view_changed", "attributes": {"fromView": "default", "toView": "cart"}},
        {"name": "buy", "attributes": {"sku": "17"}}
      ],
      "logs": [{"message": "hello", "level": "info", "context": {}}],
      "traces": {"resourceSpans": []}
    }"##;

    #[test]
    fn what_the_sdk_sends_is_understood() {
        let beacons = read_text(BODY).unwrap();
        let [beacon] = beacons.as_slice() else {
            panic!("{beacons:?}");
        };
        assert_eq!(beacon.page.as_deref(), Some("/cart"));
        assert_eq!((&*beacon.app, &*beacon.release), ("shop", "1.4.2"));
        assert_eq!(
            (&*beacon.session, beacon.device),
            ("9XkqT3", Device::Mobile)
        );
        assert_eq!(beacon.navigation, Navigation::BackForward);
        assert!(beacon.started);
        assert_eq!(beacon.at_ms, Some(1_769_860_801_000));
        let vitals: Vec<(&str, f64, &str, Option<&str>)> = beacon
            .vitals
            .iter()
            .map(|one| {
                (
                    one.name.as_str(),
                    one.value,
                    &*one.id,
                    one.target.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            vitals,
            [
                ("LCP", 2_712.5, "v4-17-1", Some("#hero>img")),
                ("CLS", 0.02, "v4-17-2", Some("#ad")),
            ]
        );
        let first = &beacon.errors[0];
        assert_eq!((&*first.type_, &*first.message), ("TypeError", "x is null"));
        assert_eq!((first.line, first.column), (Some(10), Some(15)));
        let frames = crate::vitals::stack::frames(first.stack.as_deref().unwrap());
        assert_eq!(
            (frames[0].function, frames[0].line),
            (Some("sum"), Some(10))
        );
        assert_eq!(
            (frames[1].function, frames[1].file),
            (None, "https://shop.example/b.js")
        );
        assert_eq!(beacon.errors[1].kind, ErrorKind::UnhandledRejection);
        let [scripts] = beacon.resources.as_slice() else {
            panic!("{:?}", beacon.resources);
        };
        assert_eq!(scripts.kind, ResourceType::Script);
        assert_eq!(
            (scripts.count, scripts.bytes, scripts.opaque),
            (2, 1_200, 1)
        );
        let actions: Vec<(&str, ActionKind)> = beacon
            .actions
            .iter()
            .map(|one| (&*one.name, one.kind))
            .collect();
        assert_eq!(
            actions,
            [("cart", ActionKind::Route), ("buy", ActionKind::Click)]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_reason() {
        for (body, reason) in [
            ("{", "malformed"),
            ("[]", "empty"),
            ("7", "invalid"),
            (r#"{"exceptions": {"a": 1}}"#, "invalid"),
            (r#"{"meta": null, "exceptions": null}"#, "empty"),
            (r#"{"logs": [{"message": "only a log"}]}"#, "empty"),
        ] {
            let refusal = read_text(body).unwrap_err();
            assert_eq!(Refusal::REASONS[refusal.number()], reason, "{body}");
        }
        let many = vec![r#"{"name": "x"}"#; MAX_MEMBERS + 1].join(",");
        let refusal = read_text(&format!(r#"{{"events": [{many}]}}"#)).unwrap_err();
        assert_eq!(Refusal::REASONS[refusal.number()], "too_many");
        let deep = format!("{}{}", r#"{"meta":"#.repeat(100), "}".repeat(100));
        let refusal = read_text(&deep).unwrap_err();
        assert_eq!(Refusal::REASONS[refusal.number()], "too_deep");
    }
}

//! From bytes that anybody may have sent to [`Beacon`]s, or to a [`Refusal`] that names the member.
//!
//! Pure, and bounded in every way: depth, members, lengths, values. Members that are not known are
//! passed over, because people send the library's objects with fields of their own.

mod list;
mod raw;
mod values;

use serde::de::DeserializeOwned;

use super::{
    beacon::{
        Action, ActionKind, Beacon, Call, CallReason, Connection, Device, ErrorKind, LongFrames,
        METHODS, Navigation, PageError, ResourceType, Resources, Vital, VitalName,
    },
    clean,
    refusal::Refusal,
};
use list::List;
use raw::Top;
use values::{count, id, not_a_word, number, required, some, word};

/// Arrays and objects within one another.
pub const MAX_DEPTH: usize = 32;
/// Members of a list of vitals, errors, calls and so on.
pub const MAX_MEMBERS: usize = 256;
/// Longest id of a value, of a session, of a view.
const ID_BYTES: usize = 64;
/// Longest name of an action or type of an error.
const NAME_BYTES: usize = 64;
/// Longest release.
const RELEASE_BYTES: usize = 64;
/// Longest message.
const MESSAGE_BYTES: usize = 1024;
/// Longest stack.
const STACK_BYTES: usize = 8192;
/// Longest selector.
const TARGET_BYTES: usize = 256;
/// Most of anything that is counted in one beacon.
const MAX_COUNT: f64 = 1e6;
/// Most bytes of the resources of one type.
const MAX_BYTES: f64 = 1e12;
/// Longest time of all calls or resources together, in milliseconds.
const MAX_MS: f64 = 86_400_000.0;

/// To which endpoint a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /api/metrics`.
    Metrics,
    /// `POST /api/browser/errors`.
    Errors,
    /// `POST /api/browser/actions`.
    Actions,
    /// `POST /api/faro`.
    Faro,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Errors, Self::Actions, Self::Faro];

    /// Value of the label `endpoint`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Errors => "errors",
            Self::Actions => "actions",
            Self::Faro => "faro",
        }
    }
}

/// What the request says beside its body, for what the body leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Path of the page, of the `Referer`.
    pub page: Option<String>,
    /// Class of the device, of the client hints or the `User-Agent`.
    pub device: Option<Device>,
}

impl Beacon {
    /// Reads the body of [`Endpoint::Metrics`], [`Endpoint::Errors`] or [`Endpoint::Actions`]: a
    /// batch of `vitals.js`, an object of the web-vitals library, or an array of what the endpoint
    /// is for.
    ///
    /// # Errors
    /// What is wrong, where, and what is allowed.
    pub fn parse(body: &[u8], endpoint: Endpoint, context: &Context) -> Result<Vec<Self>, Refusal> {
        check_depth(body)?;
        let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let beacons = if is_array {
            array(body, endpoint, context)?
        } else {
            vec![object("", read(body)?, context)?]
        };
        if beacons.iter().all(Self::is_empty) {
            return Err(Refusal::Empty);
        }
        Ok(beacons)
    }
}

fn array(body: &[u8], endpoint: Endpoint, context: &Context) -> Result<Vec<Beacon>, Refusal> {
    let top = match endpoint {
        Endpoint::Metrics | Endpoint::Faro => {
            let objects = members("body", read::<List<Top>>(body)?)?;
            let numbered = objects.into_iter().enumerate();
            return numbered
                .map(|(at, top)| object(&format!("[{at}]."), top, context))
                .collect();
        }
        Endpoint::Errors => Top {
            errors: read(body)?,
            ..Top::default()
        },
        Endpoint::Actions => Top {
            actions: read(body)?,
            ..Top::default()
        },
    };
    Ok(vec![batch("", top, context)?])
}

fn object(at: &str, top: Top, context: &Context) -> Result<Beacon, Refusal> {
    if top.is_plain() {
        plain(at, top, context)
    } else {
        batch(at, top, context)
    }
}

/// Refuses what is nested too deep, before anything recurses over it.
///
/// # Errors
/// [`Refusal::TooDeep`].
pub fn check_depth(body: &[u8]) -> Result<(), Refusal> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Refusal::TooDeep(MAX_DEPTH));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Reads JSON; a mistake is named with its place.
///
/// # Errors
/// [`Refusal::Malformed`] for what is no JSON, [`Refusal::Invalid`] for a member of another type.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let inner = error.into_inner();
        let what = clean::text(&inner.to_string(), 200, false);
        match inner.classify() {
            serde_json::error::Category::Data => {
                Refusal::invalid(clean::text(&field, 80, false), what)
            }
            _ => Refusal::Malformed(what),
        }
    })?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(Refusal::Malformed(error.to_string())),
    }
}

fn members<T>(field: &'static str, list: List<T>) -> Result<Vec<T>, Refusal> {
    match list.more {
        false => Ok(list.members),
        true => Err(Refusal::TooMany {
            field,
            most: MAX_MEMBERS,
        }),
    }
}

fn batch(at: &str, top: Top, context: &Context) -> Result<Beacon, Refusal> {
    let field = |name: &str| format!("{at}{name}");
    if top.v.is_some_and(|version| version != 1) {
        return Err(Refusal::invalid(
            field("v"),
            "this probe knows version 1 only",
        ));
    }
    let sample_rate = top.sample_rate.unwrap_or(1.0);
    if !(sample_rate > 0.0 && sample_rate <= 1.0) {
        return Err(Refusal::invalid(
            field("sample_rate"),
            "allowed is a share above 0 and up to 1",
        ));
    }
    let said = top.page.as_deref().and_then(clean::page);
    let device = word(
        &field("device"),
        top.device.as_deref(),
        Device::from_word,
        Device::WORDS,
    )?;
    let connection = word(
        &field("connection"),
        top.connection.as_deref(),
        Connection::from_word,
        Connection::WORDS,
    )?;
    let navigation = word(
        &field("navigation"),
        top.navigation.as_deref(),
        Navigation::from_word,
        Navigation::WORDS,
    )?;
    let frames = top.long_frames.unwrap_or_default();
    Ok(Beacon {
        session: id(&field("session"), top.session)?,
        page: said.or_else(|| context.page.clone()),
        app: clean::text(top.app.as_deref().unwrap_or_default(), NAME_BYTES, false),
        release: clean::text(
            top.release.as_deref().unwrap_or_default(),
            RELEASE_BYTES,
            false,
        ),
        device: device.or(context.device).unwrap_or(Device::Unknown),
        connection: connection.unwrap_or(Connection::Unknown),
        navigation: navigation.unwrap_or(Navigation::Unknown),
        sample_rate,
        started: top.started.unwrap_or(false),
        at_ms: top.at_ms.filter(|at| at.is_finite()).map(whole_ms),
        vitals: all(at, "vitals", top.vitals, vital)?,
        errors: all(at, "errors", top.errors, page_error)?,
        calls: all(at, "calls", top.calls, call)?,
        resources: all(at, "resources", top.resources, resources)?,
        long_frames: LongFrames {
            count: number(&field("long_frames.count"), frames.count, MAX_COUNT)?,
            blocking_ms: number(
                &field("long_frames.blocking_ms"),
                frames.blocking_ms,
                MAX_MS,
            )?,
        },
        actions: all(at, "actions", top.actions, action)?,
    })
}

/// Unix milliseconds; what is beyond is implausible in any case.
#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to what the type holds exactly"
)]
fn whole_ms(ms: f64) -> i64 {
    ms.clamp(-9e15, 9e15) as i64
}

fn all<R, T>(
    at: &str,
    field: &'static str,
    list: List<R>,
    one: impl Fn(&str, R) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let list = members(field, list)?;
    let numbered = list.into_iter().enumerate();
    numbered
        .map(|(number, raw)| one(&format!("{at}{field}[{number}]."), raw))
        .collect()
}

/// An object of the web-vitals library, as people post it themselves.
fn plain(at: &str, top: Top, context: &Context) -> Result<Beacon, Refusal> {
    let places = [
        top.page,
        top.path,
        top.pathname,
        top.url,
        top.navigation_url,
    ];
    let said = places.iter().flatten().find_map(|place| clean::page(place));
    let attribution = top.attribution.unwrap_or_default();
    let raw = raw::Vital {
        name: top.name,
        value: top.value,
        id: top.id,
        rating: top.rating,
        target: attribution.target(),
        url: attribution.text("url"),
        load_state: attribution.text("loadState"),
    };
    let navigation = top.navigation_type.as_deref().map(navigation_of_library);
    let device = word(
        &format!("{at}device"),
        top.device.as_deref(),
        Device::from_word,
        Device::WORDS,
    )?;
    let at_ms = top.at_ms.or(top.timestamp).filter(|at| at.is_finite());
    Ok(Beacon {
        page: said.or_else(|| context.page.clone()),
        app: clean::text(top.app.as_deref().unwrap_or_default(), NAME_BYTES, false),
        release: clean::text(
            top.release.as_deref().unwrap_or_default(),
            RELEASE_BYTES,
            false,
        ),
        device: device.or(context.device).unwrap_or(Device::Unknown),
        navigation: navigation.unwrap_or(Navigation::Unknown),
        at_ms: at_ms.map(whole_ms),
        vitals: vec![vital(at, raw)?],
        ..Beacon::default()
    })
}

/// Older versions of the library write underscores, and a new one may know another way to come to
/// a page, which is no reason to refuse its values.
fn navigation_of_library(word: &str) -> Navigation {
    let word = word.replace('_', "-");
    Navigation::from_word(&word).unwrap_or(Navigation::Unknown)
}

fn vital(at: &str, raw: raw::Vital) -> Result<Vital, Refusal> {
    let name = required(at, "name", raw.name, VitalName::from_word, VitalName::WORDS)?;
    if let Some(rating) = raw.rating.as_deref() {
        // Ours counts; a word that is none is a mistake of the sender.
        let words = super::beacon::Rating::WORDS;
        if !words.contains(&rating) {
            return Err(not_a_word(&format!("{at}rating"), rating, words));
        }
    }
    Ok(Vital {
        target: raw
            .target
            .as_deref()
            .and_then(|text| some(text, TARGET_BYTES)),
        url: raw.url.as_deref().and_then(clean::address),
        load_state: raw
            .load_state
            .as_deref()
            .and_then(|text| some(text, NAME_BYTES)),
        ..Vital::checked(at, name, raw.value, raw.id)?
    })
}

impl Vital {
    /// A value that somebody sent; `at` is the path before its members, for messages.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: the value is missing, negative or not finite, or the id is none.
    pub fn checked(
        at: &str,
        name: VitalName,
        value: Option<f64>,
        its_id: Option<String>,
    ) -> Result<Self, Refusal> {
        // `JSON.stringify(NaN)` is `null`.
        let value = value
            .ok_or_else(|| Refusal::invalid(format!("{at}value"), "it is missing or no number"))?;
        if !value.is_finite() || value < 0.0 {
            return Err(Refusal::invalid(
                format!("{at}value"),
                format!(
                    "{value} is no value of {}: allowed is a number from 0 on",
                    name.as_str()
                ),
            ));
        }
        Ok(Self {
            name,
            value: value.min(name.most()),
            clamped: value > name.most(),
            id: id(&format!("{at}id"), its_id)?,
            target: None,
            url: None,
            load_state: None,
        })
    }
}

fn page_error(at: &str, raw: raw::PageError) -> Result<PageError, Refusal> {
    let kind = word(
        &format!("{at}kind"),
        raw.kind.as_deref(),
        ErrorKind::from_word,
        ErrorKind::WORDS,
    )?;
    let message = raw.message.unwrap_or_default();
    let type_ = raw.type_.unwrap_or_default();
    if message.trim().is_empty() && type_.trim().is_empty() {
        return Err(Refusal::invalid(
            format!("{at}message"),
            "it is missing, and so is the type",
        ));
    }
    let stack = raw.stack.unwrap_or_default();
    let stack = clean::text(&clean::without_queries(&stack), STACK_BYTES, true);
    let place = |field: &str, value: Option<f64>| -> Result<Option<u32>, Refusal> {
        let number = number(&format!("{at}{field}"), value, f64::from(u32::MAX))?;
        Ok(u32::try_from(number).ok().filter(|number| *number > 0))
    };
    Ok(PageError {
        kind: kind.unwrap_or(ErrorKind::Error),
        type_: clean::text(&type_, NAME_BYTES, false),
        message: clean::text(&clean::without_queries(&message), MESSAGE_BYTES, true),
        stack: (!stack.is_empty()).then_some(stack),
        source: raw.source.as_deref().and_then(clean::address),
        line: place("line", raw.line)?,
        column: place("column", raw.column)?,
        count: count(&format!("{at}count"), raw.count)?,
    })
}

fn call(at: &str, raw: raw::Call) -> Result<Call, Refusal> {
    let reason = required(
        at,
        "reason",
        raw.reason,
        CallReason::from_word,
        CallReason::WORDS,
    )?;
    let method = raw.method.unwrap_or_default();
    let known = METHODS.into_iter();
    let method = known
        .clone()
        .find(|known| known.eq_ignore_ascii_case(method.trim()));
    let status = number(&format!("{at}status"), raw.status, 999.0)?;
    let page_origin = raw.page_origin.unwrap_or(true);
    let path = raw.path.as_deref().unwrap_or_default();
    let path = if page_origin {
        clean::page(path)
    } else {
        clean::address(path)
    };
    Ok(Call {
        method: method.unwrap_or("other"),
        page_origin,
        path: path.unwrap_or_default(),
        status: u16::try_from(status).unwrap_or(0),
        reason,
        duration_ms: number(&format!("{at}duration_ms"), raw.duration_ms, MAX_MS)?,
        count: count(&format!("{at}count"), raw.count)?,
    })
}

fn resources(at: &str, raw: raw::Resources) -> Result<Resources, Refusal> {
    Ok(Resources {
        kind: required(
            at,
            "type",
            raw.kind,
            ResourceType::from_word,
            ResourceType::WORDS,
        )?,
        count: number(&format!("{at}count"), raw.count, MAX_COUNT)?,
        bytes: number(&format!("{at}bytes"), raw.bytes, MAX_BYTES)?,
        opaque: number(&format!("{at}opaque"), raw.opaque, MAX_COUNT)?,
        duration_ms: number(&format!("{at}duration_ms"), raw.duration_ms, MAX_MS)?,
    })
}

fn action(at: &str, raw: raw::Action) -> Result<Action, Refusal> {
    let kind = word(
        &format!("{at}kind"),
        raw.kind.as_deref(),
        ActionKind::from_word,
        ActionKind::WORDS,
    )?;
    let name = clean::text(raw.name.as_deref().unwrap_or_default(), NAME_BYTES, false);
    if name.is_empty() {
        return Err(Refusal::invalid(
            format!("{at}name"),
            "it is missing or empty",
        ));
    }
    Ok(Action {
        name,
        kind: kind.unwrap_or(ActionKind::Click),
        count: count(&format!("{at}count"), raw.count)?,
    })
}

#[cfg(test)]
pub(crate) mod tests;

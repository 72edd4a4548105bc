//! Configured routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use matchit::{InsertError, Router as Tree};

/// Why a configured route cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with a slash.
    #[error(
        "route {template:?} is no path: write it as \"/users/{{id}}\" or \"GET /users/{{id}}\""
    )]
    NotAPath {
        /// As configured.
        template: String,
    },
    /// A parameter is only a part of a segment, or the rest is not at the end.
    #[error(
        "segment {segment:?} of route {template:?} cannot be matched: a parameter is a whole \
         segment, and \"*\" the last one"
    )]
    Segment {
        /// As configured.
        template: String,
        /// The segment.
        segment: String,
    },
    /// Two templates match the same requests.
    #[error("routes {template:?} and {other:?} match the same requests: remove one of them")]
    Conflict {
        /// The one that came later.
        template: String,
        /// The one before, in the form that it is matched by.
        other: String,
    },
}

/// Templates of one service, one tree a method; see [`Router::new`](super::Router::new) for how
/// they are written.
#[derive(Debug, Default)]
pub struct Templates {
    /// The empty method stands for any.
    trees: BTreeMap<String, Tree<Template>>,
}

#[derive(Clone, Debug)]
struct Template {
    route: Arc<str>,
    /// What each segment is: compared from the left, the smaller is the more specific.
    ranks: Vec<Rank>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Literal,
    Param,
    Rest,
}

enum Segment<'a> {
    Literal(&'a str),
    Param,
    Rest,
}

impl Templates {
    /// Templates as they are configured.
    ///
    /// # Errors
    /// One that is no path, or that matches the same requests as another one.
    pub fn new<T: AsRef<str>>(templates: &[T]) -> Result<Self, TemplateError> {
        let mut all = Self::default();
        let mut bare = Vec::new();
        for template in templates {
            all.add(template.as_ref(), &mut bare)?;
        }
        for (method, pattern, template) in bare {
            // `/static` may be a template of its own beside `/static/*`.
            let _ = all
                .trees
                .entry(method)
                .or_default()
                .insert(pattern, template);
        }
        Ok(all)
    }

    /// Adds a template. The path without the rest that it ends in is added to `bare`: `matchit`
    /// does not count it as a match.
    fn add(
        &mut self,
        template: &str,
        bare: &mut Vec<(String, String, Template)>,
    ) -> Result<(), TemplateError> {
        let (method, path) = match template.trim().split_once(char::is_whitespace) {
            Some((method, path)) => (method.to_ascii_uppercase(), path.trim()),
            None => (String::new(), template.trim()),
        };
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            return Err(TemplateError::NotAPath {
                template: template.to_owned(),
            });
        }
        let method = if method == "*" || method == "ANY" {
            String::new()
        } else {
            method
        };
        let (mut pattern, ranks) = pattern(template, path)?;
        let found = Template {
            route: path.into(),
            ranks,
        };
        if found.ranks.last() == Some(&Rank::Rest) {
            let root = if pattern.is_empty() { "/" } else { &pattern };
            bare.push((method.clone(), root.to_owned(), found.clone()));
            pattern.push_str("/{*rest}");
        }
        let tree = self.trees.entry(method).or_default();
        tree.insert(pattern, found).map_err(|error| match error {
            InsertError::Conflict { with } => TemplateError::Conflict {
                template: template.to_owned(),
                other: with,
            },
            _ => TemplateError::Segment {
                template: template.to_owned(),
                segment: path.to_owned(),
            },
        })
    }

    /// The route of a normalised path: the most specific, then the one for this very method.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<&Arc<str>> {
        let fallback = if method == "HEAD" { "GET" } else { "" };
        let found = [method, fallback, ""].into_iter().filter_map(|method| {
            let found = self.trees.get(method)?.at(path).ok()?;
            Some(found.value)
        });
        // The first of equals wins.
        found
            .min_by(|one, other| one.ranks.cmp(&other.ranks))
            .map(|template| &template.route)
    }
}

/// What `matchit` is to match for a template, without the rest that it may end in.
fn pattern(template: &str, path: &str) -> Result<(String, Vec<Rank>), TemplateError> {
    let (mut pattern, mut ranks) = (String::new(), Vec::new());
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    for (at, segment) in segments.iter().enumerate() {
        let last = at + 1 == segments.len();
        match kind(segment) {
            Some(Segment::Literal(literal)) => {
                pattern.push('/');
                pattern.push_str(literal);
                ranks.push(Rank::Literal);
            }
            Some(Segment::Rest) if last => {
                ranks.push(Rank::Rest);
                return Ok((pattern, ranks));
            }
            // In the middle, a star stands for one segment.
            Some(kind) if matches!(kind, Segment::Param) || *segment == "*" => {
                pattern.push_str(&format!("/{{p{at}}}"));
                ranks.push(Rank::Param);
            }
            _ => {
                return Err(TemplateError::Segment {
                    template: template.to_owned(),
                    segment: (*segment).to_owned(),
                });
            }
        }
    }
    if pattern.is_empty() {
        pattern.push('/');
    }
    Ok((pattern, ranks))
}

/// The notations of OpenAPI, FastAPI and Starlette, Express and Rails, Flask, Axum.
fn kind(segment: &str) -> Option<Segment<'_>> {
    let within = |open: char, close: char| {
        segment
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
    };
    if matches!(segment, "*" | "**") {
        Some(Segment::Rest)
    } else if let Some(inside) = within('{', '}') {
        // `{name:path}` and `{*name}`, `{name...}` of Go.
        let rest = inside.starts_with('*') || inside.ends_with(":path") || inside.ends_with("...");
        let plain = !inside.is_empty() && !inside.contains(['{', '}']);
        plain.then_some(if rest { Segment::Rest } else { Segment::Param })
    } else if let Some(inside) = within('<', '>') {
        let plain = !inside.is_empty() && !inside.contains(['<', '>']);
        plain.then_some(if inside.starts_with("path:") {
            Segment::Rest
        } else {
            Segment::Param
        })
    } else if segment.len() > 1 && segment.starts_with(':') {
        Some(Segment::Param)
    } else if segment.contains(['{', '}', '<', '>', '*']) {
        None
    } else {
        Some(Segment::Literal(segment))
    }
}

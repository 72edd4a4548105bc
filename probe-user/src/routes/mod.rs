//! From a request's path to its route: few enough to be a metric's label.
//!
//! Configured templates win. What they do not match is learned: segments that look like ids are
//! folded ([`shapes`]), and where a path still has too many different children, these are folded
//! too ([`learner`]). The result depends on nothing but the requests and their order.
//!
//! A route is learned only from a request that succeeded (status below 400), so that a scanner
//! that tries ten thousand paths adds nothing: its requests are [`UNMATCHED`]. A request that
//! failed has the route of its path if that is known. So an endpoint that has never answered
//! below 400 shows as [`UNMATCHED`], until a template is configured for it.
//!
//! Routes beyond the limits are [`OTHER`]. When children are folded, look-ups give the folded
//! route from then on; series that were made before stop growing, and are told by
//! [`Router::take_retired`], so that the caller can drop them.
//!
//! Queries and fragments never appear in a route.

mod learner;
mod normalise;
mod shapes;
mod templates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use learner::Learner;
use normalise::Path;
pub use templates::{TemplateError, Templates};

/// The route of requests that are beyond the limits.
pub const OTHER: &str = "other";

/// The route of requests that failed, on paths that no successful request had.
pub const UNMATCHED: &str = "unmatched";

/// Bounds of a service's learned routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Learned routes at any time; templates do not count.
    pub routes: usize,
    /// Learned routes over the router's life, retired ones included: each may be a series.
    pub routes_ever: usize,
    /// Different literal children of one path, above which they are folded into `{param}`.
    pub children: usize,
    /// Segments; what is behind is folded into `{rest}`.
    pub segments: usize,
    /// Bytes of a path that are read; what is behind is folded into `{rest}`.
    pub path_bytes: usize,
    /// Bytes of a segment; a longer one is folded into `{param}`.
    pub segment_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            routes: 200,
            routes_ever: 1000,
            children: 50,
            segments: 16,
            path_bytes: 1024,
            segment_bytes: 64,
        }
    }
}

/// A learned route that no look-up gives any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The route that was.
    pub route: Arc<str>,
    /// The route that such requests have from now on; [`OTHER`] if there was no room for it.
    pub replaced_by: Arc<str>,
}

/// The routes of one service.
#[derive(Debug)]
pub struct Router {
    templates: Arc<Templates>,
    learner: Learner,
    limits: Limits,
    other: Arc<str>,
    unmatched: Arc<str>,
}

impl Router {
    /// A router for `templates`, each a path with an optional method before it:
    /// `GET /users/{id}`, `/static/*`, `/files/{path:path}`. Parameters are whole segments, written
    /// `{name}`, `{name:type}`, `:name`, `<name>` or `<type:name>`; `*`, `{*name}`, `{name:path}`
    /// and `<path:name>` at the end stand for all the rest, also none. The route is the path as
    /// configured. Literals win over parameters, and these over the rest; a template with a
    /// method wins over one without, and `HEAD` falls back to `GET`.
    ///
    /// # Errors
    /// A template that is no path, or that matches the same requests as another one.
    pub fn new<T: AsRef<str>>(templates: &[T], limits: Limits) -> Result<Self, TemplateError> {
        Ok(Self::with_templates(
            Templates::new(templates)?.into(),
            limits,
        ))
    }

    /// A router for templates that were checked already.
    pub fn with_templates(templates: Arc<Templates>, limits: Limits) -> Self {
        Self {
            templates,
            learner: Learner::new(limits),
            limits,
            other: OTHER.into(),
            unmatched: UNMATCHED.into(),
        }
    }

    /// Takes other templates from now on. What was learned stays.
    pub fn set_templates(&mut self, templates: Arc<Templates>) {
        self.templates = templates;
    }

    /// The route of a request. `path` may still have its query; `None` if it is not known.
    /// `status` is the response's; `None` if there was none, or it is not known.
    pub fn route(&mut self, method: &str, path: Option<&str>, status: Option<u16>) -> Arc<str> {
        let Some(path) = path.and_then(|path| Path::parse(path, &self.limits)) else {
            return Arc::clone(&self.unmatched);
        };
        if let Some(route) = self.templates.find(method, path.as_str()) {
            return Arc::clone(route);
        }
        let succeeded = status.is_some_and(|status| status < 400);
        let learned = if succeeded {
            self.learner.learn(&path)
        } else {
            self.learner.find(&path)
        };
        match learned {
            Some(route) => route,
            None if succeeded => Arc::clone(&self.other),
            None => Arc::clone(&self.unmatched),
        }
    }

    /// Learned routes that were folded into others since the last call. At most
    /// `Limits::routes_ever` over the router's life.
    pub fn take_retired(&mut self) -> Vec<Retired> {
        self.learner.take_retired()
    }

    /// Learned routes that look-ups give at this point.
    #[must_use]
    pub fn learned(&self) -> usize {
        self.learner.routes()
    }

    /// Nodes of the learner's tree, which bound its memory.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.learner.nodes()
    }
}

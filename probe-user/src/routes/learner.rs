//! A bounded tree of the paths that were requested successfully.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::normalise::{PARAM, Path};
use super::{Limits, OTHER, Retired};

/// The tree. A path is in it if its last node has a route.
#[derive(Debug)]
pub(super) struct Learner {
    root: Node,
    limits: Limits,
    routes: usize,
    routes_ever: usize,
    retired: Vec<Retired>,
}

/// One segment of paths. Ordered, so that what folding does depends on nothing but the paths.
#[derive(Debug, Default)]
struct Node {
    route: Option<Arc<str>>,
    children: BTreeMap<Box<str>, Node>,
    /// Children that are no placeholder.
    literals: usize,
    /// There were too many of them: any literal is `{param}`.
    folded: bool,
}

impl Learner {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            root: Node::default(),
            limits,
            routes: 0,
            routes_ever: 0,
            retired: Vec::new(),
        }
    }

    /// The route of `path`, if it is known.
    pub(super) fn find(&self, path: &Path<'_>) -> Option<Arc<str>> {
        let mut node = &self.root;
        for segment in path.segments() {
            node = node.child(&segment)?;
        }
        node.route.clone()
    }

    /// The route of `path`, which from now on is known; `None` if there is no room for it.
    pub(super) fn learn(&mut self, path: &Path<'_>) -> Option<Arc<str>> {
        if let Some(route) = self.find(path) {
            return Some(route);
        }
        if self.routes >= self.limits.routes || self.routes_ever >= self.limits.routes_ever {
            return None;
        }
        let mut route = String::new();
        let (mut node, mut overfull) = (&mut self.root, None);
        for (depth, segment) in path.segments().enumerate() {
            let key = node.key(segment);
            route.push('/');
            route.push_str(&key);
            if !node.children.contains_key(key.as_ref()) && !is_placeholder(&key) {
                node.literals += 1;
                if node.literals > self.limits.children {
                    // The outermost: folding it takes the others with it.
                    overfull = overfull.or(Some(depth));
                }
            }
            node = node.children.entry(key.into()).or_default();
        }
        let route: Arc<str> = if route.is_empty() {
            "/".into()
        } else {
            route.into()
        };
        node.route = Some(Arc::clone(&route));
        self.routes += 1;
        let Some(depth) = overfull else {
            self.routes_ever += 1;
            return Some(route);
        };
        self.fold(path, depth, &route);
        // Folding made the path's own node another one.
        let found = self.find(path);
        found.filter(|route| &**route != OTHER)
    }

    /// Folds the literal children of the node at `depth` on the way to `path` into `{param}`.
    /// `newest` has not been given to anybody yet.
    fn fold(&mut self, path: &Path<'_>, depth: usize, newest: &str) {
        let mut prefix = String::new();
        let mut node = &mut self.root;
        for segment in path.segments().take(depth) {
            let key = node.key(segment);
            prefix.push('/');
            prefix.push_str(&key);
            match node.children.get_mut(key.as_ref()) {
                Some(child) => node = child,
                None => return,
            }
        }
        let mut before = Vec::new();
        node.collect(&mut before);
        node.fold(self.limits.children);
        let mut after = 0;
        node.rename(&mut prefix, &mut |old, new| {
            after += 1;
            if *old != *new {
                self.routes_ever += 1;
            }
        });
        self.routes = self.routes + after - before.len();
        for route in before {
            // Its own path leads to what it became.
            let replaced_by = self.find_route(&route).unwrap_or_else(|| OTHER.into());
            if *replaced_by != *route && &*route != newest {
                self.retired.push(Retired { route, replaced_by });
            }
        }
    }

    /// Where look-ups of what was `route` lead now.
    fn find_route(&self, route: &str) -> Option<Arc<str>> {
        let mut node = &self.root;
        for segment in route.split('/').filter(|segment| !segment.is_empty()) {
            node = node.child(segment)?;
        }
        node.route.clone()
    }

    pub(super) fn take_retired(&mut self) -> Vec<Retired> {
        std::mem::take(&mut self.retired)
    }

    pub(super) fn routes(&self) -> usize {
        self.routes
    }

    pub(super) fn nodes(&self) -> usize {
        self.root.count()
    }
}

impl Node {
    /// Under which name a segment's child is kept.
    fn key<'a>(&self, segment: Cow<'a, str>) -> Cow<'a, str> {
        if self.folded && !is_placeholder(&segment) {
            Cow::Borrowed(PARAM)
        } else {
            segment
        }
    }

    fn child(&self, segment: &str) -> Option<&Node> {
        let folded = self.folded && !is_placeholder(segment);
        self.children.get(if folded { PARAM } else { segment })
    }

    /// Merges the literal children into one, and where that brings too many together, theirs too.
    fn fold(&mut self, limit: usize) {
        self.folded = true;
        self.literals = 0;
        let mut merged = self.children.remove(PARAM).unwrap_or_default();
        let children = std::mem::take(&mut self.children);
        for (key, child) in children {
            if is_placeholder(&key) {
                self.children.insert(key, child);
            } else {
                merged.absorb(child, limit);
            }
        }
        self.children.insert(PARAM.into(), merged);
    }

    /// Adds another node's paths. The depth is bounded by `Limits::segments`.
    fn absorb(&mut self, other: Node, limit: usize) {
        if self.route.is_none() {
            self.route = other.route;
        }
        let folded = self.folded || other.folded;
        for (key, child) in other.children {
            let known = self.children.contains_key(&key);
            self.literals += usize::from(!known && !is_placeholder(&key));
            match self.children.get_mut(&key) {
                Some(mine) => mine.absorb(child, limit),
                None => {
                    self.children.insert(key, child);
                }
            }
        }
        if self.literals > limit || (folded && self.literals > 0) {
            self.fold(limit);
        }
        self.folded |= folded;
    }

    fn collect(&self, routes: &mut Vec<Arc<str>>) {
        routes.extend(self.route.clone());
        for child in self.children.values() {
            child.collect(routes);
        }
    }

    /// Writes each route anew from where its node is now; tells the old and the new one.
    fn rename(&mut self, prefix: &mut String, told: &mut impl FnMut(&str, &str)) {
        if let Some(old) = &self.route {
            let new = if prefix.is_empty() {
                "/"
            } else {
                prefix.as_str()
            };
            told(old, new);
            if **old != *new {
                self.route = Some(new.into());
            }
        }
        for (key, child) in &mut self.children {
            let length = prefix.len();
            prefix.push('/');
            prefix.push_str(key);
            child.rename(prefix, told);
            prefix.truncate(length);
        }
    }

    fn count(&self) -> usize {
        1 + self.children.values().map(Node::count).sum::<usize>()
    }
}

/// Whether a segment was folded by its shape: literals never contain a brace.
fn is_placeholder(segment: &str) -> bool {
    segment.contains('{')
}

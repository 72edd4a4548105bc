//! `[[vitals.budget]]`: how slow and how large pages may be.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::values::as_it_is_shown;

/// One `[[vitals.budget]]`. All that fit a page hold for it; where two set the same, the one whose
/// pattern says more wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// For which pages; all when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PagePattern>,
    /// Most that Largest Contentful Paint may take, in milliseconds at the 75th percentile, as the
    /// others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lcp_ms: Option<u32>,
    /// Interaction to Next Paint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inp_ms: Option<u32>,
    /// First Contentful Paint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fcp_ms: Option<u32>,
    /// Time to First Byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<u32>,
    /// Cumulative Layout Shift, which has no unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cls: Option<f64>,
    /// Fewest values that a verdict needs; [`DEFAULT_MIN_SAMPLES`] when it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<u32>,
    /// Most files of a page view, by type.
    #[serde(skip_serializing_if = "ByType::is_empty")]
    pub requests: ByType,
    /// Most bytes of a page view, by type.
    #[serde(skip_serializing_if = "ByType::is_empty")]
    pub bytes: ByType,
    /// Files on the disk, such as bundles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileBudget>,
}

/// Fewest values of a verdict when a budget does not say it.
pub const DEFAULT_MIN_SAMPLES: u32 = 20;

/// A number for each type of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByType {
    /// Scripts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<u64>,
    /// Style sheets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub css: Option<u64>,
    /// Images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<u64>,
    /// Fonts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub font: Option<u64>,
    /// What scripts asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<u64>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<u64>,
    /// All of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// All types together, in [`ByType`].
pub const TOTAL: &str = "total";

impl ByType {
    /// What is set, by the names of the types.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("script", self.script),
            ("css", self.css),
            ("image", self.image),
            ("font", self.font),
            ("fetch", self.fetch),
            ("other", self.other),
            (TOTAL, self.total),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    fn is_empty(&self) -> bool {
        self.set().next().is_none()
    }
}

/// Sizes of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileBudget {
    /// Which files: a path with `*` (within a folder), `**` (any folders), `?` and `{a,b}`. One that
    /// does not begin with `/` begins where the program was started.
    pub glob: String,
    /// What the sizes are of.
    pub of: Of,
    /// Most bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<u64>,
    /// Most bytes when compressed by gzip (level 9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip: Option<u64>,
    /// Most bytes when compressed by Brotli (quality 11).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brotli: Option<u64>,
}

/// What a size is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// Each file: the largest decides.
    #[default]
    Each,
    /// All files together.
    All,
}

/// Pages by their label: as they are, with `*` for anything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PagePattern(String);

/// Longest pattern.
const MAX_PATTERN: usize = 256;

impl PagePattern {
    /// All pages.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// Whether a page is meant.
    pub fn matches(&self, page: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = page.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last)
    }

    /// How much it says: one without `*` most, then the one with more characters.
    pub fn says(&self) -> (bool, usize) {
        let stars = self.0.matches('*').count();
        (stars == 0, self.0.len() - stars)
    }
}

impl FromStr for PagePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = !text.chars().any(char::is_control);
        (!text.is_empty() && text.len() <= MAX_PATTERN && plain)
            .then(|| Self(text.to_owned()))
            .ok_or("it is empty, longer than 256 bytes, or has control characters")
    }
}

impl fmt::Display for PagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

as_it_is_shown!(PagePattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        for (pattern, page, matches) in [
            ("/cart", "/cart", true),
            ("/cart", "/cart/", false),
            ("/cart", "/car", false),
            ("*", "/cart", true),
            ("*", "other", true),
            ("/shop/*", "/shop/items/{id}", true),
            ("/shop/*", "/shop", false),
            ("*/{id}", "/items/{id}", true),
            ("/a*b*c", "/abc", true),
            ("/a*b*c", "/a-b-b-c", true),
            ("/a*b*c", "/acb", false),
            ("/a*a", "/a", false),
            ("**", "", true),
        ] {
            let pattern: PagePattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(page), matches, "{pattern} {page}");
        }
    }

    #[test]
    fn the_one_that_says_more_comes_later() {
        let mut patterns: Vec<PagePattern> = ["/shop/pay", "*", "/shop/*", "/s*"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        patterns.sort_by_key(PagePattern::says);
        let order: Vec<String> = patterns.iter().map(PagePattern::to_string).collect();
        assert_eq!(order, ["*", "/s*", "/shop/*", "/shop/pay"]);
    }
}

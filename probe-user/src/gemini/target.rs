//! Which model a request asks, and for what, by its path. Pure.

use super::Operation;

/// Longest name of a model.
const MAX_MODEL: usize = 128;

/// What a path of the API names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The model, without `models/` before it; that of a tuned one has `tunedModels/` or `endpoints/`
    /// before it. `None` where the body names it, as in the Interactions API.
    pub model: Option<String>,
    /// What is asked of it.
    pub operation: Operation,
}

impl Target {
    /// Of the path of a `POST`, without query, at whichever prefix the API is served. `None` when it is
    /// no call of one of Google's models: of files, caches, batches, or of another publisher's models.
    pub fn from_path(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        let (before, last) = path.rsplit_once('/')?;
        if last == "interactions" {
            return Some(Self {
                model: None,
                operation: Operation::Interactions,
            });
        }
        let (name, method) = last
            .rsplit_once(':')
            // Some clients encode what they need not.
            .or_else(|| last.rsplit_once("%3A"))
            .or_else(|| last.rsplit_once("%3a"))?;
        let model = match before.rsplit('/').next()? {
            "models" if is_other_publisher(before) => return None,
            "models" => name.to_owned(),
            tuned @ ("tunedModels" | "endpoints") => format!("{tuned}/{name}"),
            _ => return None,
        };
        let is_name = !name.is_empty() && model.len() <= MAX_MODEL;
        is_name.then(|| Self {
            model: Some(model),
            operation: Operation::from_method(method),
        })
    }
}

/// Vertex AI serves models of several publishers: `.../publishers/NAME/models`.
fn is_other_publisher(before: &str) -> bool {
    let mut segments = before.rsplit('/').skip(1);
    let publisher = segments.next();
    segments.next() == Some("publishers") && publisher != Some("google")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<(Option<String>, Operation)> {
        Target::from_path(path).map(|target| (target.model, target.operation))
    }

    /// A path that is not understood is a call that nobody counts.
    #[test]
    fn model_and_operation_are_in_the_path() {
        use Operation::{CountTokens, Embed, GenerateContent, Interactions, Other, Stream};
        let vertex = "/v1beta1/projects/p/locations/us-central1";
        for (path, model, operation) in [
            (
                "/v1beta/models/gemini-2.5-flash:generateContent",
                "gemini-2.5-flash",
                GenerateContent,
            ),
            (
                "/v1/models/gemini-3-pro:streamGenerateContent",
                "gemini-3-pro",
                Stream,
            ),
            ("/some/proxy/v1/models/m:countTokens/", "m", CountTokens),
            (
                "/v1beta/models/gemini-embedding-001:batchEmbedContents",
                "gemini-embedding-001",
                Embed,
            ),
            ("/v1beta/models/m%3AgenerateContent", "m", GenerateContent),
            (
                "/v1beta/tunedModels/mine:generateContent",
                "tunedModels/mine",
                GenerateContent,
            ),
            (
                &format!("{vertex}/publishers/google/models/g:generateContent"),
                "g",
                GenerateContent,
            ),
            (
                &format!("{vertex}/endpoints/42:streamGenerateContent"),
                "endpoints/42",
                Stream,
            ),
            (
                "/v1beta/models/imagen-4.0-generate-001:predict",
                "imagen-4.0-generate-001",
                Other,
            ),
        ] {
            assert_eq!(
                target(path),
                Some((Some(model.to_owned()), operation)),
                "{path}"
            );
        }
        for path in ["/v1beta/interactions", &format!("{vertex}/interactions")] {
            assert_eq!(target(path), Some((None, Interactions)), "{path}");
        }
    }

    #[test]
    fn everything_else_is_no_call_of_a_model_of_google() {
        let long = format!("/v1/models/{}:generateContent", "m".repeat(129));
        for path in [
            "/v1beta/files",
            "/v1beta/cachedContents",
            "/v1beta/batches/1:cancel",
            "/v1beta/models/gemini-2.5-flash",
            "/v1beta/models/:generateContent",
            "/v1beta/interactions/i1",
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict",
            "interactions",
            "",
            &long,
        ] {
            assert_eq!(target(path), None, "{path}");
        }
    }
}

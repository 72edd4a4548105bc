//! Whose calls are calls of models.

use crate::{
    gemini::Target,
    wire::http1::{Asked, Interest, Method, Wish},
};

/// By what calls of models are recognised, and how many answers are read at once.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// Hosts of the API, without ports: themselves, those below them, and those that have another word
    /// and a `-` before them, as regions have in `us-central1-aiplatform.googleapis.com`.
    pub hosts: Vec<String>,
    /// Name of the field of a request that says what it is for.
    pub feature_header: String,
    /// Answers that are read at once. Each takes some ten kilobytes while it lasts.
    pub readers: usize,
}

impl ModelSettings {
    /// Whether this `Host`, with or without port, is one of the API.
    pub(super) fn is_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_end_matches('.');
        self.hosts.iter().any(|known| {
            let Some(at) = name.len().checked_sub(known.len()) else {
                return false;
            };
            let Some((before, end)) = name.split_at_checked(at) else {
                return false;
            };
            end.eq_ignore_ascii_case(known)
                && (before.is_empty() || before.ends_with('.') || before.ends_with('-'))
        })
    }
}

impl Interest for ModelSettings {
    fn wish(&self, request: &Asked<'_>) -> Wish {
        match request.host {
            Some(host) if !self.is_host(host) => return Wish::Foreign,
            _ if request.method != Method::Post => return Wish::Nothing,
            _ => {}
        }
        // Without its host a request is not certain to be one, and others may follow that are.
        let (Some(_), Some(path)) = (request.host, request.path) else {
            return Wish::Unclear;
        };
        match Target::from_path(path) {
            Some(_) => Wish::Content,
            None => Wish::Nothing,
        }
    }

    fn field(&self) -> &str {
        &self.feature_header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ModelSettings {
        ModelSettings {
            hosts: vec![
                "generativelanguage.googleapis.com".to_owned(),
                "aiplatform.googleapis.com".to_owned(),
            ],
            feature_header: "x-feature".to_owned(),
            readers: 1,
        }
    }

    #[test]
    fn hosts_are_those_of_the_api_in_all_regions_and_no_look_alikes() {
        let settings = settings();
        for host in [
            "generativelanguage.googleapis.com",
            "GenerativeLanguage.googleapis.com:443",
            "generativelanguage.googleapis.com.",
            "us-central1-aiplatform.googleapis.com",
            "eu.aiplatform.googleapis.com",
        ] {
            assert!(settings.is_host(host), "{host}");
        }
        for host in [
            "",
            ":443",
            "googleapis.com",
            "evilaiplatform.googleapis.com",
            "aiplatform.googleapis.com.example.org",
            "127.0.0.1:9738",
        ] {
            assert!(!settings.is_host(host), "{host}");
        }
    }

    #[test]
    fn only_calls_of_models_are_wanted() {
        let settings = settings();
        let wish = |method, host, path| {
            settings.wish(&Asked {
                method,
                host,
                path: Some(path),
            })
        };
        let google = Some("generativelanguage.googleapis.com");
        let path = "/v1beta/models/m:generateContent";
        assert_eq!(wish(Method::Post, google, path), Wish::Content);
        assert_eq!(wish(Method::Get, google, path), Wish::Nothing);
        assert_eq!(wish(Method::Post, google, "/v1beta/files"), Wish::Nothing);
        assert_eq!(wish(Method::Post, None, path), Wish::Unclear);
        assert_eq!(wish(Method::Get, None, path), Wish::Nothing);
        let other = Some("api.example.org");
        assert_eq!(wish(Method::Post, other, path), Wish::Foreign);
    }
}

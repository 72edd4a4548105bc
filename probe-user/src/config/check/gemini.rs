//! `[gemini]` and `[api]`.

use std::{collections::HashMap, path::PathBuf};

use super::Findings;
use crate::config::{
    Api, Gemini, GeminiGateway, GeminiLimit,
    gemini::{MAX_AMOUNT, MAX_LEASE_S, MAX_LIMITS, MAX_NAME, MAX_USD},
};

/// The most hosts of the API; each is compared with each host that is spoken to.
const MAX_HOSTS: usize = 16;
/// The longest name of a host (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;
/// The largest number of features and of models that metrics tell apart.
const MAX_LABELS: u32 = 1_000;
/// The most files of tokens.
const MAX_TOKEN_FILES: usize = 16;

impl Findings {
    pub(super) fn gemini(&mut self, gemini: &Gemini) {
        if let Err(error) = gemini.zone() {
            self.refuse_because("gemini.timezone", &error.to_string());
        }
        self.range("gemini.lease_s", gemini.lease_s, 1..=MAX_LEASE_S);
        for (key, number) in [
            ("gemini.max_features", gemini.max_features),
            ("gemini.max_models", gemini.max_models),
        ] {
            self.range(key, number, 1..=MAX_LABELS);
        }
        if gemini
            .prices
            .as_ref()
            .is_some_and(|path| !path.is_absolute())
        {
            self.refuse("gemini.prices");
        }
        if gemini.hosts.len() > MAX_HOSTS || !gemini.hosts.iter().all(|host| is_host(host)) {
            self.refuse("gemini.hosts");
        }
        if !is_header(&gemini.feature_header) {
            self.refuse("gemini.feature_header");
        }
        self.gateway(&gemini.gateway);
        if gemini.limits.len() > MAX_LIMITS {
            self.refuse("gemini.limit");
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, limit) in gemini.limits.iter().enumerate() {
            let at = format!("gemini.limit[{index}]");
            self.gemini_limit(&at, limit);
            if let Some(first) = seen.insert(limit.label(), index) {
                self.add(
                    &at,
                    format!(
                        "gemini.limit[{first}] is called `{}` as well; give one of them another \
                         `name`, or make them one",
                        limit.label()
                    ),
                );
            }
        }
    }

    fn gateway(&mut self, gateway: &GeminiGateway) {
        let relative = |path: &PathBuf| !path.is_absolute();
        if gateway.ca_file.as_ref().is_some_and(relative) {
            self.refuse("gemini.gateway.ca_file");
        }
        for (key, number, allowed) in [
            (
                "max_request_bytes",
                gateway.max_request_bytes,
                1024..=1 << 30,
            ),
            // Connections are left for everything else.
            ("max_calls", gateway.max_calls, 1..=192),
            ("connect_timeout_s", gateway.connect_timeout_s, 1..=300),
            ("idle_timeout_s", gateway.idle_timeout_s, 1..=3_600),
            (
                "assumed_output_tokens",
                gateway.assumed_output_tokens,
                0..=1_000_000,
            ),
        ] {
            self.range(&format!("gemini.gateway.{key}"), number, allowed);
        }
    }

    fn gemini_limit(&mut self, at: &str, limit: &GeminiLimit) {
        for (key, name) in [("name", &limit.name), ("feature", &limit.feature)] {
            if !name.as_deref().is_none_or(is_label) {
                self.refuse(&format!("{at}.{key}"));
            }
        }
        let model = limit.model.as_deref();
        let one_star = |model: &str| !model.trim_end_matches('*').contains('*');
        if !model.is_none_or(|model| is_label(model) && one_star(model) && !model.ends_with("**")) {
            self.refuse(&format!("{at}.model"));
        }
        for (key, amount) in [("tokens", limit.tokens), ("calls", limit.calls)] {
            if amount.is_some_and(|amount| amount > MAX_AMOUNT) {
                self.refuse(&format!("{at}.{key}"));
            }
        }
        if !limit.usd.is_none_or(|usd| (0.0..=MAX_USD).contains(&usd)) {
            self.refuse(&format!("{at}.usd"));
        }
        if limit.tokens.is_none() && limit.calls.is_none() && limit.usd.is_none() {
            self.add(at, "limits nothing; give one or more of tokens, calls, usd");
        }
    }

    pub(super) fn api(&mut self, api: &Api) {
        let absolute = api.token_files.iter().all(|path| path.is_absolute());
        if !absolute || api.token_files.len() > MAX_TOKEN_FILES {
            self.refuse("api.token_files");
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    !text.is_empty() && text.len() <= MAX_HOST && text.chars().all(plain)
}

fn is_header(text: &str) -> bool {
    axum::http::HeaderName::from_bytes(text.as_bytes()).is_ok()
}

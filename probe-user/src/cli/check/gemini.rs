//! The part of `hostprobe check` about Gemini: which limits hold, in which zone, and where they are
//! counted.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    api::Tokens,
    config::{Config, GeminiLimit, StoreUrl},
    gemini::Prices,
};

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    timezone: String,
    /// One line each.
    limits: Vec<String>,
    /// Where calls are counted, in words.
    counted: &'static str,
    /// What keeps the daemon from starting.
    problems: Vec<String>,
}

pub(super) fn report(config: &Config) -> Report {
    let gemini = &config.gemini;
    let mut problems = Vec::new();
    if let Some(path) = &gemini.prices
        && let Err(error) = Prices::load(path)
    {
        problems.push(error.to_string());
    }
    if let Err(error) = Tokens::load(&config.api.token_files) {
        problems.push(error.to_string());
    }
    Report {
        timezone: gemini.timezone.clone(),
        limits: gemini.limits.iter().map(describe).collect(),
        counted: match &config.store.url {
            Some(StoreUrl::None) => "in memory, because there is no store: a restart forgets them",
            Some(StoreUrl::Postgres(_)) => "in the store, for all hosts that share it",
            Some(StoreUrl::Sqlite(_)) | None => "in the store, for this host",
        },
        problems,
    }
}

fn describe(limit: &GeminiLimit) -> String {
    let per = limit.per;
    let amounts = [
        limit
            .tokens
            .map(|tokens| format!("{tokens} tokens a {per}")),
        limit.calls.map(|calls| format!("{calls} calls a {per}")),
        limit.usd.map(|usd| format!("{usd} USD a {per}")),
    ];
    let amounts: Vec<String> = amounts.into_iter().flatten().collect();
    let mut line = format!("{}: {}", limit.label(), amounts.join(", "));
    if let Some(model) = &limit.model {
        line.push_str(&format!(", model {model}"));
    }
    if let Some(feature) = &limit.feature {
        line.push_str(&format!(", feature {feature}"));
    }
    line
}

/// The section in plain words.
pub(super) fn text(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.limits.is_empty() && report.problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nGemini")?;
    let zone = &report.timezone;
    writeln!(out, "  {:<18} ok       days and months of {zone}", "limits")?;
    writeln!(out, "  {:<27} counted {}", "", report.counted)?;
    for limit in &report.limits {
        writeln!(out, "  {:<27} {limit}", "")?;
    }
    for problem in &report.problems {
        writeln!(out, "  {:<18} PROBLEM  {problem}", "")?;
    }
    Ok(())
}

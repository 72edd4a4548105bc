//! Under which names of a table a model's price may stand.

/// Names to look for, the closest first. `models/gemini-2.5-pro-002` is looked for as
/// `gemini-2.5-pro-002`, then as `gemini-2.5-pro`.
///
/// A name is only shortened by what does not change the price: paths before it, a version (`-001`,
/// `@001`) and `-latest` after it. Previews and models of other kinds (`-image`, `-tts`) have
/// prices of their own, so `gemini-2.5-flash-image` is not `gemini-2.5-flash`.
pub(super) fn candidates(model: &str) -> Vec<String> {
    let model = model.trim().to_ascii_lowercase();
    // Models that somebody tuned have other prices, and their names say nothing.
    if model.contains("tunedmodels/") || model.contains("endpoints/") {
        return vec![model];
    }
    let name = model.rsplit('/').next().unwrap_or_default();
    // Behind a colon stands what is asked of it.
    let name = name.split(':').next().unwrap_or_default();
    let mut names = vec![name.to_owned()];
    let (name, tag) = name.split_once('@').unwrap_or((name, ""));
    if !tag.is_empty() {
        names.push(name.to_owned());
    }
    let shorter = name
        .strip_suffix("-latest")
        .or_else(|| without_version(name));
    names.extend(shorter.map(str::to_owned));
    names
}

/// Without `-` and three digits.
fn without_version(name: &str) -> Option<&str> {
    let (rest, version) = name.rsplit_once('-')?;
    let is_version = version.len() == 3 && version.bytes().all(|byte| byte.is_ascii_digit());
    is_version.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn a_name_is_shortened_by_what_does_not_change_the_price() {
        let cases = [
            ("gemini-2.5-pro", &["gemini-2.5-pro"][..]),
            ("models/Gemini-2.5-Pro", &["gemini-2.5-pro"]),
            (
                "publishers/google/models/gemini-2.5-pro@002",
                &["gemini-2.5-pro@002", "gemini-2.5-pro"],
            ),
            (
                "projects/p/locations/l/publishers/google/models/gemini-2.5-flash-001:generateContent",
                &["gemini-2.5-flash-001", "gemini-2.5-flash"],
            ),
            (
                "gemini-flash-latest",
                &["gemini-flash-latest", "gemini-flash"],
            ),
            ("gemini-2.5-flash-image", &["gemini-2.5-flash-image"]),
            (
                "gemini-2.5-flash-preview-09-2025",
                &["gemini-2.5-flash-preview-09-2025"],
            ),
            (
                "tunedModels/gemini-2.5-pro",
                &["tunedmodels/gemini-2.5-pro"],
            ),
            ("", &[""]),
        ];
        for (model, names) in cases {
            assert_eq!(candidates(model), names, "{model}");
        }
    }
}

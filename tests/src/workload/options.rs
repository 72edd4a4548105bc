//! `key=value` arguments of a workload.

use std::{collections::BTreeMap, str::FromStr};

use anyhow::{Context, Result, bail};

pub(super) struct Options(BTreeMap<String, String>);

impl Options {
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = BTreeMap::new();
        for argument in arguments {
            let Some((key, value)) = argument.split_once('=') else {
                bail!("{argument} is not KEY=VALUE");
            };
            options.insert(key.to_owned(), value.to_owned());
        }
        Ok(Self(options))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn get<T>(&self, key: &str, default: T) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        match self.text(key) {
            Some(value) => value
                .parse()
                .with_context(|| format!("option {key}={value}")),
            None => Ok(default),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.get(key, 0_u8)? != 0)
    }

    /// Numbers separated by commas.
    pub(super) fn list(&self, key: &str) -> Result<Vec<i32>> {
        self.text(key)
            .unwrap_or_default()
            .split(',')
            .filter(|item| !item.is_empty())
            .map(|item| Ok(item.parse()?))
            .collect()
    }
}

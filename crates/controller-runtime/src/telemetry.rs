//! Logs on standard error, as text or JSON.

use std::io;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// Form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// A word that names no [`Format`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("log format {0:?} is neither text nor json")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(word: &str) -> Result<Self, FormatError> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(FormatError(other.to_owned())),
        }
    }
}

/// Why [`init`] fails.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("log filter {filter:?}: {source}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Called twice.
    #[error("cannot start logging: {0}")]
    Init(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging for the whole process. `filter` is a level, or a list such as `info,kube=debug`.
pub fn init(filter: &str, format: Format) -> Result<(), TelemetryError> {
    let filter = parse(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        Format::Text => builder.try_init()?,
        Format::Json => builder.json().flatten_event(true).try_init()?,
    }
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter {
            filter: filter.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_or_format_is_named() {
        let error = parse("info,kube=loud").unwrap_err().to_string();
        assert!(error.starts_with("log filter \"info,kube=loud\": "), "{error}");
        assert!(parse("info,kube=debug").is_ok());
        let error = "xml".parse::<Format>().unwrap_err().to_string();
        assert_eq!(error, "log format \"xml\" is neither text nor json");
        assert_eq!("json".parse(), Ok(Format::Json));
    }
}

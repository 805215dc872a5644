//! Logs on standard error, as text or JSON.

use std::error::Error;
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
    Init(#[from] Box<dyn Error + Send + Sync>),
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

/// An error and its causes in one line, for logs and conditions. What an error already says of its cause is not said
/// twice.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
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
    fn causes_are_told_once_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("client error")]
        struct Client(#[source] io::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write status of Server x: {0}")]
        struct Write(#[source] Client);
        let error = Write(Client(io::Error::other("connection refused")));
        assert_eq!(
            causes(&error),
            "cannot write status of Server x: client error: connection refused"
        );
    }

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

//! What a BMC says in its own words: the extended error information of DSP0266 §8.6.

use std::fmt;

use serde_json::Value;

/// Kept messages of one answer.
const MAX_MESSAGES: usize = 4;
/// Kept characters of one text.
const MAX_TEXT: usize = 240;

/// One entry of `@Message.ExtendedInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Registry, version and key, such as `Base.1.8.PropertyUnknown`; may be empty.
    pub id: String,
    /// Text for people; may be empty.
    pub text: String,
}

/// The messages of one answer: at most four, each text at most 240 characters, without control characters
/// and without the secrets that the request carried (BMCs like to quote a refused value).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Messages(Vec<Message>);

impl Messages {
    /// Reads the messages of an answer's body, and replaces every occurrence of `secrets`.
    pub(crate) fn read(body: &[u8], secrets: &[&str]) -> Self {
        serde_json::from_slice(body).map_or_else(|_| Self::default(), |value| Self::find(&value, secrets))
    }

    /// The same for a decoded body.
    pub(crate) fn find(body: &Value, secrets: &[&str]) -> Self {
        let error = &body["error"];
        let extended = [
            &error["@Message.ExtendedInfo"],
            &body["@Message.ExtendedInfo"],
            &body["Messages"],
        ]
        .into_iter()
        .find(|value| !value.is_null());
        // Some BMCs send the one object, or a bare text, where the standard has an array.
        let mut messages: Vec<Message> = match extended {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|item| message(item, secrets))
                .take(MAX_MESSAGES)
                .collect(),
            Some(item) => message(item, secrets).into_iter().collect(),
            None => Vec::new(),
        };
        if messages.is_empty() {
            let top = Message {
                id: text(&error["code"], secrets),
                text: text(&error["message"], secrets),
            };
            messages.extend((top != Message::default()).then_some(top));
        }
        Self(messages)
    }

    /// The messages, in the BMC's order.
    pub fn as_slice(&self) -> &[Message] {
        &self.0
    }

    /// Whether a message has this key, whatever its registry and version (`PropertyUnknown`).
    pub fn has_key(&self, key: &str) -> bool {
        self.0
            .iter()
            .any(|message| message.id.rsplit('.').next() == Some(key))
    }
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, message) in self.0.iter().enumerate() {
            f.write_str(if n == 0 { ": " } else { "; " })?;
            match (message.id.is_empty(), message.text.is_empty()) {
                (false, false) => write!(f, "{} ({})", message.text, message.id)?,
                (true, _) => f.write_str(&message.text)?,
                (_, true) => f.write_str(&message.id)?,
            }
        }
        Ok(())
    }
}

fn message(item: &Value, secrets: &[&str]) -> Option<Message> {
    let message = match item {
        Value::String(_) => Message {
            id: String::new(),
            text: text(item, secrets),
        },
        _ => Message {
            id: text(&item["MessageId"], secrets),
            text: text(&item["Message"], secrets),
        },
    };
    (message != Message::default()).then_some(message)
}

/// A bounded, printable copy. Secrets go first: cutting a text must not leave half of one.
fn text(value: &Value, secrets: &[&str]) -> String {
    let mut text = value.as_str().unwrap_or_default().to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_standard_form_gives_id_and_text() {
        let body = json!({"error": {"code": "Base.1.8.GeneralError", "message": "see below", "@Message.ExtendedInfo": [
            {"MessageId": "Base.1.8.PropertyUnknown", "Message": "The property X is unknown."}]}});
        let messages = Messages::find(&body, &[]);
        assert_eq!(
            messages.to_string(),
            ": The property X is unknown. (Base.1.8.PropertyUnknown)"
        );
        assert!(messages.has_key("PropertyUnknown") && !messages.has_key("Property"));
    }

    #[test]
    fn an_object_a_text_and_a_bare_error_are_read_too() {
        let object = json!({"error": {"@Message.ExtendedInfo": {"MessageId": "iLO.2.Busy"}}});
        assert_eq!(Messages::find(&object, &[]).to_string(), ": iLO.2.Busy");
        let text = json!({"@Message.ExtendedInfo": "no"});
        assert_eq!(Messages::find(&text, &[]).to_string(), ": no");
        let bare = json!({"error": {"code": "Base.1.0.GeneralError", "message": "broken"}});
        assert_eq!(
            Messages::find(&bare, &[]).to_string(),
            ": broken (Base.1.0.GeneralError)"
        );
        assert_eq!(Messages::read(b"<html>503</html>", &[]).to_string(), "");
    }

    #[test]
    fn a_quoted_password_is_replaced_before_the_text_is_cut() {
        let quoted = format!("{}hunter2hunter2 is too short", "x".repeat(MAX_TEXT - 5));
        let body =
            json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "hunter2hunter2", "Message": quoted}]}});
        let text = Messages::find(&body, &["hunter2hunter2", ""]).to_string();
        assert!(!text.contains("hunter") && text.contains("[reda"), "{text}");
    }

    #[test]
    fn number_and_length_are_bounded() {
        let items: Vec<_> = (0..100)
            .map(|_| json!({"MessageId": "A.1.B", "Message": "é\n".repeat(10_000)}))
            .collect();
        let messages = Messages::find(&json!({"error": {"@Message.ExtendedInfo": items}}), &[]);
        assert_eq!(messages.as_slice().len(), MAX_MESSAGES);
        for message in messages.as_slice() {
            assert_eq!(message.text.chars().count(), MAX_TEXT);
            assert!(!message.text.contains('\n'));
        }
    }
}

//! Talos machine configs as text in and text out: documents, JSON patches (RFC 6902), strategic merge patches, and the
//! label by which a Node is known.
//!
//! No schema of Talos is known here: fields and documents of releases to come pass through as they are. What the merge
//! rules say of single fields is a table ([`merge`]). No error shows anything of a config, which holds secrets.

mod error;
mod label;
mod merge;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use error::PatchError;

/// A machine config: its documents in their order.
#[derive(Debug, Clone)]
pub struct Config {
    documents: Vec<Value>,
}

impl Config {
    /// Reads all documents; those without content are left out.
    pub fn parse(text: &str) -> Result<Self, PatchError> {
        let documents = documents(text)?;
        if documents.is_empty() {
            return Err(PatchError::new("it has no document"));
        }
        if let Some(number) = documents.iter().position(|document| !document.is_object()) {
            return Err(PatchError::new(format!("document {} is no mapping", number + 1)));
        }
        Ok(Self { documents })
    }

    /// Applies the operations of one JSON patch to the machine's own document, all or none.
    pub fn apply_operations(&mut self, operations: &[Value]) -> Result<(), PatchError> {
        // as the original sent them: an absent value is null
        let mut operations = operations.to_vec();
        for operation in &mut operations {
            let takes_value = matches!(operation["op"].as_str(), Some("add" | "replace" | "test"));
            if let (Some(fields), true) = (operation.as_object_mut(), takes_value) {
                fields.entry("value").or_insert(Value::Null);
            }
        }
        let operations = Value::Array(operations);
        let patch: json_patch::Patch = serde_json::from_value(operations)
            .map_err(|error| PatchError::new(format!("it is no JSON patch: {error}")))?;
        let machine = self.machine()?;
        json_patch::patch(machine, &patch).map_err(|error| {
            // its own text may quote what a test found
            let operation = patch.0.get(error.operation);
            let place = operation.map(|operation| operation.path().to_string());
            let (number, why) = (error.operation, why(&error.kind));
            PatchError::new(format!(
                "operation {number} at {:?}: {why}",
                place.unwrap_or_default()
            ))
        })
    }

    /// Applies a patch as text: documents to merge, or the operations of a JSON patch in JSON or YAML.
    pub fn apply(&mut self, text: &str) -> Result<(), PatchError> {
        let patches = documents(text)?;
        if let [Value::Array(operations)] = &patches[..] {
            return self.apply_operations(operations);
        }
        for (number, patch) in patches.into_iter().enumerate() {
            if !patch.is_object() {
                return Err(PatchError::new(format!(
                    "document {} is neither a mapping nor a list of operations",
                    number + 1
                )));
            }
            self.merge(patch);
        }
        Ok(())
    }

    /// Adds a label to the Node that the machine becomes: in its `KubeNodeConfig` document where there is one, else among
    /// the arguments of its kubelet.
    pub fn label_node(&mut self, key: &str, value: &str) -> Result<(), PatchError> {
        label::add(self, key, value)
    }

    /// All documents as YAML. Texts that YAML 1.1 would read as something else are quoted.
    pub fn to_yaml(&self) -> Result<String, PatchError> {
        let mut texts = Vec::new();
        for document in &self.documents {
            let text = serde_saphyr::to_string(document)
                .map_err(|_| PatchError::new("it cannot be written as YAML"))?;
            texts.push(text);
        }
        Ok(texts.join("---\n"))
    }

    /// A document that has the patch's kind and name is merged with it; another one is added.
    fn merge(&mut self, patch: Value) {
        let id = identity(&patch);
        let Some(at) = self
            .documents
            .iter()
            .position(|document| identity(document) == id)
        else {
            if !merge::is_deletion(&patch) {
                self.documents.push(merge::without_directives(patch));
            }
            return;
        };
        if merge::is_deletion(&patch) {
            self.documents.remove(at);
            return;
        }
        merge::merge(&mut self.documents[at], patch, "");
        if self.documents[at]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
        {
            self.documents.remove(at);
        }
    }

    /// The machine's own document: the one without a kind.
    fn machine(&mut self) -> Result<&mut Value, PatchError> {
        let found = self
            .documents
            .iter_mut()
            .find(|document| document.get("kind").is_none());
        found.ok_or_else(|| PatchError::new("unknown config type: no document is a v1alpha1 machine config"))
    }
}

/// Reads patches and configs of anybody; for fuzzing.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (config, patch) = text.split_once('\0').unwrap_or((&text, &text));
    if let Ok(mut config) = Config::parse(config) {
        let _ = config.apply(patch);
        let _ = config.label_node("key", "value");
        let _ = config.to_yaml();
    }
}

fn documents(text: &str) -> Result<Vec<Value>, PatchError> {
    // the reader's own budget bounds what aliases make of a small text
    let options = serde_saphyr::options! { with_snippet: false };
    let read = serde_saphyr::from_multiple_with_options::<Value>(text, options);
    let documents = read.map_err(|error| PatchError::unread(&error))?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// What a document is told apart by: version, kind and name.
fn identity(document: &Value) -> [Option<&Value>; 3] {
    if document.get("kind").is_none() {
        return [None; 3]; // the machine's own, whose version is called `version`
    }
    ["apiVersion", "kind", "name"].map(|key| document.get(key))
}

fn why(kind: &json_patch::PatchErrorKind) -> &'static str {
    use json_patch::PatchErrorKind as Kind;
    match kind {
        Kind::TestFailed => "the value is another one",
        Kind::InvalidFromPointer => "there is nothing at its from",
        Kind::InvalidPointer => "there is no such path",
        _ => "it cannot be done there",
    }
}

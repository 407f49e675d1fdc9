//! Ids of calls that the JSON-RPC server does not know and geth does.
//!
//! The server takes text, null and whole numbers below 2^64 for an id, and hears a call with any other one as a notification,
//! which nobody answers. geth gives back whatever id it was sent, and calls a request invalid whose id is an object or an
//! array. So ids that the server does not know are put aside before it sees the request, and put back into its answers.

use http::{HeaderValue, header};
use http_body_util::BodyExt as _;
use jsonrpsee::server::{HttpBody, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use tower::BoxError;

/// What stands for a request that is none.
const INVALID: &str = r#"{"jsonrpc":"2.0","id":null}"#;

/// Ids that were put aside, by the number that stands for each.
#[derive(Debug)]
pub struct SetAside(BTreeMap<u64, Box<RawValue>>);

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// The id of a call or an answer; `None` where there is none, or the text is no object.
fn id_of(text: &str) -> Option<&RawValue> {
    serde_json::from_str::<Named<'_>>(text).ok()?.id
}

/// Whether the server answers a call with this id.
pub fn is_known(id: &RawValue) -> bool {
    let text = id.get();
    text.starts_with('"') || text == "null" || text.parse::<u64>().is_ok()
}

/// The request, a call or a batch, with ids that the server knows in place of those that it does not, and with invalid
/// requests in place of those whose id is an object or an array. `None` if there is nothing to replace.
pub fn set_aside(body: &[u8]) -> Option<(Vec<u8>, SetAside)> {
    let (calls, is_batch) = split(body)?;
    let ids: Vec<Option<&RawValue>> = calls.iter().map(|call| id_of(call.get())).collect();
    if ids.iter().flatten().all(|id| is_known(id)) {
        return None;
    }
    let used: BTreeSet<u64> = ids.iter().flatten().filter_map(|id| id.get().parse().ok()).collect();
    let mut free = (0..u64::MAX).filter(|number| !used.contains(number));
    let mut aside = BTreeMap::new();
    let mut written = Vec::with_capacity(calls.len());
    for (call, id) in calls.iter().zip(ids) {
        written.push(match id {
            Some(id) if id.get().starts_with(['{', '[']) => INVALID.to_owned(),
            Some(id) if !is_known(id) => {
                let number = free.next()?;
                aside.insert(number, id.to_owned());
                with_id(call.get(), &RawValue::from_string(number.to_string()).ok()?)?
            }
            Some(_) | None => call.get().to_owned(),
        });
    }
    Some((join(&written, is_batch), SetAside(aside)))
}

impl SetAside {
    /// The answer with the ids as they came.
    ///
    /// # Errors
    /// The answer breaks off.
    pub async fn restore(&self, response: HttpResponse) -> Result<HttpResponse, BoxError> {
        let (mut parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let restored = self.restored(&bytes).unwrap_or_else(|| bytes.to_vec());
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(restored.len()));
        Ok(HttpResponse::from_parts(parts, HttpBody::from(restored)))
    }

    fn restored(&self, answers: &[u8]) -> Option<Vec<u8>> {
        let (answers, is_batch) = split(answers)?;
        let restore = |answer: &RawValue| {
            let number: u64 = id_of(answer.get())?.get().parse().ok()?;
            with_id(answer.get(), self.0.get(&number)?)
        };
        let written: Vec<String> =
            answers.iter().map(|answer| restore(answer).unwrap_or_else(|| answer.get().to_owned())).collect();
        Some(join(&written, is_batch))
    }
}

/// One object, or those of an array, and which of the two it was.
fn split(document: &[u8]) -> Option<(Vec<&RawValue>, bool)> {
    match document.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'[' => Some((serde_json::from_slice(document).ok()?, true)),
        _ => Some((vec![serde_json::from_slice(document).ok()?], false)),
    }
}

fn join(documents: &[String], is_batch: bool) -> Vec<u8> {
    let joined = documents.join(",");
    if is_batch { format!("[{joined}]").into_bytes() } else { joined.into_bytes() }
}

/// The object with another id.
fn with_id(object: &str, id: &RawValue) -> Option<String> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    members.insert("id".to_owned(), id);
    serde_json::to_string(&members).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn known_ids_are_left_alone() {
        for id in ["1", "0", "18446744073709551615", "null", r#""a""#, r#""{}""#] {
            let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
            assert!(set_aside(call.as_bytes()).is_none(), "{id}");
            assert!(set_aside(format!("[{call},1,{{}}]").as_bytes()).is_none(), "{id} in a batch");
        }
        for other in ["", "[", "17", "[]", r#"{"method":"m"}"#] {
            assert!(set_aside(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn odd_ids_come_back_as_they_were() {
        let batch = br#"[{"id":-1,"method":"m"},{"id":0,"method":"m"},{"id":1.50,"method":"m"},{"id":{},"method":"m"},
            {"id":true,"method":"m"},{"id":[1],"method":"m"},{"method":"m"}]"#;
        let (body, aside) = set_aside(batch).expect("odd ids");
        let invalid = json!({ "jsonrpc": "2.0", "id": null });
        let expected = json!([
            { "id": 1, "method": "m" }, { "id": 0, "method": "m" }, { "id": 2, "method": "m" }, invalid,
            { "id": 3, "method": "m" }, invalid, { "method": "m" },
        ]);
        assert_eq!(parsed(&body), expected);
        let answers = aside.restored(br#"[{"id":1,"result":{"id":2}},{"id":0,"result":1},{"id":2,"error":{}}]"#);
        let answers = String::from_utf8(answers.expect("answers")).expect("text");
        assert_eq!(answers, r#"[{"id":-1,"result":{"id":2}},{"id":0,"result":1},{"error":{},"id":1.50}]"#);
    }
}

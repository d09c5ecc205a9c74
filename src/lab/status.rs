//! `GEO.STATUS` read into named fields.

use redis::{Connection, RedisResult, Value};

/// A reply map: names and values in the server's order. Understands RESP3 maps and RESP2 flat arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub Vec<(String, Field)>);

#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Text(String),
    Fields(Fields),
    List(Vec<Field>),
}

impl Fields {
    /// Reads the status of the server that `connection` speaks to.
    pub fn of(connection: &mut Connection) -> RedisResult<Fields> {
        Fields::read(&redis::cmd("GEO.STATUS").query(connection)?)
    }

    /// Reads an answer to `GEO.STATUS`.
    pub fn read(answer: &Value) -> RedisResult<Fields> {
        match field(answer) {
            Field::Fields(fields) => Ok(fields),
            other => Err(redis::RedisError::from((
                redis::ErrorKind::UnexpectedReturnType,
                "GEO.STATUS is not a map",
                format!("{other:?}"),
            ))),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, field)| field)
    }

    /// The field as text; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Field::Text(text)) => text,
            _ => "",
        }
    }

    /// The field as a number; `None` when it is none.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }

    /// A map inside this one; empty when there is none.
    pub fn fields(&self, name: &str) -> Fields {
        match self.get(name) {
            Some(Field::Fields(fields)) => fields.clone(),
            _ => Fields::default(),
        }
    }

    /// The peers and what is said of each.
    pub fn peers(&self) -> Vec<(String, Fields)> {
        let named = |(name, field): (String, Field)| match field {
            Field::Fields(fields) => Some((name, fields)),
            _ => None,
        };
        self.fields("peers").0.into_iter().filter_map(named).collect()
    }

    /// What this region says of one peer.
    pub fn peer(&self, region: &str) -> Option<Fields> {
        self.peers()
            .into_iter()
            .find(|(name, _)| name == region)
            .map(|(_, fields)| fields)
    }
}

fn field(value: &Value) -> Field {
    match value {
        Value::Map(pairs) => Field::Fields(Fields(
            pairs
                .iter()
                .map(|(name, value)| (text(name).unwrap_or_default(), field(value)))
                .collect(),
        )),
        Value::Array(values) => {
            flat_map(values).map_or_else(|| Field::List(values.iter().map(field).collect()), Field::Fields)
        }
        other => Field::Text(text(other).unwrap_or_default()),
    }
}

/// A RESP2 array that stands for a map: names at the even places.
fn flat_map(values: &[Value]) -> Option<Fields> {
    if values.is_empty() || !values.len().is_multiple_of(2) {
        return None;
    }
    let pairs = values
        .chunks_exact(2)
        .map(|pair| Some((name(&pair[0])?, field(&pair[1]))));
    pairs.collect::<Option<Vec<_>>>().map(Fields)
}

fn name(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(_) | Value::SimpleString(_) => text(value),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Okay => Some("OK".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_flat_array_and_a_map_read_the_same() {
        let peer = [bulk("state"), bulk("up"), bulk("lag_ms"), Value::Int(3)];
        let pairs =
            |flat: &[Value]| Value::Map(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect());
        let region = |peers: Value| [bulk("region"), bulk("eu"), bulk("peers"), peers];
        let map = region(pairs(&[bulk("us"), pairs(&peer)]));
        let flat = region(Value::Array(vec![bulk("us"), Value::Array(peer.to_vec())]));
        assert_eq!(field(&Value::Array(flat.to_vec())), field(&pairs(&map)));
        let Field::Fields(fields) = field(&pairs(&map)) else {
            panic!("not a map")
        };
        assert_eq!(fields.text("region"), "eu");
        assert_eq!(fields.peer("us").map(|peer| peer.number("lag_ms")), Some(Some(3)));
    }
}

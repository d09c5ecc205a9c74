//! Reports.

use crate::redis::guard::Command;
use crate::redis::reply::{Refusal, Reply};
use crate::redis::status;

pub fn status(_command: &Command<'_>) -> Result<Reply, Refusal> {
    status::report().map(Reply::Tree)
}

pub fn inspect(command: &Command<'_>) -> Result<Reply, Refusal> {
    let [_, key] = *command.args else {
        return Ok(Reply::WrongArity);
    };
    status::inspect(command.ctx, key).map(Reply::Tree)
}

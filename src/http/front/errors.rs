//! A failure over HTTP: status, headers and body in the dialect of the path. The one place that knows a status code.
//!
//! Statuses decide how often clients try again, and every try is a run: whatever would fail again is a 400 or a 404 for
//! the clients of other vendors, and what could do better later says when.

use crate::base::json::{Json, ordered};
use crate::model::error::{Error, Failure, Kind};
use crate::model::retry_after::wait_in;
use std::time::Duration;

mod vendor;
pub use vendor::quota_is_used_up;

/// Which dialect a path speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    Native,
    /// `/openai`.
    OpenAi,
    Anthropic,
}

impl Surface {
    /// The dialect of a path, whether there is anything at it or not.
    pub fn of(path: &str) -> Surface {
        match path.trim_start_matches('/').split(['/', '?']).next() {
            Some("openai") => Surface::OpenAi,
            Some("anthropic") => Surface::Anthropic,
            _ => Surface::Native,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// One of the kinds that every interface has.
    Kind(Kind),
    /// The dialect knows the value, and we have nothing for it.
    Unsupported,
    /// The model that was asked for, which means no backend.
    NoModel(String),
    /// The vendor's quota is used up: trying again does not help.
    UsedUp,
    NoPath,
    /// The path does not take the method, but these, as `Allow` has them.
    Method(&'static str),
    TooLarge,
    TooSlow,
    /// The body has a form that is not read.
    Coded,
    /// The idempotency key belongs to another request.
    OtherRequest,
    NoRun,
    /// There is no such response to go on with.
    NoResponse,
    /// A page of another origin, or a name that is not ours.
    Foreign,
}

/// A failure on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub cause: Cause,
    /// The sentence, where the dialect does not prescribe one.
    pub message: String,
    /// The field of the request that is to blame.
    pub param: Option<&'static str>,
    /// When it is worth trying again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Fault {
    pub fn new(cause: Cause, message: impl Into<String>) -> Fault {
        Fault { cause, message: message.into(), param: None, retry_after: None }
    }

    pub fn of(kind: Kind, message: impl Into<String>) -> Fault {
        Fault::new(Cause::Kind(kind), message)
    }

    /// A request that makes no sense, by this field.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> Fault {
        Fault { param: Some(param), ..Fault::of(Kind::InvalidRequest, message) }
    }

    /// A request for what we have nothing for, by this field.
    pub fn unsupported(param: &'static str, message: impl Into<String>) -> Fault {
        Fault { param: Some(param), ..Fault::new(Cause::Unsupported, message) }
    }

    pub fn no_model(asked: &str) -> Fault {
        let message = format!("no backend answers to model `{asked}`");
        Fault { param: Some("model"), ..Fault::new(Cause::NoModel(asked.to_owned()), message) }
    }

    pub fn unauthorized() -> Fault {
        let message = "the API key is missing or wrong: send `Authorization: Bearer KEY` or `X-Api-Key: KEY`";
        Fault::of(Kind::Unauthorized, message)
    }

    /// There is nothing at this path; there is at those that were probably meant.
    pub fn no_path(method: &str, path: &str, meant: &[String]) -> Fault {
        let hint =
            if meant.is_empty() { String::new() } else { format!(": did you mean {}?", meant.join(" or ")) };
        Fault::new(Cause::NoPath, format!("unknown path: {method} {path}{hint}"))
    }

    pub fn coded_body(coding: &str) -> Fault {
        let message =
            format!("the body has `Content-Encoding: {coding}`: send it as it is, without that header");
        Fault::new(Cause::Coded, message)
    }

    pub fn method(method: &str, allow: &'static str) -> Fault {
        Fault::new(Cause::Method(allow), format!("method {method} is not allowed here: use {allow}"))
    }

    pub fn too_large(limit: usize, rule: &str) -> Fault {
        Fault::new(Cause::TooLarge, format!("the body has more than {limit} bytes ({rule})"))
    }

    /// Other requests have all the memory that there is.
    pub(crate) fn no_memory() -> Fault {
        let message = "the server has no memory for this now (server.max_memory_bytes): try again later";
        Fault::of(Kind::Busy, message)
    }

    pub fn too_slow() -> Fault {
        Fault::new(Cause::TooSlow, "the body did not come in time (server.read_timeout_secs)")
    }

    pub fn other_request() -> Fault {
        let message = "this Idempotency-Key was used with another body or path: use a new one";
        Fault::new(Cause::OtherRequest, message)
    }

    pub(crate) fn no_response(id: &str) -> Fault {
        let message = format!("Previous response with id '{id}' not found: it is over, or was never stored");
        Fault { param: Some("previous_response_id"), ..Fault::new(Cause::NoResponse, message) }
    }

    pub fn no_run(id: &str) -> Fault {
        Fault::new(Cause::NoRun, format!("no run `{id}`: it is over, or was never there"))
    }

    /// What a backend said. `now`, in seconds since 1970, is what the times in its sentence are compared with.
    pub fn of_failure(failure: &Failure, now: u64) -> Fault {
        let wait = wait_in(&failure.message, now);
        let cause = match failure.kind {
            Kind::Quota if quota_is_used_up(&failure.message, wait) => Cause::UsedUp,
            kind => Cause::Kind(kind),
        };
        Fault { retry_after: wait, ..Fault::new(cause, &failure.message) }
    }

    pub fn status(&self, surface: Surface) -> u16 {
        let row = self.row();
        if surface == Surface::Native { row.native } else { row.compatible }
    }

    /// Whether its status on the surfaces of other vendors says that we are to blame, and not the request.
    pub(crate) fn is_ours(&self) -> bool {
        self.row().compatible >= 500
    }

    pub fn headers(&self, surface: Surface) -> Vec<(String, String)> {
        let status = self.status(surface);
        let mut headers = Vec::new();
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
        if let Cause::Method(allow) = self.cause {
            add("allow", allow.to_owned());
        }
        if status == 401 {
            add("www-authenticate", "Bearer".to_owned());
        }
        match self.wait(surface) {
            Some(seconds) => add("retry-after", seconds.to_string()),
            // Clients try most of these again, and each try is a run that fails again.
            None if surface != Surface::Native && (status >= 500 || matches!(status, 401 | 429)) => {
                add("x-should-retry", "false".to_owned());
            }
            None => {}
        }
        headers
    }

    pub fn body(&self, surface: Surface, request_id: &str) -> String {
        let body = match surface {
            Surface::Native => {
                let (kind, message) = (self.row().kind.word(), &self.message);
                ordered!({"error": {"kind": kind, "message": message, "request_id": request_id}})
            }
            Surface::OpenAi => ordered!({"error": self.openai()}),
            Surface::Anthropic => self.anthropic(request_id),
        };
        body.text()
    }

    /// The error as OpenAI's API describes it, without what is around it.
    pub(crate) fn openai(&self) -> Json {
        let Row { openai, code, .. } = self.row();
        let message = self.sentence(Surface::OpenAi);
        ordered!({"message": message, "type": openai, "param": self.param, "code": code})
    }

    /// The same with its members in the order of an `error` event of `/responses`.
    pub(crate) fn openai_event(&self) -> Json {
        let Row { openai, code, .. } = self.row();
        let message = self.sentence(Surface::OpenAi);
        ordered!({"type": openai, "code": code, "message": message, "param": self.param})
    }

    /// The error of a response that failed on its way. Codex and the AI SDK decide by the code whether they try again:
    /// after `invalid_prompt` no client does, and codex shows the message as it is.
    pub(crate) fn openai_response(&self) -> Json {
        let code = match &self.cause {
            Cause::Kind(Kind::ContextTooLong) => "context_length_exceeded",
            Cause::UsedUp => USED_UP,
            Cause::Kind(Kind::Quota | Kind::RateLimited) => "rate_limit_exceeded",
            Cause::Kind(Kind::Overloaded | Kind::Unreachable | Kind::Busy | Kind::Draining) => {
                "server_is_overloaded"
            }
            _ => "invalid_prompt",
        };
        ordered!({"code": code, "message": self.sentence(Surface::OpenAi)})
    }

    /// The whole error object of Anthropic's API: its body, and its event in a stream.
    pub(crate) fn anthropic(&self, request_id: &str) -> Json {
        let message = self.sentence(Surface::Anthropic);
        let error = ordered!({"type": self.row().anthropic, "message": message});
        ordered!({"type": "error", "error": error, "request_id": request_id})
    }

    /// The sentence, with the words that the surface's clients look for and without those that mislead them.
    fn sentence(&self, surface: Surface) -> String {
        let said = &self.message;
        let sentence = match (surface, &self.cause) {
            (Surface::OpenAi, Cause::Kind(Kind::Unauthorized)) => "Incorrect API key provided.".to_owned(),
            (Surface::Anthropic, Cause::Kind(Kind::Unauthorized)) => "invalid x-api-key".to_owned(),
            (Surface::OpenAi, Cause::NoModel(asked)) => format!("The model `{asked}` does not exist"),
            (Surface::Anthropic, Cause::NoModel(asked)) => format!("model: {asked}"),
            (Surface::OpenAi, Cause::Kind(Kind::ContextTooLong)) => vendor::maximum_context_length(said),
            (Surface::Anthropic, Cause::Kind(Kind::ContextTooLong)) => vendor::prompt_is_too_long(said),
            _ => said.clone(),
        };
        if surface == Surface::OpenAi && self.status(surface) != 429 {
            // litellm takes any error with this word for a rate limit.
            return sentence.replace("rate_limit", "rate limit");
        }
        sentence
    }

    /// When to try again, in seconds. Some clients try a 429 again only where a time is named, so there is one.
    fn wait(&self, surface: Surface) -> Option<u64> {
        let whole = |wait: Duration| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        let known = self.retry_after.map(whole);
        let compatible = surface != Surface::Native;
        match self.cause {
            Cause::Kind(Kind::RateLimited) => known.or(Some(1)),
            Cause::Kind(Kind::Busy | Kind::Draining) => known.or(Some(5)),
            Cause::Kind(Kind::Quota) => known.or(compatible.then_some(20)),
            Cause::Kind(Kind::Overloaded | Kind::Unreachable) if compatible => known.or(Some(10)),
            _ => None,
        }
    }

    fn row(&self) -> Row {
        let invalid = |status, code| row(Kind::InvalidRequest, (status, status), (BAD, code), BAD);
        let lacks = |code| row(Kind::InvalidRequest, (404, 404), (BAD, code), "not_found_error");
        match self.cause {
            Cause::Kind(kind) => of_kind(kind),
            Cause::Unsupported => invalid(400, Some("unsupported_value")),
            Cause::NoModel(_) => of_kind(Kind::UnknownModel),
            Cause::UsedUp => row(Kind::Quota, (429, 429), (USED_UP, Some(USED_UP)), LIMIT),
            Cause::NoPath => lacks(Some("unknown_url")),
            Cause::Method(_) => invalid(405, None),
            Cause::TooLarge => row(Kind::InvalidRequest, (413, 413), (BAD, Some(TOO_LARGE)), TOO_LARGE),
            Cause::TooSlow => invalid(408, None),
            Cause::Coded => invalid(415, None),
            Cause::OtherRequest => invalid(422, None),
            Cause::NoResponse => invalid(400, Some("previous_response_not_found")),
            Cause::NoRun => lacks(None),
            Cause::Foreign => {
                row(Kind::Policy, (403, 403), (BAD, Some("origin_not_allowed")), "permission_error")
            }
        }
    }
}

/// The status of a health check that failed.
pub(crate) const UNHEALTHY: u16 = 503;

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Fault {
        let error = error.into();
        Fault::of(error.kind(), error.to_string())
    }
}

/// What a failure is on each surface.
struct Row {
    /// Our own word for it.
    kind: Kind,
    native: u16,
    /// On the surfaces of other vendors.
    compatible: u16,
    /// OpenAI's type.
    openai: &'static str,
    /// OpenAI's code.
    code: Option<&'static str>,
    /// Anthropic's type.
    anthropic: &'static str,
}

/// The type of a request that is to blame itself, for both vendors.
const BAD: &str = "invalid_request_error";
/// OpenAI's type of a failure on our side.
const OURS: &str = "server_error";
/// The type of what comes too often, for both vendors.
const LIMIT: &str = "rate_limit_error";
const USED_UP: &str = "insufficient_quota";
const TOO_LARGE: &str = "request_too_large";

/// `statuses`: ours, and the other vendors'. `openai`: type and code.
fn row(
    kind: Kind,
    (native, compatible): (u16, u16),
    (openai, code): (&'static str, Option<&'static str>),
    anthropic: &'static str,
) -> Row {
    Row { kind, native, compatible, openai, code, anthropic }
}

/// The table of kinds: section 5 of the design for the statuses, section 4 of the clients' contract for the rest.
fn of_kind(kind: Kind) -> Row {
    // Where the dialects have no code of their own, ours says more than none.
    let own = Some(kind.word());
    let bad = |statuses, code| row(kind, statuses, (BAD, code), BAD);
    let ours = |statuses, code, anthropic| row(kind, statuses, (OURS, code), anthropic);
    let rate = |statuses| row(kind, statuses, (LIMIT, Some("rate_limit_exceeded")), LIMIT);
    match kind {
        Kind::InvalidRequest => bad((400, 400), None),
        Kind::UnknownBackend | Kind::UnknownModel => {
            row(kind, (404, 404), (BAD, Some("model_not_found")), "not_found_error")
        }
        Kind::NotInstalled => bad((503, 400), own),
        Kind::Config | Kind::SessionStore | Kind::Internal => ours((500, 500), own, "api_error"),
        Kind::SessionNotFound => row(kind, (404, 404), (BAD, own), "not_found_error"),
        Kind::SessionBusy | Kind::SessionNotResumable => bad((409, 400), own),
        Kind::Timeout => ours((504, 504), own, "timeout_error"),
        Kind::Cancelled => ours((499, 499), own, "api_error"),
        Kind::Unauthorized => row(kind, (401, 401), (BAD, Some("invalid_api_key")), "authentication_error"),
        Kind::Policy => row(kind, (403, 403), ("permission_error", own), "permission_error"),
        Kind::RateLimited | Kind::Quota => rate((429, 429)),
        Kind::Busy => rate((503, 429)),
        Kind::Draining => ours((503, 503), Some("overloaded"), "overloaded_error"),
        Kind::Overloaded | Kind::Unreachable => ours((502, 503), Some("overloaded"), "overloaded_error"),
        Kind::Login | Kind::VendorFlag | Kind::Refusal | Kind::TurnLimit | Kind::PermissionDenied => {
            bad((502, 400), own)
        }
        Kind::ContextTooLong => bad((400, 400), Some("context_length_exceeded")),
        Kind::Remote | Kind::Crash | Kind::Unreadable => ours((502, 502), Some("backend_error"), "api_error"),
    }
}

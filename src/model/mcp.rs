//! MCP servers for a run: what the agents' own configurations call `mcpServers`, read in the shape that they have there.

use crate::base::json;
use crate::base::words::words;
use crate::model::fields::{Field, Fields, Object, Word, fields, value};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// A server whose tools an agent has in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct McpServer {
    /// The name that its tools go by.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
}

/// How an agent reaches an MCP server.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    /// A program that the agent starts, on its standard input and output.
    Stdio {
        command: String,
        args: Vec<String>,
        /// Variables besides those that it inherits from the agent.
        env: Vec<(String, String)>,
    },
    /// Streamable HTTP.
    Http { url: String, headers: Vec<(String, String)> },
    /// Server-sent events, the protocol's older way.
    Sse { url: String, headers: Vec<(String, String)> },
}

impl McpServer {
    /// The same without what may be secret: the values of variables and headers, which stand there as `hidden`.
    pub(crate) fn without_secrets(&self, hidden: &str) -> McpServer {
        let mut server = self.clone();
        let (Transport::Stdio { env: pairs, .. }
        | Transport::Http { headers: pairs, .. }
        | Transport::Sse { headers: pairs, .. }) = &mut server.transport;
        pairs.iter_mut().for_each(|(_, value)| hidden.clone_into(value));
        server
    }

    /// The same without anything but its name and its type, and the names of variables and headers.
    pub(crate) fn without_values(&self, hidden: &str) -> McpServer {
        let mut server = self.without_secrets(hidden);
        let hide = |word: &mut String| hidden.clone_into(word);
        match &mut server.transport {
            Transport::Stdio { command, args, .. } => [command].into_iter().chain(args).for_each(hide),
            Transport::Http { url, .. } | Transport::Sse { url, .. } => hide(url),
        }
        server
    }
}

/// MCP servers as they are given: what is in a file of them, or the file's name.
#[derive(Debug, Clone, PartialEq)]
pub enum McpSource {
    File(String),
    Servers(Vec<McpServer>),
}

impl McpSource {
    /// Reads a word: what begins with `{` is JSON, anything else the name of a file.
    pub(crate) fn of_word(word: &str) -> Result<McpSource, String> {
        match word.trim_start().starts_with('{') {
            true => read(word).map(McpSource::Servers),
            false => Ok(McpSource::File(word.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for McpSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<McpSource, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = McpSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of MCP servers, or the name of a file with one")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<McpSource, E> {
                McpSource::of_word(word).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<McpSource, A::Error> {
                servers(map).map(McpSource::Servers)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Reads a text: `{"mcpServers": {NAME: SERVER, ...}}`, or the inner object alone.
pub fn read(text: &str) -> Result<Vec<McpServer>, String> {
    json::from_str(text).map(|Wrapped(servers)| servers).map_err(|error| error.to_string())
}

/// The key around the servers in the agents' own files.
const WRAPPER: &str = "mcpServers";

/// The servers, with or without the key around them.
struct Wrapped(Vec<McpServer>);

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Wrapped, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Wrapped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of MCP servers")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wrapped, A::Error> {
                servers(map).map(Wrapped)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn servers<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vec<McpServer>, A::Error> {
    let mut servers: Vec<McpServer> = Vec::new();
    while let Some(name) = map.next_key::<String>()? {
        if name == WRAPPER && servers.is_empty() {
            let Wrapped(servers) = value(WRAPPER, &mut map)?.unwrap_or(Wrapped(Vec::new()));
            return match map.next_key::<String>()? {
                None => Ok(servers),
                Some(other) => {
                    Err(A::Error::custom(format!("`{other}` stands beside `{WRAPPER}`, which stands alone")))
                }
            };
        }
        let wrong = |problem: String| A::Error::custom(format!("MCP server `{name}`: {problem}"));
        if let Some(problem) = bad_name(&name) {
            return Err(wrong(problem));
        }
        if servers.iter().any(|server| server.name == name) {
            return Err(wrong("it stands there twice".to_owned()));
        }
        let Object((Type(kind), described)) = map
            .next_value::<Object<(Type, Described)>>()
            // A position behind the message is found there again by serde_json.
            .map_err(|error| wrong(error.to_string()))?;
        let transport = transport(kind, described).map_err(wrong)?;
        servers.push(McpServer { name, transport });
    }
    Ok(servers)
}

/// The longest name of a server: agents put it into the names of tools, for which vendors have bounds.
const LONGEST_NAME: usize = 40;

fn bad_name(name: &str) -> Option<String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    match name.chars().count() {
        1..=LONGEST_NAME if name.chars().all(is_plain) => None,
        _ => Some(format!("a name has 1 to {LONGEST_NAME} letters, digits, `_` or `-`")),
    }
}

words! {
    /// The words for the transports.
    TransportKind {
        /// A program.
        Stdio = "stdio",
        /// Streamable HTTP.
        Http = "http",
        /// Server-sent events.
        Sse = "sse",
    }
}

/// `type`, which is no name that a field can have in Rust.
#[derive(Default)]
struct Type(Option<Word<TransportKind>>);

impl Fields for Type {
    fn list(fields: &mut Vec<Field>) {
        let help = "how it is reached: stdio, http, sse";
        fields.push(Field { name: "type", aliases: &[], kind: "Word<TransportKind>", help });
    }

    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name == "type" {
            self.0 = value(name, map)?;
        }
        Ok(name == "type")
    }

    fn or(self, other: &Self) -> Self {
        Type(self.0.or(other.0))
    }
}

fields! {
    /// A server as it is described.
    struct Described {
        command: String, "the program";
        args: Vec<String>, "its arguments";
        env: Pairs, "its variables";
        url: String, "the address";
        headers: Pairs, "headers of every request";
    }
}

/// Names with a text each, in the order in which they stand.
#[derive(Debug, Clone, Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if pairs.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("`{name}` stands there twice")));
                    }
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The transport that is described. Without `type` it is what `command` or `url` says.
fn transport(kind: Option<Word<TransportKind>>, described: Described) -> Result<Transport, String> {
    let Described { command, args, env, url, headers } = described;
    let kind = match (kind, &command, &url) {
        (Some(Word(kind)), _, _) => kind,
        (None, Some(_), _) => TransportKind::Stdio,
        (None, None, Some(_)) => TransportKind::Http,
        (None, None, None) => return Err("there is neither `command` nor `url`".to_owned()),
    };
    let others: &[(&str, bool)] = match kind {
        TransportKind::Stdio => &[("url", url.is_some()), ("headers", headers.is_some())],
        TransportKind::Http | TransportKind::Sse => {
            &[("command", command.is_some()), ("args", args.is_some()), ("env", env.is_some())]
        }
    };
    if let Some((field, _)) = others.iter().find(|(_, is_given)| *is_given) {
        return Err(format!("`{field}` is not for type `{}`", kind.word()));
    }
    let Pairs(headers) = headers.unwrap_or_default();
    match kind {
        TransportKind::Stdio => {
            let Pairs(env) = env.unwrap_or_default();
            let (command, args) = (command.unwrap_or_default(), args.unwrap_or_default());
            check_program(&command, &args, &env)?;
            Ok(Transport::Stdio { command, args, env })
        }
        TransportKind::Http => Ok(Transport::Http { url: checked_url(url)?, headers: checked(headers)? }),
        TransportKind::Sse => Ok(Transport::Sse { url: checked_url(url)?, headers: checked(headers)? }),
    }
}

/// What becomes arguments and variables can be some.
fn check_program(command: &str, args: &[String], env: &[(String, String)]) -> Result<(), String> {
    if command.is_empty() {
        return Err("`command` names no program".to_owned());
    }
    if let Some((name, _)) = env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(format!("`env`: a variable cannot be named `{name}`"));
    }
    let words = env.iter().flat_map(|(name, value)| [name, value]);
    let mut all = words.chain(args).map(String::as_str).chain([command]);
    if all.any(|word| word.contains('\0')) {
        return Err("there is a NUL character in it: no program can be told that".to_owned());
    }
    Ok(())
}

fn checked_url(url: Option<String>) -> Result<String, String> {
    let is_one = |url: &String| {
        let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
        rest.is_some_and(|rest| !rest.is_empty())
            && !url.chars().any(|letter| letter.is_control() || letter.is_whitespace())
    };
    url.filter(is_one).ok_or("`url` has to be an address that begins with http:// or https://".to_owned())
}

fn checked(headers: Vec<(String, String)>) -> Result<Vec<(String, String)>, String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let is_value = |value: &str| !value.chars().any(|letter| letter.is_control() && letter != '\t');
    match headers.iter().find(|(name, value)| !is_name(name) || !is_value(value)) {
        Some((name, _)) => Err(format!("`headers`: `{name}` is no header, or its value can be none")),
        None => Ok(headers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_with_and_without_the_key_around_them() {
        let stdio = McpServer {
            name: "a".to_owned(),
            transport: Transport::Stdio {
                command: "x".to_owned(),
                args: vec!["y".to_owned()],
                env: vec![("K".to_owned(), "v".to_owned())],
            },
        };
        let inner = r#"{"a": {"command": "x", "args": ["y"], "env": {"K": "v"}}}"#;
        assert_eq!(read(inner), Ok(vec![stdio.clone()]));
        assert_eq!(read(&format!(r#"{{"mcpServers": {inner}}}"#)), Ok(vec![stdio]));
        assert_eq!(read("{}"), Ok(Vec::new()));
        assert_eq!(read(r#"{"mcpServers": {}}"#), Ok(Vec::new()));
        let (url, headers) = ("https://h/mcp".to_owned(), vec![("A".to_owned(), "b c".to_owned())]);
        let remote = read(
            r#"{"h": {"url": "https://h/mcp", "headers": {"A": "b c"}},
                "s": {"type": "sse", "url": "https://h/mcp", "headers": {"A": "b c"}}}"#,
        );
        let [http, sse] =
            [Transport::Http { url: url.clone(), headers: headers.clone() }, Transport::Sse { url, headers }];
        let named = |name: &str, transport| McpServer { name: name.to_owned(), transport };
        assert_eq!(remote, Ok(vec![named("h", http), named("s", sse)]));
    }

    #[test]
    fn what_is_wrong_is_told_with_server_and_field() {
        for (text, problem) in [
            (
                r#"{"a": {"comand": "x"}}"#,
                "MCP server `a`: unknown field `comand`: did you mean `command`? at line 1 column 15",
            ),
            (
                r#"{"a": {"zzz": "x"}}"#,
                "MCP server `a`: unknown field `zzz`: known are type, command, args, env, url, headers at line 1 column 12",
            ),
            (
                r#"{"a": {"type": "htp", "url": "http://h"}}"#,
                "MCP server `a`: `type`: unknown word `htp`: did you mean `http`? at line 1 column 20",
            ),
            (
                r#"{"a": {"command": "x", "args": "y"}}"#,
                "MCP server `a`: `args`: invalid type: string \"y\", expected a sequence at line 1 column 34",
            ),
            (
                r#"{"a": {"command": "x", "env": {"A": 1}}}"#,
                "MCP server `a`: `env`: invalid type: integer `1`, expected a string at line 1 column 37",
            ),
            (r#"{"a": {}}"#, "MCP server `a`: there is neither `command` nor `url` at line 1 column 9"),
            (
                r#"{"a": {"command": "x", "url": "http://h"}}"#,
                "MCP server `a`: `url` is not for type `stdio` at line 1 column 42",
            ),
            (r#"{"a": {"command": ""}}"#, "MCP server `a`: `command` names no program at line 1 column 22"),
            (
                r#"{"a": {"url": "ftp://h"}}"#,
                "MCP server `a`: `url` has to be an address that begins with http:// or https:// at line 1 column 25",
            ),
            (
                r#"{"a": {"url": "http://h", "headers": {"A": "b\nc"}}}"#,
                "MCP server `a`: `headers`: `A` is no header, or its value can be none at line 1 column 52",
            ),
            (
                r#"{"a b": {"command": "x"}}"#,
                "MCP server `a b`: a name has 1 to 40 letters, digits, `_` or `-` at line 1 column 6",
            ),
            (
                r#"{"a": {"command": "x"}, "a": {"command": "y"}}"#,
                "MCP server `a`: it stands there twice at line 1 column 27",
            ),
            (
                r#"{"mcpServers": {}, "inputs": []}"#,
                "`inputs` stands beside `mcpServers`, which stands alone at line 1 column 27",
            ),
            ("[]", "invalid type: sequence, expected an object of MCP servers at line 1 column 0"),
        ] {
            assert_eq!(read(text), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn secrets_are_left_out() {
        let servers = read(
            r#"{"a": {"command": "x", "env": {"K": "secret"}}, "b": {"url": "http://h", "headers": {"A": "secret"}}}"#,
        );
        for server in servers.unwrap() {
            let shown = format!("{:?}", server.without_secrets("..."));
            assert!(!shown.contains("secret") && shown.contains("..."), "{shown}");
            let less = format!("{:?}", server.without_values("..."));
            assert!(!less.contains("\"x\"") && !less.contains("http://h"), "{less}");
        }
    }
}

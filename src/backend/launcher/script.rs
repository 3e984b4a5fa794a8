//! What a launcher is told to start: a shell that enters the directory and becomes the program. Elsewhere it also takes
//! variables and files from its standard input, where no other user sees them, and has an eye on what is left of the run.

use super::super::{File, Launch, Overlay};
use crate::base::text::quote;
use crate::config::LauncherType;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How a launcher starts a program: plain data, as `Launch` is.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The launcher's words behind its name. `{run}` stands in them for the run's marker.
    pub words: Vec<String>,
    pub kind: LauncherType,
    /// The program: a path there, or a name to be found on the PATH there.
    pub program: String,
    /// The working directory there.
    pub dir: PathBuf,
    /// The names of further variables that it gets elsewhere.
    pub env: Vec<String>,
    /// The files that are written elsewhere, in a directory that is removed after the run.
    pub files: Vec<File>,
    /// The home that is made elsewhere, in the same directory.
    pub overlay: Option<Overlay>,
}

/// The program that was not there, where the script has said so.
pub(super) fn not_there(stderr: &str) -> Option<&str> {
    stderr.lines().find_map(|line| line.strip_prefix("clinvk: ")?.strip_suffix(" is not on PATH there"))
}

/// Whether a shell can set a variable of that name.
pub(super) fn is_name(name: &str) -> bool {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty()
        && name.chars().all(is_of_name)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

impl Launch {
    /// Its arguments: those of what is started, a launcher where there is one. `marker`: that of the run.
    pub(crate) fn words(&self, marker: &str) -> Vec<String> {
        let Some(start) = &self.start else { return self.args.clone() };
        let own = [self.checked().to_string_lossy().into_owned(), marker.to_owned(), start.program.clone()];
        let dir = start.dir.to_string_lossy().into_owned();
        let script = ["sh".to_owned(), "-c".to_owned(), start.script(), "clinvk".to_owned(), dir];
        let command: Vec<String> = script.into_iter().chain(own).chain(self.args.iter().cloned()).collect();
        let mut words: Vec<String> = start.words.iter().map(|word| word.replace("{run}", marker)).collect();
        match start.kind {
            LauncherType::Local | LauncherType::Exec => words.extend(command),
            // It puts its words together, whatever is in them.
            LauncherType::Shell => {
                words.push(command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "));
            }
        }
        words
    }

    /// What must be seen where the program runs: of the files of the run, where there are some, one.
    fn checked(&self) -> &Path {
        let settings = self.overlay.as_ref().map(|overlay| overlay.home.as_path());
        let file = self.files.first().map(|file| file.path.as_path());
        settings.or(file).unwrap_or(Path::new("/"))
    }

    /// What is written to its standard input before all else, given the variables that it is to have; empty where it has them
    /// in another way. A line each: `NAME=value`, or a path and then what is in that file; an empty one is the last.
    pub(crate) fn opening<'a>(&self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let Some(start) = self.start.as_ref().filter(|start| start.kind != LauncherType::Local) else {
            return String::new();
        };
        let mut lines: Vec<String> = Vec::new();
        let variables = variables.into_iter().filter(|(name, _)| is_name(name));
        lines.extend(variables.map(|(name, value)| escaped(&format!("{name}={value}"))));
        for file in &start.files {
            lines.extend([file.path.to_string_lossy().into_owned(), escaped(&file.text)]);
        }
        lines.push(String::new());
        lines.join("\n") + "\n"
    }
}

impl Start {
    /// Without quotes, backslashes and line ends: whatever shell gets it passes it on as it is.
    fn script(&self) -> String {
        const ENTER: &str = "cd -- \"$1\" || exit 97; ";
        const CHECK: &str = "test -r \"$2\" || { echo \"clinvk: $2 cannot be read where the launcher starts the program\" >&2; exit 97; }; ";
        const BECOME: &str = "shift 3; test \"$(command -v \"$1\")\" || \
                              { echo \"clinvk: $1 is not on PATH there\" >&2; exit 127; }; exec \"$@\"";
        // A program without what is set for it is another one.
        const INHERIT: &str = "test \"${CLINVK_RUN##*:}\" = \"$3\" || \
                               { echo \"clinvk: the launcher passes no variables on: set launcher_type to exec\" >&2; exit 97; }; ";
        if self.kind == LauncherType::Local {
            return [ENTER, CHECK, INHERIT, BECOME].concat();
        }
        const READ: &str = "go=; while IFS= read -r l; do case $l in \"\") go=1; break;; \
                            /*) IFS= read -r t; (umask 077; mkdir -p \"${l%/*}\" && printf %b \"$t\" >\"$l\") || exit 97;; \
                            *) l=$(printf %b. \"$l\"); export \"${l%.}\";; esac; done; \
                            test \"$go\" || { echo \"clinvk: no standard input comes through the launcher\" >&2; exit 97; }; ";
        // Whose session it is in was started by the connection: with another parent that is gone. What has the marker is
        // the run's, as here.
        const WATCH: &str = "(exec </dev/null >/dev/null 2>&1; r=$3; read -r l </proc/$$/stat; set -- ${l##*) }; \
                             s=/proc/$4/status; p=$(grep PPid: $s); \
                             while kill -0 $$ && test \"$p\" = \"$(grep PPid: $s)\"; do sleep 1; done; kill -9 $$; \
                             for p in /proc/[0-9]*; do tr -d \"[:cntrl:]\" <$p/environ | grep -qF \"$r\" && kill -9 ${p#/proc/}; done; ";
        let (make, remove) = match self.scratch() {
            // Its name is to be seen before it is there: one that another user has made is not taken.
            Some(dir) => (format!("(umask 077; mkdir {dir}) || exit 97; "), format!("rm -rf {dir}")),
            None => Default::default(),
        };
        let (home, links) =
            self.overlay.as_ref().map(|overlay| (before(overlay), links(overlay))).unwrap_or_default();
        [ENTER, &make, &home, READ, &links, WATCH, &remove, ") & ", BECOME].concat()
    }

    /// The directory of the files there.
    fn scratch(&self) -> Option<String> {
        let file = self.files.first()?;
        // Ours to name: see `Launched::there`.
        let scratch = file.path.ancestors().find(|dir| dir.parent() == Some(Path::new("/tmp")))?;
        Some(scratch.to_string_lossy().into_owned())
    }
}

/// The text for `printf %b`, in one line and in letters that every shell reads.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\\' => escaped += "\\\\",
            b'\n' => escaped += "\\n",
            b' '..=b'~' => escaped.push(byte.into()),
            _ => escaped += &format!("\\0{byte:03o}"),
        }
    }
    escaped
}

/// Makes the directories of a home, before a variable of ours leads to it.
fn before(overlay: &Overlay) -> String {
    let (home, temp) = (overlay.home.display(), overlay.temp.display());
    format!("h={home}; u=${{{}:-$HOME}}; (umask 077; mkdir -p $h {temp}) || exit 97; ", overlay.variable)
}

/// Links what is in the user's home, as `exec::overlay` does it here; what is in it already stays.
fn links(overlay: &Overlay) -> String {
    let own = [overlay.private, overlay.copied, &[overlay.settings.0][..]].concat();
    let dirs: BTreeSet<&Path> = own.iter().flat_map(|name| Path::new(name).ancestors().skip(1)).collect();
    let dirs = dirs.into_iter().chain(overlay.copied.iter().map(Path::new));
    let of_dir = |dir: &Path| {
        let is_copied = overlay.copied.iter().any(|copied| Path::new(copied) == dir);
        let inside = |name: &&&str| Path::new(name).parent() == Some(dir) && !overlay.copied.contains(*name);
        let dir = if dir.as_os_str().is_empty() { String::new() } else { format!("{}/", dir.display()) };
        let left_out: Vec<&str> = overlay.private.iter().filter(inside).copied().collect();
        let skip = match left_out.join("|") {
            names if names.is_empty() => String::new(),
            names => format!("case $n in {names}) continue;; esac; "),
        };
        let verb = if is_copied { "cp" } else { "ln -s" };
        format!(
            "mkdir -p $h/{dir}; for f in \"$u\"/{dir}* \"$u\"/{dir}.??*; do n={dir}${{f##*/}}; {skip}\
             test -e \"$f\" && {{ test -e \"$h/$n\" || {verb} \"$f\" \"$h/$n\"; }}; done; "
        )
    };
    let linked: String = dirs.map(of_dir).collect();
    let written: String = overlay
        .written
        .iter()
        .map(|name| format!("test -e $h/{name} || ln -s \"$u/{name}\" $h/{name}; "))
        .collect();
    linked + &written
}

//! `clinvk map`: a prompt for each item of a list. Nothing of the list is kept.

use super::batch::{self, Ready};
use super::flags::{Name, Typed};
use super::parallel::{Form, ResultPrinter, total};
use super::{asks_json, merge};
use crate::base::sync::lock;
use crate::base::sys::{self, Watch};
use crate::base::text::without_mark;
use crate::base::world::World;
use crate::batch::map::{Item, Pattern, Shard};
use crate::config::Config;
use crate::engine::request::prompt_with_files;
use crate::exec::Cancel;
use crate::model::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Duration;

/// How often a thread that waits for the next item looks around.
const LOOK: Duration = Duration::from_millis(100);
/// How much of the list is read at once.
const READ: usize = 64 << 10;
/// A longer item is no item.
const LONGEST_ITEM: usize = 16 << 20;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    if typed.has(Name::Merge) {
        return merge::run(typed, &world, config);
    }
    let shard = typed.read(Name::Shard, "a number from 1 and how many there are: 2/4", Shard::read)?;
    let ready = Ready::new(typed, world, config)?;
    let json = ready.wants_json()?;
    let pattern = pattern(&ready, typed)?;
    let workers = ready.workers(None)?;
    let fail_fast = typed.has(Name::FailFast) || config.parallel.fail_fast;
    let file = typed.value(Name::File).filter(|name| *name != "-");
    let name = file.unwrap_or(batch::STANDARD_INPUT);
    let opened = match file {
        Some(name) => File::open(ready.engine.world.cwd.join(name)),
        None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
    };
    let list = Mutex::new(List {
        file: opened.map_err(|error| Error::File { verb: "read", path: name.into(), error })?,
        name: name.to_owned(),
        end: if typed.has(Name::Null) { 0 } else { b'\n' },
        held: Vec::new(),
        is_over: false,
        count: 0,
        shard,
        taken: 0,
    });
    let folder = ready.folder(None, "item")?.map(|folder| folder.of_shard(shard));
    let mut printer = ResultPrinter::new(if json { Form::Json } else { Form::Lines }, None);
    let mut print = |out: &mut _, finished| printer.take(out, finished);
    let out = ready.begin()?;
    let (report, mut out) = ready.run(out, None, folder.as_ref(), &mut print, |batch| {
        batch.map(&pattern, &|cancel| lock(&list).next(cancel), workers, fail_fast)
    })?;
    let _ = printer.end(&mut out, &report);
    match report.totals.all() {
        0 if report.broken.is_none() && !report.cancelled => match shard {
            Some(shard) => log::warn!("no item of the list falls to shard {shard}: nothing was run"),
            None => log::warn!("the list is empty: nothing was run"),
        },
        _ if !typed.has(Name::Quiet) && !json && !asks_json(typed) => {
            crate::base::logging::line(&total(&report, "items"))
        }
        _ => {}
    }
    batch::status(report, &mut out)
}

/// The prompt for an item: what is typed, or the prompt file with that, or the item alone, as its input.
fn pattern(ready: &Ready<'_>, typed: &Typed) -> Result<Pattern, Error> {
    let place = typed.value(Name::Replace).unwrap_or("{}");
    let asked = match &typed.operands[..] {
        [] => None,
        [prompt] => Some(Pattern::read(prompt, place)?),
        words => {
            let sentence = format!("the prompt has {} words: put it in quotes", words.len());
            return Err(Error::Invalid(sentence));
        }
    };
    if asked.is_none() && typed.has(Name::Replace) {
        let sentence = "`-I` says what stands for the item in a prompt that is typed, and there is none";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    let pattern = match (asked, &ready.file) {
        (asked, Some(file)) => {
            let files = match &ready.files[..] {
                [] => String::new(),
                files => prompt_with_files(None, files, &ready.defaults())?,
            };
            Pattern::within(asked, file, &files)
        }
        (Some(asked), None) => asked,
        (None, None) => {
            return Err(Error::Invalid("there is no prompt: `clinvk map 'Summarise {}'`".to_owned()));
        }
    };
    pattern.checked(place)
}

/// A list that is read item by item.
struct List {
    file: File,
    name: String,
    /// What ends an item.
    end: u8,
    held: Vec<u8>,
    is_over: bool,
    count: usize,
    shard: Option<Shard>,
    /// How many of them fell to the shard.
    taken: usize,
}

impl List {
    fn next(&mut self, cancel: &Cancel) -> Result<Option<Item>, Error> {
        // What was looked through already is not looked through again.
        let mut seen = 0;
        loop {
            let end = self.held[seen..].iter().position(|byte| *byte == self.end).map(|at| seen + at);
            let mut item: Vec<u8> = match end {
                Some(end) => self.held.drain(..=end).take(end).collect(),
                None if self.is_over && self.held.is_empty() => return Ok(None),
                None if self.is_over => std::mem::take(&mut self.held),
                None => {
                    seen = self.held.len();
                    if seen > LONGEST_ITEM {
                        let most = LONGEST_ITEM >> 20;
                        let sentence = format!("{}: an item is longer than {most} MiB", self.name);
                        return Err(Error::Invalid(sentence));
                    }
                    if !self.read(cancel)? {
                        return Ok(None);
                    }
                    continue;
                }
            };
            if self.end == b'\n' && item.ends_with(b"\r") {
                item.pop();
            }
            seen = 0;
            if self.count == 0 {
                item = without_mark(&item).to_vec();
            }
            if item.is_empty() {
                continue;
            }
            self.count += 1;
            if self.shard.is_some_and(|shard| !shard.has(&item)) {
                continue;
            }
            self.taken += 1;
            let text = String::from_utf8(item).map_err(|error| {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                format!("item {} is not valid UTF-8: `{text}`", self.count)
            });
            return Ok(Some(Item { index: self.count - 1, left_out: self.count - self.taken, text }));
        }
    }

    /// Reads some more; says no when the switch is thrown.
    fn read(&mut self, cancel: &Cancel) -> Result<bool, Error> {
        let fail = |error| Error::File { verb: "read", path: self.name.clone().into(), error };
        loop {
            if cancel.is_thrown() {
                return Ok(false);
            }
            let mut watches = [Watch::readable(self.file.as_fd()), cancel.watch()];
            sys::poll(&mut watches, LOOK).map_err(fail)?;
            if watches[0].woke() {
                break;
            }
        }
        let before = self.held.len();
        self.held.resize(before + READ, 0);
        let read = self.file.read(&mut self.held[before..]);
        self.held.truncate(before + read.as_ref().map_or(0, |read| *read));
        match read {
            // Another program has set it to O_NONBLOCK, and was faster.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => self.is_over = read.map_err(fail)? == 0,
        }
        Ok(true)
    }
}

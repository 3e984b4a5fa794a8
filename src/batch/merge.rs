//! The results of a list that several clinvk have worked on, each in a folder of its own, as one. Only numbered files are
//! results: a `map` has no others.

use super::folder::{SUMMARY, numbered};
use super::map::Shard;
use super::{Finished, Folder, Label, Report, State, Totals};
use crate::base::disk;
use crate::model::error::Error;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Folders with results.
pub(crate) struct Merge {
    folders: Vec<PathBuf>,
    /// The number of each result, and the folder that has it; the same one may be in several.
    places: Vec<(usize, usize)>,
    /// Why this is not all.
    missing: Option<String>,
}

impl Merge {
    /// Looks what there is.
    ///
    /// # Errors
    /// When a folder cannot be read, or the folders are of two ways to split a list.
    pub(crate) fn of(folders: Vec<PathBuf>) -> Result<Merge, Error> {
        let (mut places, mut lost) = (Vec::new(), Vec::new());
        let (mut shards, mut missing, mut gone) = (Vec::<Shard>::new(), Vec::new(), 0);
        for (folder, path) in folders.iter().enumerate() {
            let summary = read(&path.join(SUMMARY))?;
            if summary["status"] != "finished" {
                missing.push(format!(
                    "`{}` is not finished: end it with `--resume` and the same list",
                    path.display()
                ));
            }
            shards.extend(summary["shard"].as_str().and_then(Shard::read));
            let all = numbers(path, &summary)?;
            places.extend(all.kept.into_iter().map(|number| (number, folder)));
            lost.extend(all.lost.into_iter().map(|number| (number, folder)));
        }
        if let Some(of) = shards.first().map(|shard| shard.of) {
            if let Some(other) = shards.iter().find(|shard| shard.of != of) {
                let sentence = format!("these are of two ways to split a list: shards of {of}, and {other}");
                return Err(Error::Invalid(sentence));
            }
            let is_gone = |shard: &Shard| !shards.contains(shard);
            // There may be many: one is named.
            gone = of - (shards.iter().map(|shard| shard.number).collect::<BTreeSet<_>>().len() as u64);
            let first = (1..=of).map(|number| Shard { number, of }).find(is_gone);
            missing.extend(first.map(|shard| format!("shard {shard} is in none of the folders")));
        }
        places.sort_unstable();
        // Another folder may have it.
        lost.retain(|(number, _)| places.binary_search_by_key(number, |place| place.0).is_err());
        missing.extend(lost.iter().map(|(number, folder)| {
            format!("item {number} has failed in `{}`, and left no result", folders[*folder].display())
        }));
        let more = (missing.len() as u64).saturating_add(gone.saturating_sub(1)).saturating_sub(1);
        let and = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let missing = missing.first().map(|first| format!("this is not all: {first}{and}"));
        Ok(Merge { folders, places, missing })
    }

    /// Hands on each result once, in the order of the list, and keeps it in a folder where there is one, until the caller has
    /// left. Of several with one number, one that succeeded.
    ///
    /// # Errors
    /// When a file cannot be read, or two with one number answer different prompts.
    pub(crate) fn each(
        &self,
        into: Option<&Folder>,
        take: &mut dyn FnMut(Finished) -> io::Result<()>,
    ) -> Result<Report, Error> {
        let (since, mut totals) = (Instant::now(), Totals::default());
        let mut broken = self.missing.clone().map(Error::Invalid);
        into.map_or(Ok(()), |folder| folder.begin(None))?;
        for (position, same) in self.places.chunk_by(|one, other| one.0 == other.0).enumerate() {
            let mut best: Option<(Finished, PathBuf)> = None;
            for (number, folder) in same {
                let path = self.folders[*folder].join(numbered(number - 1));
                let finished = result(&path, number - 1, position)?;
                if let Some((_, other)) = best.as_ref().filter(|(best, _)| best.digest != finished.digest) {
                    let (one, other) = (other.display(), path.display());
                    let sentence =
                        format!("`{one}` and `{other}` answer two prompts: they are not of one list");
                    return Err(Error::Invalid(sentence));
                }
                if best.as_ref().is_none_or(|(best, _)| best.state != State::Completed) {
                    best = Some((finished, path));
                }
            }
            let Some((finished, _)) = best else { continue };
            totals.count(&finished);
            into.map_or(Ok(()), |folder| folder.keep(&finished))?;
            if take(finished).is_err() {
                broken = Some(Error::ReaderGone);
                break;
            }
        }
        into.map_or(Ok(()), |folder| folder.close(broken.is_some()))?;
        Ok(Report { totals, duration: since.elapsed(), cancelled: false, broken })
    }
}

/// The numbers of a folder's items.
#[derive(Default)]
struct Numbers {
    /// Those that have results there.
    kept: Vec<usize>,
    /// Those that have none: they could not even be asked.
    lost: Vec<usize>,
}

/// What is in a folder: what its summary says once that is whole, since what else is there is of another list, which was worked
/// on there before; else all files.
fn numbers(folder: &Path, summary: &Value) -> Result<Numbers, Error> {
    let mut numbers = Numbers::default();
    if summary["status"] != "finished" {
        let fail = |error| Error::File { verb: "read", path: folder.to_owned(), error };
        for entry in fs::read_dir(folder).map_err(fail)? {
            numbers.kept.extend(entry.map_err(fail)?.file_name().to_str().and_then(number));
        }
        return Ok(numbers);
    }
    for row in summary["results"].as_array().ok_or_else(|| no_result(&folder.join(SUMMARY)))? {
        match (row["file"].as_str(), row["index"].as_u64()) {
            (Some(name), _) => numbers.kept.push(number(name).ok_or_else(|| no_result(&folder.join(name)))?),
            (None, Some(index)) => numbers.lost.push((index as usize).saturating_add(1)),
            (None, None) => return Err(no_result(&folder.join(SUMMARY))),
        }
    }
    Ok(numbers)
}

/// The number of a result from the name of its file.
fn number(name: &str) -> Option<usize> {
    let number: usize = name.strip_suffix(".json")?.parse().ok()?;
    (numbered(number.checked_sub(1)?) == name).then_some(number)
}

fn no_result(path: &Path) -> Error {
    Error::Invalid(format!("`{}` is no result of `map`", path.display()))
}

/// The result with that index from its file, which is the next after so many.
fn result(path: &Path, index: usize, position: usize) -> Result<Finished, Error> {
    let value = read(path)?;
    let finished = Label::read(&value).and_then(|label| Finished::read(label, &value));
    let mut finished =
        finished.filter(|finished| finished.label.index == index).ok_or_else(|| no_result(path))?;
    finished.label.left_out = index - position;
    finished.digest = value["digest"].as_str().map(str::to_owned);
    Ok(finished)
}

fn read(path: &Path) -> Result<Value, Error> {
    let fail = |error| Error::File { verb: "read", path: path.to_owned(), error };
    let text = disk::read(path, u64::MAX).map_err(fail)?;
    serde_json::from_slice(&text).map_err(|error| fail(error.into()))
}

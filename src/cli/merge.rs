//! `clinvk map --merge`: the results of shards, as one.

use super::flags::{Name, Typed};
use super::parallel::{Form, ResultPrinter, total};
use super::print::Out;
use super::{asks_json, batch, cleaner, prompt};
use crate::base::logging;
use crate::base::world::World;
use crate::batch::Folder;
use crate::batch::merge::Merge;
use crate::config::Config;
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What has a meaning where nothing is run.
const WITH: &[Name] = &[
    Name::Merge,
    Name::OutputDir,
    Name::OutputFormat,
    Name::Json,
    Name::Jsonl,
    Name::Quiet,
    Name::Verbose,
    Name::Config,
];

pub(crate) fn run(typed: &Typed, world: &World, config: &Config) -> Result<u8, Error> {
    if let Some(other) = typed.names().find(|name| !WITH.contains(name)) {
        let sentence = format!("`--merge` runs nothing: `--{other}` has no meaning beside it");
        return Err(Error::Invalid(sentence));
    }
    if typed.operands.is_empty() {
        let sentence = "`--merge` needs folders with results: `clinvk map --merge out/*`";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    let form =
        if batch::wants_json(typed, prompt::output_format(typed)?)? { Form::Json } else { Form::Lines };
    let folders: Vec<PathBuf> = typed.operands.iter().map(PathBuf::from).collect();
    let folder = typed.value(Name::OutputDir);
    if let Some(same) = folder.filter(|folder| folders.iter().any(|other| is_same(Path::new(folder), other)))
    {
        let sentence =
            format!("`--output-dir {same}` is one of the folders that are merged: name another one");
        return Err(Error::Invalid(sentence));
    }
    let merge = Merge::of(folders)?;
    let folder = folder.map(|folder| Folder::open(&world.cwd.join(folder), "item")).transpose()?;
    let mut out = Out::new(Control::with(Arc::new(Cancel::new()?)), cleaner(&world.env, config));
    let mut printer = ResultPrinter::new(form, None);
    let report = merge.each(folder.as_ref(), &mut |finished| printer.take(&mut out, finished))?;
    let _ = printer.end(&mut out, &report);
    if !typed.has(Name::Quiet) && !asks_json(typed) {
        logging::line(&total(&report, "items"));
    }
    batch::status(report, &mut out)
}

fn is_same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

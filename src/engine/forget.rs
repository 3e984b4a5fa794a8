//! Sessions that are removed, ours and what a vendor keeps behind them.

use super::Engine;
use crate::backend::{Trust, VendorSessions};
use crate::exec;
use crate::model::error::Error;
use crate::session::Session;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a vendor's program may take to remove a session.
const FORGETTING_TAKES: Duration = Duration::from_secs(10);

impl Engine {
    /// Removes a session of ours, and the vendor's behind it where that is known to be possible: in the vendor's own way
    /// where there is one, else its file.
    ///
    /// # Errors
    /// When ours cannot be removed. What a vendor keeps besides is not looked for.
    pub(crate) fn forget(&self, session: &Session) -> Result<(), Error> {
        self.pool.iter().for_each(|pool| pool.forget(&session.id));
        let keeps = self.registry.get(&session.backend).ok().and_then(|backend| backend.vendor_sessions());
        if let (Some(keeps), Some(id)) = (keeps, &session.backend_session_id) {
            // Anything else could be the end of another name.
            let is_whole =
                id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if is_whole && !self.delete_by_program(&session.backend, keeps, id) {
                let home = self.world.env.get(keeps.variable).map(PathBuf::from);
                let home = home.unwrap_or_else(|| self.world.user_home.join(keeps.home));
                remove_files(&home.join(keeps.folder), &format!("{id}.jsonl"), 4);
            }
        }
        self.store.remove(&session.id)
    }

    /// Whether the vendor's program has removed a session of its own.
    fn delete_by_program(&self, backend: &str, keeps: VendorSessions, id: &str) -> bool {
        let program = self.registry.get(backend).ok().and_then(|backend| self.locate(&*backend, Trust::All));
        let Some(program) = program.filter(|_| !keeps.delete.is_empty()) else { return false };
        let program = program.to_string_lossy();
        let argv: Vec<&str> =
            [&*program].into_iter().chain(keeps.delete.iter().copied()).chain([id]).collect();
        match exec::output(&argv, &self.world, FORGETTING_TAKES) {
            Ok(printed) if printed.ended.code == Some(0) => true,
            Ok(printed) => {
                log::debug!("{backend} did not delete {id}: {}", printed.ended.stderr);
                false
            }
            Err(error) => {
                log::warn!("{backend} did not delete {id}: {error}");
                false
            }
        }
    }
}

/// Removes the files below a folder, so many levels deep, whose names end so.
fn remove_files(dir: &Path, end: &str, levels: usize) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && levels > 1 {
            remove_files(&entry.path(), end, levels - 1);
        } else if !is_dir && entry.file_name().to_string_lossy().ends_with(end) {
            if let Err(error) = fs::remove_file(entry.path()) {
                log::warn!("cannot remove `{}`: {error}", entry.path().display());
            }
        }
    }
}

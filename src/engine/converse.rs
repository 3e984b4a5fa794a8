//! The conversation of a run with its backend's program: one that is kept where it has a place, else one of its own.

use super::Engine;
use super::fallback::HeldBack;
use super::pool::{Lease, Wanted};
use super::run::Fold;
use crate::backend::{self, Backend, Launch};
use crate::exec::{self, Control, Standing, Stop};
use crate::model::error::{Error, Kind};
use crate::model::event::{Event, Listener, Permission};
use crate::model::task::Task;
use crate::session::Run;
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Engine {
    /// Holds the conversation of a run: in a kept program where it has a place, else in one of its own. `asked`: how many runs
    /// it is inside of, and its prompt alone.
    pub(super) fn converse(
        &self,
        backend: &Arc<dyn Backend>,
        (task, launch): (Task, Launch),
        program: &Path,
        (depth, asked): (u32, Arc<str>),
        control: &Control,
        fold: &mut Fold<'_>,
    ) -> Result<Stop, Error> {
        let mut launch = completed(launch, &task, depth);
        // A caller that wants the program's own lines wants those of a program that was started for it.
        for pool in self.pool.iter().filter(|_| !control.lines) {
            let wanted = Wanted { world: &self.world, backend, task: &task, launch: &launch, program, depth };
            let Some(lease) = pool.lease(&wanted, fold.run.as_ref().map(Run::session))? else { continue };
            if let Some(stop) = self.converse_in(lease, &wanted, &asked, control, fold)? {
                return Ok(stop);
            }
            log::warn!("a kept program of {} failed before it answered: trying once more", backend.name());
            pool.count_retry(backend.name());
        }
        launch.env.extend(task.trace.clone());
        let mut dialogue = backend.dialogue(&task);
        // The prompt may be long, and the dialogue has it.
        drop((task, asked));
        let marker = exec::marker(&self.world)?;
        exec::run(program, &launch, &marker, &self.world, &mut *dialogue, control, fold)
            .map(|report| report.stop)
    }

    /// Holds the conversation of a run in a kept program. None: the program itself failed, and the listener has heard nothing.
    fn converse_in(
        &self,
        lease: Lease<'_>,
        wanted: &Wanted<'_>,
        asked: &Arc<str>,
        control: &Control,
        fold: &mut Fold<'_>,
    ) -> Result<Option<Stop>, Error> {
        let conversation = lease.conversation.as_deref();
        let mut dialogue = match conversation {
            None => wanted.backend.dialogue(wanted.task),
            Some(id) => {
                let (resume, prompt) = (Some(id.to_owned()), asked.clone());
                wanted.backend.dialogue(&Task { resume, prompt, ..wanted.task.clone() })
            }
        };
        let session = fold.run.as_ref().map(Run::session);
        let saved = session.map(|session| (session.id.clone(), session.turn_count + 1));
        // A program that was there before may have been broken by what was there before.
        let is_warm = lease.is_warm;
        let program = lease.kept.clone();
        // One that is as good as before has had its turn, and said so.
        let has_failed = move || matches!(program.standing(), Standing::Spoilt(_) | Standing::Ended);
        let tries_again =
            move |kind| is_warm && matches!(kind, Kind::Crash | Kind::Unreadable) && has_failed();
        let mut held = HeldBack::new(fold, &[], &tries_again);
        if !is_warm {
            held.release().map_err(|_| Error::ReaderGone)?;
        }
        let mut all_but_end = AllButEnd { listener: &mut held, end: None };
        let (kept, dialogue) = (&lease.kept, &mut *dialogue);
        let (report, left) =
            kept.run(conversation, wanted.launch, wanted.world, dialogue, control, &mut all_but_end)?;
        let end = all_but_end.end;
        // Before the listener hears of the end: its next run finds the program free, and the conversation in it.
        lease.leave(left, saved);
        match end {
            Some(end) => held.event(&end).map_err(|_| Error::ReaderGone)?,
            None => held.release().map_err(|_| Error::ReaderGone)?,
        }
        Ok(held.is_released().then_some(report.stop))
    }
}

/// A launch with all that the program of a run gets.
pub(super) fn completed(mut launch: Launch, task: &Task, depth: u32) -> Launch {
    let never = exec::NEVER_INHERITED.iter().chain(backend::marks_of_outer_sessions());
    launch.reach.clone_from(&task.add_dirs);
    launch.env.extend(task.env.iter().cloned());
    launch.env.push((backend::DEPTH.to_owned(), depth.to_string()));
    launch.unset.extend(task.unset.iter().cloned());
    launch.unset.extend(never.map(|name| (*name).to_owned()));
    launch
}

/// Keeps the end of a run for later.
struct AllButEnd<'a> {
    listener: &'a mut dyn Listener,
    end: Option<Event>,
}

impl Listener for AllButEnd<'_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if matches!(event, Event::Done(_)) {
            self.end = Some(event.clone());
            return Ok(());
        }
        self.listener.event(event)
    }

    fn permission(&mut self, asked: &Permission) -> io::Result<bool> {
        self.listener.permission(asked)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.listener.idle()
    }
}

//! A kept program of a backend: what goes where when runs and the program speak.

use clinvk::backend::{Backend, Keeping, Mux, Route, Routes, Seat, Step, Steps};
use clinvk::model::task::Task;
use serde_json::Value;

/// What stands between the runs and the program of a task.
pub struct Kept(Box<dyn Mux>);

impl Kept {
    /// A program that was started for that task.
    pub fn of(backend: &dyn Backend, task: &Task) -> Kept {
        let Keeping { mux, .. } = backend.keeps(task).expect("its program can be kept");
        Kept(mux)
    }

    pub fn start(&mut self) -> Vec<String> {
        self.routes(|mux, routes| mux.start(routes))
    }

    pub fn enter(&mut self, seat: Seat, conversation: Option<&str>) -> Vec<String> {
        self.routes(|mux, routes| mux.enter(seat, conversation, routes))
    }

    pub fn run_says(&mut self, seat: Seat, line: &str) -> Vec<String> {
        self.routes(|mux, routes| mux.run_says(seat, line.to_owned(), routes))
    }

    pub fn program_says(&mut self, line: &str) -> Vec<String> {
        self.routes(|mux, routes| mux.program_says(line, routes))
    }

    /// What comes of several lines of the program's.
    pub fn hears(&mut self, lines: &[Value]) -> Vec<String> {
        lines.iter().flat_map(|line| self.program_says(&line.to_string())).collect()
    }

    /// ... and of leaving, with the conversation that can go on.
    pub fn leave(&mut self, seat: Seat) -> (Vec<String>, Option<String>) {
        let mut conversation = None;
        let routes = self.routes(|mux, routes| conversation = mux.leave(seat, routes));
        (routes, conversation)
    }

    pub fn is_leaving(&self, seat: Seat) -> bool {
        self.0.is_leaving(seat)
    }

    pub fn holds(&self, conversation: &str) -> bool {
        self.0.holds(conversation)
    }

    /// Routes as texts: `> line` to the program, `1 < line` to the run in that seat.
    fn routes(&mut self, say: impl FnOnce(&mut dyn Mux, &mut Routes)) -> Vec<String> {
        let mut routes = Routes::new();
        say(&mut *self.0, &mut routes);
        let told = |route: Route| match route {
            Route::ToProgram(line) => format!("> {line}"),
            Route::ToRun(seat, line) => format!("{seat} < {line}"),
            Route::MayBeSilent(seat) => format!("{seat} may hear nothing"),
            Route::Spoilt(_) => "spoilt".to_owned(),
        };
        routes.into_iter().map(told).collect()
    }
}

/// What a run of that task says first.
pub fn opening(backend: &dyn Backend, task: &Task) -> Vec<String> {
    let mut steps = Steps::new();
    backend.dialogue(task).start(&mut steps);
    let said = |step| if let Step::Send(line) = step { Some(line) } else { None };
    steps.into_iter().filter_map(said).collect()
}

/// Two tasks can have the same program.
pub fn is_same_shape(backend: &dyn Backend, one: &Task, other: &Task) -> bool {
    let shape = |task| backend.keeps(task).map(|keeping| keeping.shape);
    shape(one).is_some() && shape(one) == shape(other)
}

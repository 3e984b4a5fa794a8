//! How runs share a program that outlives them: at once or one after the other, each as if it had started it alone. Pure, as
//! the dialogues are, which know nothing of it.
use crate::model::task::Task;

/// How the program of a task is kept for further runs.
pub struct Keeping {
    /// Programs of one backend with equal ones are interchangeable: it has everything that a task gives its program and that
    /// the program has still when the next task comes, and nothing that is a single turn's.
    pub shape: String,
    /// It can hold several conversations at once.
    pub is_shared: bool,
    /// What stands between the runs and the program.
    pub mux: Box<dyn Mux>,
}

impl Keeping {
    /// A task without what is one turn's alone.
    pub(super) fn of_all_turns(task: &Task) -> Task {
        let (prompt, images, resume, scratch) = Default::default();
        Task { prompt, images, resume, scratch, ..task.clone() }
    }
}

/// The number of a run in its program: 1, 2, 3 ...
pub type Seat = u64;

/// What stands between runs and their common program, as a state machine without I/O: lines in, routes out. Lines have no ends.
pub trait Mux: Send {
    /// The program was started, and no run is there yet: what it can be asked for already is asked now.
    fn start(&mut self, routes: &mut Routes);

    /// A run begins: in the conversation of that vendor's id, which the program `holds`, or in one of its own. Whatever a
    /// run does, the program says something soon, else it is taken for dead: where nothing else would make it, this
    /// asks it a question for that.
    fn enter(&mut self, seat: Seat, conversation: Option<&str>, routes: &mut Routes);

    /// A run says a line to the program.
    fn run_says(&mut self, seat: Seat, line: String, routes: &mut Routes);

    /// The program says a line.
    fn program_says(&mut self, line: &str, routes: &mut Routes);

    /// A run is over, or does not listen any more: what is still said to it is dropped. Returns the vendor's id of its
    /// conversation, where a further run can go on with it in this program and need not have it loaded.
    fn leave(&mut self, seat: Seat, routes: &mut Routes) -> Option<String>;

    /// Whether the program is still asked to do something for a run that has left: until then its conversation is not free.
    fn is_leaving(&self, _seat: Seat) -> bool {
        false
    }

    /// Whether a run can still go on with a conversation that `leave` has named.
    fn holds(&self, conversation: &str) -> bool;

    /// Whether a run that enters a conversation of its own can have that session loaded: not where the program has it still,
    /// as it was before another program went on with it.
    fn can_load(&self, _session: &str) -> bool {
        true
    }
}

/// Where lines go, in order.
pub type Routes = Vec<Route>;

/// Where a line goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    ToProgram(String),
    ToRun(Seat, String),
    /// Nothing need come soon for this run: the program could not be asked for a sign of life.
    MayBeSilent(Seat),
    /// The program shall take no further run, for this reason. Those in it go on.
    Spoilt(String),
}

impl Route {
    pub(super) fn spoilt(why: impl Into<String>) -> Route {
        Route::Spoilt(why.into())
    }
}

//! What is known of a vendor's program beside how it is talked to.

/// How a user gets it, which versions of it were tried, and what a login leaves behind.
#[derive(Debug)]
pub struct Vendor {
    /// The command that installs it.
    pub install: &'static str,
    /// How its user logs in.
    pub login: &'static str,
    /// The oldest version that works.
    pub oldest: &'static str,
    /// The oldest and the newest version that all checks were run with.
    pub first: &'static str,
    pub newest: &'static str,
    /// By what it can be seen, without the network, that its user is logged in. The programs' own words are none: claude's
    /// connects to its vendor for that.
    pub traces: Traces,
}

/// What a login leaves behind: any of these.
#[derive(Debug)]
pub struct Traces {
    /// Variables that are set.
    pub variables: &'static [&'static str],
    /// The variable that names the program's home.
    pub variable: &'static str,
    /// The home in the user's, where that is not set.
    pub home: &'static str,
    /// Files in it, and a text that is in them; any will do where that is empty.
    pub files: &'static [(&'static str, &'static str)],
}

//! A tag that all descendants of a process have from it, whatever they do with their environment, session and parents.
#![allow(unsafe_code)]

/// Where the tag stands: in a limit that is handed down, that is hardly ever needed or set, the processor time of
/// real-time scheduling. With this bit in it, it is longer than any machine lives, so that it limits nothing.
const TAG: libc::rlim_t = 1 << (libc::rlim_t::BITS - 2);

pub(super) fn limit_of(tag: u64) -> libc::rlim_t {
    TAG | (tag as libc::rlim_t & (TAG - 1))
}

/// Whether a process has this tag, as far as we may look.
pub fn has_tag(pid: i32, tag: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit nothing is changed; the old one is written into the struct.
    let got = unsafe { libc::prlimit(pid, libc::RLIMIT_RTTIME, std::ptr::null(), &mut limit) };
    got == 0 && limit.rlim_cur == limit_of(tag)
}

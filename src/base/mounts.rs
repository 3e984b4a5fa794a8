//! How the file system of a path was mounted, as Linux says it. Elsewhere nothing is known of that.

use super::sys;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The options of the file system that a path is on; none where they are not known.
pub(crate) fn options(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.dev() as _;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    options_of(&mounts, &format!("{}:{}", sys::major(device), sys::minor(device))).map(str::to_owned)
}

/// The options in proc_pid_mountinfo(5) of the file system with that number.
fn options_of<'a>(mounts: &'a str, device: &str) -> Option<&'a str> {
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    // Behind the hyphen: its type, what is mounted, the options of the file system itself.
    mount.split_once(" - ")?.1.split(' ').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_file_system_are_found_by_its_number() {
        let mounts = "24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
                      138 24 0:48 / /mnt/a\\040b rw,relatime - nfs 10.1.0.1:/home rw,vers=3,local_lock=flock\n";
        let found = ["254:0", "0:48", "0:4"].map(|device| options_of(mounts, device));
        assert_eq!(found, [Some("rw,discard"), Some("rw,vers=3,local_lock=flock"), None]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_path_of_this_machine_is_on_a_file_system_with_options() {
        let options = options(Path::new("/proc/self/status"));
        assert!(options.as_ref().is_some_and(|options| options.starts_with('r')), "{options:?}");
    }
}

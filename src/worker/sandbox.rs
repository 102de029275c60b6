//! What a worker may still do: compute, and talk to the daemon on the socket it has.
//!
//! Two steps, both best effort, because a device's kernel may lack either; what was reached is a text that the daemon
//! logs and shows in `status`. [`forbid_writes`] comes first thing and holds for every later thread. [`confine`] comes
//! when the model is mapped and the backends are loaded: from then on a hostile model file that takes over the
//! process finds no file to open for writing, no socket, no program to start and no other user's rights.
//!
//! The filter lists what is forbidden, not what is allowed: GPU drivers and the C library change which calls they
//! need, and a filter that kills a working device in the field is worse than one that leaves `getpid` open.

use std::collections::BTreeMap;

use landlock::{
    Access, AccessFs, AccessNet, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    ABI,
};
use nix::unistd::{Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The newest Landlock whose rights we name. Older kernels enforce what they know.
const LANDLOCK: ABI = ABI::V5;

/// `nobody` and `nogroup`, by their numbers on every Linux distribution.
const NOBODY: u32 = 65534;

/// Forbids this thread, and those it will start, to change any file and to use TCP. Returns what was reached.
pub fn forbid_writes() -> String {
    let result = (|| {
        Ruleset::default()
            .handle_access(AccessFs::from_write(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .create()?
            // GPU drivers and the C library open this one for writing.
            .add_rules(landlock::path_beneath_rules(["/dev/null"], AccessFs::WriteFile | AccessFs::Truncate))?
            .set_compatibility(landlock::CompatLevel::BestEffort)
            .restrict_self()
    })();
    match result {
        Ok(status) if status.ruleset != RulesetStatus::NotEnforced => match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => format!("landlock {effective_abi:?}"),
            _ => "landlock".to_owned(),
        },
        Ok(_) => "no landlock (not in this kernel)".to_owned(),
        Err(e) => format!("no landlock ({e})"),
    }
}

/// Takes away what a worker with a mapped model no longer needs, from all its threads. Returns what was reached.
///
/// `parent` is the daemon's process id: changing the user resets the death signal, which is set again.
pub fn confine(parent: i32) -> String {
    let mut reached = Vec::new();
    if Uid::effective().is_root() {
        reached.push(match drop_root(parent) {
            Ok(()) => "uid nobody".to_owned(),
            Err(e) => format!("still root ({e})"),
        });
    }
    reached.push(match install_filters() {
        Ok(()) => "seccomp".to_owned(),
        Err(e) => format!("no seccomp ({e})"),
    });
    reached.join(", ")
}

fn install_filters() -> Result<(), Box<dyn std::error::Error>> {
    for program in filters()? {
        seccompiler::apply_filter_all_threads(&program)?;
    }
    Ok(())
}

fn drop_root(parent: i32) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw() != parent {
        super::sys::exit_now(0);
    }
    Ok(())
}

/// Calls that fail with `EPERM` whatever their arguments.
const FORBIDDEN: &[libc::c_long] = &[
    // Network. The socket to the daemon exists already; reading and writing it stays possible.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Programs and other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // Files by any way that changes them.
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_fsetxattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // The kernel's surface.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_personality,
];

/// The older names of these calls, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_OLD: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_uselib,
    libc::SYS_modify_ldt,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_OLD: &[libc::c_long] = &[];

/// Two programs, because a program has one answer for what it refuses; the kernel runs both on every call.
fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let mut forbidden: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        FORBIDDEN.iter().chain(FORBIDDEN_OLD).map(|nr| (*nr, Vec::new())).collect();

    // Opening for anything but reading. `openat2` hides its flags behind a pointer; see below.
    let open_for_writing = |flags_arg: u8| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC]
            .iter()
            .map(|bit| {
                let bit = *bit as u64;
                SeccompRule::new(vec![SeccompCondition::new(
                    flags_arg,
                    SeccompCmpArgLen::Dword,
                    SeccompCmpOp::MaskedEq(bit),
                    bit,
                )?])
            })
            .collect()
    };
    forbidden.insert(libc::SYS_openat, open_for_writing(2)?);
    #[cfg(target_arch = "x86_64")]
    forbidden.insert(libc::SYS_open, open_for_writing(1)?);

    // A new process is one that does not share our memory as a thread does.
    let not_a_thread =
        SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?;
    forbidden.insert(libc::SYS_clone, vec![SeccompRule::new(vec![not_a_thread])?]);

    // The filter cannot look behind these calls' pointers. "Not implemented" makes the C library use the older call.
    let hidden = [libc::SYS_clone3, libc::SYS_openat2].into_iter().map(|nr| (nr, Vec::new())).collect();

    let arch = std::env::consts::ARCH.try_into()?;
    let program = |rules, errno: i32| -> Result<BpfProgram, seccompiler::BackendError> {
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()), arch)?.try_into()
    };
    Ok([program(forbidden, libc::EPERM)?, program(hidden, libc::ENOSYS)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    const VAR: &str = "WATTLM_TEST_CONFINE";

    /// Confinement cannot be undone, so it happens in a copy of the test program, which runs this one test.
    #[test]
    fn a_confined_process_reaches_nothing() {
        let name = "worker::sandbox::tests::a_confined_process_reaches_nothing";
        let Some(dir) = std::env::var_os(VAR) else {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("file"), "kept").unwrap();
            let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
            let out = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(VAR, dir.path())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{text}");
            assert!(text.contains("reached:"), "{text}");
            assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "kept");
            assert!(!dir.path().join("new").exists());
            return;
        };
        let dir = std::path::PathBuf::from(dir);
        let other_thread = std::sync::mpsc::channel::<()>();
        let socket = dir.join("socket");
        // A thread from before the confinement must be confined with the rest.
        let old_thread = std::thread::spawn(move || {
            other_thread.1.recv().ok();
            UnixStream::connect(socket).map(drop).map_err(|e| e.kind())
        });
        let reached = format!("{}, {}", forbid_writes(), confine(nix::unistd::getppid().as_raw()));
        println!("reached: {reached}");
        drop(other_thread.0);
        if !reached.contains(", seccomp") {
            println!("this kernel has no seccomp: nothing to test");
            return;
        }
        assert!(old_thread.join().unwrap().is_err());
        let denied = |what: &str, r: std::io::Result<()>| {
            let e = r.expect_err(what);
            assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied, "{what}: {e}");
        };
        denied("create", fs::write(dir.join("new"), "x"));
        denied("overwrite", fs::write(dir.join("file"), "x"));
        denied("append", fs::OpenOptions::new().append(true).open(dir.join("file")).map(drop));
        denied("remove", fs::remove_file(dir.join("file")));
        denied("rename", fs::rename(dir.join("file"), dir.join("new")));
        denied("mkdir", fs::create_dir(dir.join("new")));
        denied("connect to a Unix socket", UnixStream::connect(dir.join("socket")).map(drop));
        denied("connect to TCP", TcpStream::connect("127.0.0.1:9").map(drop));
        denied("run a program", Command::new("/bin/true").spawn().map(drop));
        // What an engine does all the time still works.
        std::thread::spawn(|| ()).join().unwrap();
        assert!(fs::read_to_string("/proc/self/status").is_ok());
        if Uid::current().is_root() {
            panic!("still root: {reached}");
        }
    }
}

//! What a worker may still do: compute, and talk to the daemon on the socket it has.
//!
//! Three steps, all best effort, because a device's kernel may lack one; what was reached is a text that the daemon
//! logs and shows in `status`. [`forbid_writes`] comes first thing and [`forbid_contact`] before the model is read,
//! because reading it is where a hostile file strikes: both hold for every later thread. [`confine`] comes when the
//! model is mapped and the backends are loaded: from then on who takes over the process finds no file to open for
//! writing, no socket, no program to start, no other process to signal and no other user's rights.
//!
//! The daemon often runs as the same user as its workers, so what the kernel allows between processes of one user
//! (signals, limits, priorities) is forbidden here too. Reading files is not, except where file modes say so.
//!
//! The filter lists what is forbidden, not what is allowed: GPU drivers and the C library change which calls they
//! need, and a filter that kills a working device in the field is worse than one that leaves `getpid` open.
//!
//! A lane on a GPU may open the GPUs' device files, for NVIDIA's driver does so whenever it maps more of the card's memory;
//! and its driver may keep what it compiles in one folder while it loads, because recompiling takes minutes on a small
//! device. [`confine`] ends that writing. CUDA also names its threads, through files, and begins with a socket, so that
//! [`forbid_contact`] waits there until it is loaded ([`opens_sockets`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    Access, AccessFs, AccessNet, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, ABI,
};
use nix::unistd::{Gid, Uid};
use seccompiler::{
    sock_filter, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::lane::Device;

/// Where drivers are told to keep what they compile: Mesa's, and NVIDIA's for graphics and for CUDA.
pub const SHADER_CACHES: &[&str] = &["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "CUDA_CACHE_PATH"];

/// How the device files of GPUs begin in `/dev`: the kernel's own interface, and those of NVIDIA, AMD, Qualcomm, ARM,
/// Imagination and of Windows' Linux.
const GPU_NODES: &[&str] =
    &["dri", "nvidia", "nvhost", "nvmap", "kfd", "kgsl", "mali", "pvr", "dma_heap", "udmabuf", "dxg"];

/// The newest Landlock whose rights we name. Older kernels enforce what they know.
const LANDLOCK: ABI = ABI::V6;

/// `nobody` and `nogroup`, by their numbers on every Linux distribution.
const NOBODY: u32 = 65534;

/// Forbids this thread, and those it will start, to change any file, to use TCP, and to signal other processes. A GPU's
/// driver may use device files of GPUs and write to its [`SHADER_CACHES`], which are made here. Returns what was reached.
pub fn forbid_writes(device: &Device) -> String {
    let (nodes, caches, own) = match device {
        Device::Cpu => (Vec::new(), Vec::new(), Vec::new()),
        // CUDA gives its threads names, and takes it for the end of the world where it may not.
        Device::Gpu(_) => (gpu_nodes(), shader_caches(), vec![PathBuf::from("/proc/self/task")]),
    };
    let cache = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let result = (|| {
        Ruleset::default()
            .handle_access(AccessFs::from_write(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            // GPU drivers and the C library open this one for writing.
            .add_rules(landlock::path_beneath_rules(["/dev/null"], AccessFs::WriteFile | AccessFs::Truncate))?
            .add_rules(landlock::path_beneath_rules(&nodes, node_access()))?
            .add_rules(landlock::path_beneath_rules(&own, AccessFs::WriteFile | AccessFs::Truncate))?
            .add_rules(landlock::path_beneath_rules(&caches, cache))?
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

/// What a driver does with its device files.
fn node_access() -> landlock::BitFlags<AccessFs> {
    AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
}

fn gpu_nodes() -> Vec<PathBuf> {
    let Ok(dev) = std::fs::read_dir("/dev") else { return Vec::new() };
    let of_gpu = |name: &std::ffi::OsStr| name.to_str().is_some_and(|n| GPU_NODES.iter().any(|p| n.starts_with(p)));
    dev.flatten().filter(|e| of_gpu(&e.file_name())).map(|e| e.path()).collect()
}

fn shader_caches() -> Vec<PathBuf> {
    let named = SHADER_CACHES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    // One that cannot be made is one that the driver goes without.
    named.filter(|path| path.is_absolute() && std::fs::create_dir_all(path).is_ok()).collect()
}

/// Takes away what a worker with a mapped model no longer needs, from all its threads. Returns what was reached.
///
/// `parent` is the daemon's process id: changing the user resets the death signal, which is set again.
pub fn confine(parent: i32, device: &Device) -> String {
    let mut reached = Vec::new();
    // Files are opened by their names, which seccomp cannot see and Landlock can: on a GPU it alone says which.
    let on_gpu = device.is_gpu() && opens_again();
    if Uid::effective().is_root() {
        reached.push(match drop_root(parent) {
            Ok(()) => "uid nobody".to_owned(),
            Err(e) => format!("still root ({e})"),
        });
    }
    if let Err(e) = install(|| change_filters(on_gpu)) {
        reached.push(format!("no seccomp once loaded ({e})"));
    }
    reached.join(", ")
}

/// Whether what drives this device opens sockets when it starts, and does not start where it may not: CUDA, for memory that
/// processes share.
pub fn opens_sockets(device: &Device) -> bool {
    matches!(device, Device::Gpu(gpu) if gpu.module == "cuda")
}

/// Forbids sockets, programs, and everything else by which one process reaches another or the kernel's rarer parts.
/// Returns what was reached.
pub fn forbid_contact() -> String {
    match install(contact_filters) {
        Ok(()) => "seccomp".to_owned(),
        Err(e) => format!("no seccomp while it loads ({e})"),
    }
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn install(
    programs: impl FnOnce() -> Result<Vec<BpfProgram>, seccompiler::BackendError>,
) -> Result<(), Box<dyn std::error::Error>> {
    for program in programs()? {
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

/// `fchmodat2`, `setxattrat`, `removexattrat`, `mount_setattr`: younger than the library's list, with the same number
/// on every architecture.
const SYS_MOUNT_SETATTR: libc::c_long = 442;
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// Calls that fail with `EPERM` whatever their arguments, from before the model is read.
const CONTACT: &[libc::c_long] = &[
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
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // The kernel's surface.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    SYS_MOUNT_SETATTR,
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

/// Calls that fail with `EPERM` whatever their arguments, once the model is mapped: what changes files or rights.
const CHANGE: &[libc::c_long] = &[
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_REMOVEXATTRAT,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

/// The older names of these calls, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const CONTACT_OLD: &[libc::c_long] =
    &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_uselib, libc::SYS_modify_ldt, libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(target_arch = "x86_64")]
const CHANGE_OLD: &[libc::c_long] = &[
    libc::SYS_creat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const CONTACT_OLD: &[libc::c_long] = &[];
#[cfg(not(target_arch = "x86_64"))]
const CHANGE_OLD: &[libc::c_long] = &[];

/// A rule of one condition on the lower half of an argument.
fn when(arg: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value)?])
}

fn program(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()), arch)?.try_into()
}

fn always(calls: &[&[libc::c_long]]) -> Rules {
    calls.iter().copied().flatten().map(|nr| (*nr, Vec::new())).collect()
}

/// Several programs, because a program has one answer for what it refuses; the kernel runs all of them on every call.
fn contact_filters() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut forbidden = always(&[CONTACT, CONTACT_OLD]);
    // Only to ourselves: an engine that aborts signals its own thread.
    let own = u64::from(std::process::id());
    forbidden.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Ne, own)?]);
    let dword = |op, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value);
    let other = SeccompRule::new(vec![dword(SeccompCmpOp::Ne, 0)?, dword(SeccompCmpOp::Ne, own)?])?;
    forbidden.insert(libc::SYS_prlimit64, vec![other]);
    // A descriptor can be made to signal any process of its owner, and a terminal to type into its shell.
    let commands = |values: &[u64]| -> Result<Vec<SeccompRule>, _> {
        values.iter().map(|v| when(1, SeccompCmpOp::Eq, *v)).collect()
    };
    forbidden.insert(libc::SYS_fcntl, commands(&[F_SETOWN, F_SETSIG, F_SETOWN_EX])?);
    forbidden.insert(libc::SYS_ioctl, commands(&[FIOSETOWN, SIOCSPGRP, TIOCSTI, TIOCLINUX])?);
    // A new process is one that does not share our memory as a thread does.
    forbidden.insert(libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?]);

    // The filter cannot look behind these calls' pointers. "Not implemented" makes the C library use the older call.
    let hidden = always(&[&[libc::SYS_clone3, libc::SYS_openat2]]);
    let mut programs = vec![program(forbidden, libc::EPERM)?, program(hidden, libc::ENOSYS)?];
    if cfg!(target_arch = "x86_64") {
        programs.push(no_x32());
    }
    Ok(programs)
}

/// The numbers of `fcntl` and `ioctl` as the kernel counts them; the same on x86-64, aarch64 and riscv64.
const F_SETOWN: u64 = 8;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// x86-64 has every call twice: with this bit set its number means the same call of the x32 ABI, which the other
/// programs do not know.
fn no_x32() -> BpfProgram {
    const X32_BIT: u32 = 0x4000_0000;
    let (load_number, jump_if_ge, ret) = (0x20, 0x35, 0x06);
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    vec![
        sock_filter { code: load_number, jt: 0, jf: 0, k: 0 },
        sock_filter { code: jump_if_ge, jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: ret, jt: 0, jf: 0, k: refuse },
        sock_filter { code: ret, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

/// Whether the driver opens its device file again for memory that it maps, NVIDIA's on a card, and Landlock keeps it to such
/// files. It takes away the folder of compiled shaders again, but only from this thread and those that it will start:
/// others may still write to files that are in it.
fn opens_again() -> bool {
    let nodes = gpu_nodes();
    if !nodes.iter().any(|node| node == Path::new("/dev/nvidiactl")) {
        return false;
    }
    let result = (|| {
        Ruleset::default()
            .handle_access(AccessFs::from_write(LANDLOCK))?
            .create()?
            .add_rules(landlock::path_beneath_rules(["/dev/null"], AccessFs::WriteFile | AccessFs::Truncate))?
            .add_rules(landlock::path_beneath_rules(&nodes, node_access()))?
            .set_compatibility(landlock::CompatLevel::BestEffort)
            .restrict_self()
    })();
    result.is_ok_and(|status: landlock::RestrictionStatus| status.ruleset != RulesetStatus::NotEnforced)
}

/// `nodes`: files may be opened for writing, because something else says which.
fn change_filters(nodes: bool) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let mut forbidden = always(&[CHANGE, CHANGE_OLD]);
    // Opening for anything but reading.
    let open_for_writing = |flags_arg: u8| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let flags: &[i32] = match nodes {
            true => &[libc::O_CREAT],
            false => &[libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC],
        };
        flags.iter().map(|bit| when(flags_arg, SeccompCmpOp::MaskedEq(*bit as u64), *bit as u64)).collect()
    };
    forbidden.insert(libc::SYS_openat, open_for_writing(2)?);
    #[cfg(target_arch = "x86_64")]
    forbidden.insert(libc::SYS_open, open_for_writing(1)?);
    // It was set for good: a worker dies with its daemon.
    let death_signal = libc::PR_SET_PDEATHSIG.unsigned_abs();
    forbidden.insert(libc::SYS_prctl, vec![when(0, SeccompCmpOp::Eq, u64::from(death_signal))?]);
    Ok(vec![program(forbidden, libc::EPERM)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    const VAR: &str = "WATTLM_TEST_CONFINE";
    const VAR_GPU: &str = "WATTLM_TEST_CONFINE_GPU";

    /// What CUDA does when it starts, in a copy of the test program.
    #[test]
    fn a_gpus_driver_may_name_threads_and_nothing_else_and_open_a_socket_until_contact_is_forbidden() {
        let name = "worker::sandbox::tests::\
                    a_gpus_driver_may_name_threads_and_nothing_else_and_open_a_socket_until_contact_is_forbidden";
        let Some(dir) = std::env::var_os(VAR_GPU) else {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("file"), "kept").unwrap();
            let copy = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(VAR_GPU, dir.path())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&copy.stdout).into_owned() + &String::from_utf8_lossy(&copy.stderr);
            assert!(copy.status.success() && text.contains("1 passed"), "{text}");
            return;
        };
        let id = crate::lane::GpuId { name: "gpu0".into(), module: "cuda".into(), ggml: "CUDA0".into() };
        let cuda = Device::Gpu(id);
        assert!(opens_sockets(&cuda) && !opens_sockets(&Device::Cpu));
        let reached = forbid_writes(&cuda);
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid()).unwrap();
            ended.recv().ok();
        });
        let comm = format!("/proc/self/task/{}/comm", told.recv().unwrap());
        fs::write(&comm, "cuda-EvtHandlr").unwrap();
        assert_eq!(fs::read_to_string(&comm).unwrap().trim(), "cuda-EvtHandlr");
        let own = || std::os::unix::net::UnixDatagram::unbound().map(drop);
        own().unwrap();
        if !reached.starts_with("no landlock") {
            assert!(fs::write(std::path::Path::new(&dir).join("file"), "x").is_err(), "{reached}");
        }
        if forbid_contact() == "seccomp" {
            assert!(own().is_err());
        }
        drop(end);
        thread.join().unwrap();
    }

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
        let parent = nix::unistd::getppid().as_raw();
        let reached =
            format!("{}, {}, {}", forbid_writes(&Device::Cpu), forbid_contact(), confine(parent, &Device::Cpu));
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
        let denied_call = |what: &str, nr: libc::c_long, args: [libc::c_long; 4]| {
            let errno = super::super::sys::call(nr, args).expect_err(what).raw_os_error();
            assert_eq!(errno, Some(libc::EPERM), "{what}");
        };
        // The parent stands for the daemon, as the same user. Signal 0 only asks whether it could be sent.
        let daemon = libc::c_long::from(parent);
        denied_call("signal", libc::SYS_kill, [daemon, 0, 0, 0]);
        denied_call("signal a thread", libc::SYS_tgkill, [daemon, daemon, 0, 0]);
        denied_call("limit", libc::SYS_prlimit64, [daemon, 7, 0, 0]);
        denied_call("own descriptors' signals", libc::SYS_fcntl, [0, 8, daemon, 0]);
        denied_call("type into a terminal", libc::SYS_ioctl, [2, 0x5412, 0, 0]);
        denied_call("outlive the daemon", libc::SYS_prctl, [1, 0, 0, 0]);
        denied_call("chmod by its newest name", SYS_FCHMODAT2, [-100, 0, 0, 0]);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            super::super::sys::call(0x4000_0000 + libc::SYS_getpid, [0; 4]).unwrap_err().raw_os_error(),
            Some(libc::ENOSYS)
        );
        let own = libc::c_long::from(std::process::id());
        super::super::sys::call(libc::SYS_tgkill, [own, own, 0, 0]).expect("an engine may abort");
        super::super::sys::call(libc::SYS_prlimit64, [0, 7, 0, 0]).expect("it may look at its own limits");
        // What an engine does all the time still works.
        std::thread::spawn(|| ()).join().unwrap();
        assert!(fs::read_to_string("/proc/self/status").is_ok());
        if Uid::current().is_root() {
            panic!("still root: {reached}");
        }
    }
}

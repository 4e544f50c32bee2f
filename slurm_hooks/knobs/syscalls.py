# SPDX-License-Identifier: Apache-2.0
"""The system calls of a job's container: which are open and why, which are closed and why. Pure data, by our own hand.

Three lists and a rule: what is OPEN reaches the kernel, what is open IN_PART does so with harmless arguments, what is
ABSENT is answered with ENOSYS, as by a kernel that is too old for it, so that a libc or a tool takes its older way. All
else is answered with EPERM, and so is every other argument. CLOSED says of each call that is known why it is no part of
the lists; a call that is newer than all of them is ENOSYS (runc adds that: libcontainer/seccomp/patchbpf).

Source of the names: the kernel's tables for x86_64 up to Linux 7.0; arm64 has no call of its own beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from slurm_hooks.settings import Sockets


@dataclass(frozen=True, slots=True)
class Group:
    """Calls that stand together, and why they do."""

    name: str
    reason: str
    calls: tuple[str, ...]


class Argument(NamedTuple):
    """What an argument must be, all 64 bits of it or those of a mask: `argument & mask == value`."""

    place: int  # 0 to 5
    value: int
    mask: int = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Part:
    """A call that is open with some arguments."""

    call: str
    reason: str
    rules: tuple[tuple[Argument, ...], ...]  # one whose arguments all match opens it
    since: str = ""  # the kernel's version; before it the call is closed


def is_(place: int, *values: int) -> tuple[tuple[Argument, ...], ...]:
    """The argument is one of these."""
    return tuple((Argument(place, value),) for value in values)


def within(place: int, *ranges: range, bits: int = 64) -> tuple[tuple[Argument, ...], ...]:
    """The argument's lower bits are in one of these ranges, each told by its first bits, as networks are told.

    A filter's "not equal" and "less" compare all 64 bits. Where the kernel looks at 32, a stray high bit would get
    past them (CVE-2019-10063), so `bits` says how many it looks at.
    """
    rules = []
    for numbers in ranges:
        start = numbers.start
        while start < numbers.stop:
            size = start & -start or 1 << bits
            while start + size > numbers.stop:
                size >>= 1
            rules.append((Argument(place, start, (1 << bits) - size),))
            start += size
    return tuple(rules)


def _group(name: str, reason: str, *lines: str) -> Group:
    return Group(name, reason, tuple(" ".join(lines).split()))


OPEN = (
    _group(
        "files", "what a program does with the files that it may open",
        "open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2",
        "pwritev2 lseek dup dup2 dup3 fcntl flock truncate ftruncate fallocate fadvise64 readahead sync syncfs fsync",
        "fdatasync sync_file_range sendfile splice tee copy_file_range",
    ),
    _group(
        "names and attributes", "the kernel asks for the same rights as outside",
        "access faccessat faccessat2 stat fstat lstat newfstatat statx statfs fstatfs readlink readlinkat getdents",
        "getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat",
        "symlink symlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime",
        "utimes futimesat utimensat getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr",
        "fsetxattr removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch",
    ),
    _group(
        "waiting, pipes", "poll and its kin, pipes, and Linux's asynchronous I/O, which data bases and MPI-IO use",
        "select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd",
        "eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime pipe pipe2",
        "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents",
    ),
    _group(
        "memory", "a program's own, and protections that only take away",
        "brk mmap munmap mprotect mremap madvise msync mincore mlock mlock2 munlock mlockall munlockall memfd_create",
        "pkey_alloc pkey_free pkey_mprotect mseal map_shadow_stack",
    ),
    _group(
        "processes and threads", "below the job's pids limit",
        "fork vfork execve execveat exit exit_group wait4 waitid getpid getppid gettid getpgid setpgid getpgrp getsid",
        "setsid set_tid_address set_robust_list futex futex_waitv rseq membarrier arch_prctl prctl restart_syscall",
        "pidfd_open pidfd_send_signal",
    ),
    _group(
        "signals", "to processes of the same user in the container",
        "kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo",
        "rt_tgsigqueueinfo rt_sigreturn sigaltstack pause",
    ),
    _group(
        "time", "reading clocks, sleeping, timers",
        "clock_gettime clock_getres clock_nanosleep gettimeofday time times nanosleep alarm getitimer setitimer",
        "timer_create timer_settime timer_gettime timer_getoverrun timer_delete",
    ),
    _group(
        "scheduling and limits", "within what the kernel grants a user; limits can only be lowered",
        "sched_yield sched_setaffinity sched_getaffinity sched_setscheduler sched_getscheduler sched_setparam",
        "sched_getparam sched_setattr sched_getattr sched_get_priority_max sched_get_priority_min",
        "sched_rr_get_interval getpriority setpriority ioprio_get ioprio_set getrlimit setrlimit prlimit64 getrusage",
        "getcpu",
    ),
    _group(
        "memory of NUMA nodes", "where a program's own memory lies: MPI, OpenMP, numactl; Docker's profile closes them",
        "get_mempolicy set_mempolicy set_mempolicy_home_node mbind",
    ),
    _group(
        "identity", "without a capability a process can become nobody but itself",
        "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid",
        "setresgid setfsuid setfsgid capget capset",
    ),
    _group(
        "sockets, once there are", "which there can be is told below",
        "bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt sendto sendmsg sendmmsg",
        "recvfrom recvmsg recvmmsg shutdown",
    ),
    _group(
        "shared memory and queues", "System V's and POSIX's, in the container's own IPC namespace",
        "shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink",
        "mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    ),
    _group(
        "memory of one's other processes", "MPI copies large messages so; the kernel asks for the rights of ptrace",
        "process_vm_readv process_vm_writev",
    ),
    _group(
        "confining oneself", "they only take away",
        "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    ),
    _group("the machine", "what it is, and random numbers", "uname sysinfo getrandom"),
)  # fmt: skip

NAMESPACES = 0x7E02_0000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
QUERY, NO_RANDOMIZE = 0xFFFF_FFFF, 0x4_0000  # of personality(2)
UNIX, INET, INET6, NETLINK, ROUTE = 1, 2, 10, 16, 0
STREAM, SEQPACKET, KIND = 1, 5, 0xF  # kinds of sockets; the bits of socketpair(2)'s second argument that say which
ANY, TCP, UDP = 0, 6, 17
TIOCSTI, TIOCLINUX, TIOCSETD = 0x5412, 0x541C, 0x5423
ATTACH, SEIZE = 16, 0x4206  # of ptrace(2)
SELF = 0

# Where the site closes Unix sockets, of the first two the third is left.
UNIX_SOCKETS = (Part("socket", "Unix sockets", is_(0, UNIX)), Part("socketpair", "Unix sockets", is_(0, UNIX)))
UNIX_PAIRS = Part(
    "socketpair", "Unix sockets that are connected for good: streams and sequential packets. One of a pair of datagram"
    " sockets, which a raw one is too (unix_create), may be connected anew, or send to any other by its path",
    tuple((Argument(0, UNIX), Argument(1, kind, KIND)) for kind in (STREAM, SEQPACKET)),
)  # fmt: skip
IN_PART = (
    *UNIX_SOCKETS,
    Part(
        "clone", "threads and processes, no new namespace: in a user namespace of its own every process has all"
        " capabilities, and most holes of the kernel are reached so",
        ((Argument(0, 0, NAMESPACES),),),
    ),
    Part(
        "socket", "TCP and UDP; another protocol's module would be loaded on demand",
        tuple((Argument(0, family), Argument(2, protocol)) for family in (INET, INET6) for protocol in (ANY, TCP, UDP)),
    ),
    Part(
        "socket", "netlink for reading addresses and routes (getaddrinfo); not nftables, xfrm, audit and the rest",
        ((Argument(0, NETLINK), Argument(2, ROUTE)),),
    ),
    Part(
        "ioctl", "all but TIOCSTI and TIOCLINUX, which type for another, and TIOCSETD, which loads line disciplines",
        within(
            1, range(TIOCSTI), range(TIOCSTI + 1, TIOCLINUX), range(TIOCLINUX + 1, TIOCSETD),
            range(TIOCSETD + 1, 2**32), bits=32,
        ),
    ),
    Part(
        "ptrace", "gdb and strace of programs that they have started; not PTRACE_ATTACH and PTRACE_SEIZE. Before 4.8 a"
        " traced process could get past its filter",
        within(0, range(ATTACH), range(ATTACH + 1, 64), range(0x4200, SEIZE), range(SEIZE + 1, 0x4210)), since="4.8",
    ),
    Part(
        "personality", "to read it, the usual one, and without address randomization (gdb, ThreadSanitizer)",
        is_(0, 0, NO_RANDOMIZE, QUERY),
    ),
    Part("move_pages", "of the process itself: where its memory lies", is_(0, SELF)),
    Part("migrate_pages", "of the process itself", is_(0, SELF)),
)  # fmt: skip


def in_part(sockets: Sockets) -> tuple[Part, ...]:
    """What is open in part where a site lets containers have Unix sockets, and where it does not."""
    return IN_PART if sockets == "allow" else (*(part for part in IN_PART if part not in UNIX_SOCKETS), UNIX_PAIRS)


ABSENT = (
    _group("clone3", "its flags lie in memory, where no filter sees them; every libc falls back to clone", "clone3"),
    _group(
        "young calls", "no program needs them yet: tools fall back, and the kernel's new code is not reached",
        "statmount listmount listns cachestat setxattrat getxattrat listxattrat removexattrat file_getattr",
        "file_setattr futex_wake futex_wait futex_requeue lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
        "memfd_secret rseq_slice_yield",
    ),
    _group(
        "uprobes", "the kernel itself puts them into a program that an operator traces, past every filter",
        "uretprobe uprobe",
    ),
    _group(
        "old calls", "no program needs them any more, or the kernel itself has them no longer",
        "vmsplice remap_file_pages modify_ldt set_thread_area get_thread_area uselib ustat sysfs _sysctl",
        "epoll_ctl_old epoll_wait_old lookup_dcookie nfsservctl create_module get_kernel_syms query_module getpmsg",
        "putpmsg afs_syscall tuxcall security vserver",
    ),
)  # fmt: skip

CLOSED = (
    _group("namespaces", "as above; and no way into another's", "unshare setns"),
    _group(
        "mounts", "a container's files are what was mounted before it began",
        "mount umount2 pivot_root chroot open_tree open_tree_attr move_mount mount_setattr fsopen fsconfig fsmount",
        "fspick",
    ),
    _group(
        "keyrings", "keys are the user's, not the container's: no namespace divides them",
        "add_key request_key keyctl",
    ),
    _group("programs in the kernel", "the verifier has been fooled often", "bpf"),
    _group("performance events", "side channels, and a long list of holes", "perf_event_open"),
    _group(
        "io_uring", "work that the kernel does past the filter; a long list of holes",
        "io_uring_setup io_uring_enter io_uring_register",
    ),
    _group("page faults in user space", "they stop the kernel where an exploit wants it", "userfaultfd"),
    _group(
        "other processes", "what debuggers and checkpoints take from a process that runs",
        "kcmp pidfd_getfd process_madvise process_mrelease get_robust_list",
    ),
    _group(
        "files by handle", "they open what no path leads to; and watches over whole file systems",
        "name_to_handle_at open_by_handle_at fanotify_init fanotify_mark",
    ),
    _group(
        "the node", "its modules, clock, swap, name, quotas, log: root's",
        "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl",
        "quotactl_fd settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname syslog vhangup iopl",
        "ioperm setgroups",
    ),
)  # fmt: skip

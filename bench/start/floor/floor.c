/*
 * floor: what a container start costs when nothing is computed.
 *
 * It issues the system calls that a start of the bench's bundle needs (`runc
 * spec`'s default and a cgroup namespace), from constants: no JSON is read, no
 * library is loaded, nothing is allocated. It is a yardstick, not a runtime: it
 * checks every result and stops with the number of the line that failed, but
 * does not undo.
 *
 *   floor run    STATE ROOTFS FILTER CGROUP... -- HIERARCHY... -- PROGRAM ARG...
 *   floor create STATE ROOTFS FILTER CGROUP... -- HIERARCHY... -- PROGRAM ARG...
 *   floor start  STATE
 *   floor delete STATE CGROUP...
 *   floor exec   STATE FILTER CGROUP... -- PROGRAM ARG...
 *
 * STATE is the directory to make for the container's state, FILTER a file of
 * struct sock_filter or "-", CGROUP the control groups to make and join (one
 * below a directory named "unified" is entered by CLONE_INTO_CGROUP), HIERARCHY
 * the options of the v1 hierarchies to mount below /sys/fs/cgroup ("name=systemd"
 * too), or the word "unified" for the v2 one.
 */
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/sockios.h>
#include <linux/stat.h>

#include "syscall.h"

#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define AF_INET 2
#define SOCK_DGRAM 2
#define SIG_SETMASK 2
#define SIGCHLD 17
#define P_PIDFD 3
#define WEXITED 4
#define UMOUNT_DETACH 2
#define ENOENT 2
#define ENOTDIR 20
#define IFF_UP 1

static struct {
	const char *state, *rootfs;
	char **cgroups, **hierarchies, **argv, **envp;
	struct sock_fprog filter;
	int unified;      /* fd of the v2 group, or -1 */
	int pidfd;
	int created;      /* wait on the FIFO before exec */
	int ready[2];     /* pipe: the child of create is set up */
	int fifo;
	int tasks[32], ntasks;
	int exec;
} g;

static struct sock_filter filter[4096];
static char stack[32768] __attribute__((aligned(16)));
static unsigned long all = ~0UL, old;

static void die(int line, long err) __attribute__((noreturn));
static void die(int line, long err)
{
	char m[] = "floor: line ....: errno ...\n";
	for (int i = 15, n = line; i > 11; i--, n /= 10)
		m[i] = '0' + n % 10;
	for (int i = 26, n = -err; i > 23; i--, n /= 10)
		m[i] = '0' + n % 10;
	sys3(__NR_write, 2, m, sizeof m - 1);
	sys1(__NR_exit_group, 125);
	__builtin_unreachable();
}

#define MUST(call) ({ long r_ = (call); if (r_ < 0 && r_ > -4096) die(__LINE__, r_); r_; })

static long length(const char *s)
{
	long n = 0;
	while (s[n])
		n++;
	return n;
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static int has(const char *s, const char *word)
{
	for (; *s; s++) {
		long i = 0;
		while (word[i] && s[i] == word[i])
			i++;
		if (!word[i])
			return 1;
	}
	return 0;
}

/* One buffer is enough: a joined path is used before the next is made. */
static char *join(const char *dir, const char *name)
{
	static char buf[512];
	char *p = buf;
	while (*dir)
		*p++ = *dir++;
	*p++ = '/';
	while (*name)
		*p++ = *name++;
	*p = 0;
	return buf;
}

static long open_at(const char *path, int flags, int mode)
{
	return sys4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static void put(const char *path, const char *text)
{
	int fd = MUST(open_at(path, O_WRONLY, 0));
	MUST(sys3(__NR_write, fd, text, length(text)));
	sys1(__NR_close, fd);
}

static void make_dir(const char *path, int mode)
{
	MUST(sys3(__NR_mkdirat, AT_FDCWD, path, mode));
}

static void mount_on(const char *what, const char *where, const char *type,
		     unsigned long flags, const char *data)
{
	MUST(sys5(__NR_mount, what, where, type, flags, data));
}

/* Control groups, made and limited by the parent. */

static const char *const device_rules[] = {
	"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
	"c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", 0,
};

static void make_cgroups(void)
{
	g.unified = -1;
	for (char **c = g.cgroups; *c; c++) {
		make_dir(*c, 0755);
		if (has(*c, "/cpuset/")) {
			put(join(*c, "cpuset.cpus"), "0-1");
			put(join(*c, "cpuset.mems"), "0");
		}
		if (has(*c, "/devices/")) {
			put(join(*c, "devices.deny"), "a");
			int fd = MUST(open_at(join(*c, "devices.allow"), O_WRONLY, 0));
			for (const char *const *r = device_rules; *r; r++)
				MUST(sys3(__NR_write, fd, *r, length(*r)));
			sys1(__NR_close, fd);
		}
		if (has(*c, "/unified/"))
			g.unified = MUST(open_at(*c, O_RDONLY | O_DIRECTORY, 0));
	}
}

static void open_tasks(void)
{
	for (char **c = g.cgroups; *c; c++)
		if (!has(*c, "/unified/"))
			g.tasks[g.ntasks++] = MUST(open_at(join(*c, "tasks"), O_WRONLY, 0));
}

/* A single-threaded child that writes 0 moves itself without the lock that
 * writing a pid takes. */
static void join_cgroups(void)
{
	for (int i = 0; i < g.ntasks; i++)
		MUST(sys3(__NR_write, g.tasks[i], "0", 1));
}

static void remove_cgroups(void)
{
	for (char **c = g.cgroups; *c; c++)
		MUST(sys3(__NR_unlinkat, AT_FDCWD, *c, AT_REMOVEDIR));
}

/* The child, in order. */

/* <linux/if.h> wants a C library's headers; this is its struct ifreq. */
struct ifreq {
	char ifr_name[16];
	short ifr_flags;
	char rest[22];
};

static void set_up_network(void)
{
	struct ifreq r = { .ifr_name = "lo" };
	int fd = MUST(sys3(__NR_socket, AF_INET, SOCK_DGRAM | O_CLOEXEC, 0));
	MUST(sys3(__NR_ioctl, fd, SIOCGIFFLAGS, &r));
	r.ifr_flags |= IFF_UP;
	MUST(sys3(__NR_ioctl, fd, SIOCSIFFLAGS, &r));
	sys1(__NR_close, fd);
}

static void enter_rootfs(void)
{
	mount_on(0, "/", 0, MS_REC | MS_SLAVE, 0);
	mount_on(g.rootfs, g.rootfs, 0, MS_BIND | MS_REC, 0);
	MUST(sys1(__NR_chdir, g.rootfs));
	MUST(sys2(__NR_pivot_root, ".", "."));
	MUST(sys2(__NR_umount2, ".", UMOUNT_DETACH));
	MUST(sys1(__NR_chdir, "/"));
}

static void mount_cgroups(void)
{
	const unsigned long f = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME;

	mount_on("tmpfs", "/sys/fs/cgroup", "tmpfs", f & ~MS_RELATIME, "mode=755");
	for (char **h = g.hierarchies; *h; h++) {
		const char *name = has(*h, "name=") ? *h + 5 : *h;
		char *dir = join("/sys/fs/cgroup", name);
		make_dir(dir, 0755);
		if (equal(*h, "unified"))
			mount_on("cgroup2", dir, "cgroup2", f | MS_RDONLY, 0);
		else
			mount_on("cgroup", dir, "cgroup", f | MS_RDONLY, *h);
	}
	mount_on("tmpfs", "/sys/fs/cgroup", 0, MS_REMOUNT | MS_RDONLY | f, "mode=755");
}

static void mount_all(void)
{
	mount_on("proc", "/proc", "proc", 0, 0);
	mount_on("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	make_dir("/dev/pts", 0755);
	mount_on("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		 "newinstance,ptmxmode=0666,mode=0620,gid=5");
	make_dir("/dev/shm", 0755);
	mount_on("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV,
		 "mode=1777,size=65536k");
	make_dir("/dev/mqueue", 0755);
	mount_on("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0);
	mount_on("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, 0);
	mount_cgroups();
}

static void make_devices(void)
{
	static const struct { const char *path; int major, minor; } dev[] = {
		{ "/dev/null", 1, 3 }, { "/dev/zero", 1, 5 }, { "/dev/full", 1, 7 },
		{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
	};
	static const char *const link[][2] = {
		{ "/proc/self/fd", "/dev/fd" }, { "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" }, { "/proc/self/fd/2", "/dev/stderr" },
		{ "/proc/kcore", "/dev/core" }, { "pts/ptmx", "/dev/ptmx" },
	};
	for (unsigned i = 0; i < sizeof dev / sizeof *dev; i++)
		MUST(sys4(__NR_mknodat, AT_FDCWD, dev[i].path, S_IFCHR | 0666,
			  dev[i].major << 8 | dev[i].minor));
	for (unsigned i = 0; i < sizeof link / sizeof *link; i++)
		MUST(sys3(__NR_symlinkat, link[i][0], AT_FDCWD, link[i][1]));
}

static void hide_paths(void)
{
	static const char *const ro[] = {
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	};
	static const char *const masked[] = {
		"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
		"/proc/sched_debug", "/sys/firmware", "/proc/scsi",
	};
	for (unsigned i = 0; i < sizeof ro / sizeof *ro; i++) {
		long r = sys5(__NR_mount, ro[i], ro[i], 0, MS_BIND | MS_REC, 0);
		if (r == -ENOENT)
			continue;
		MUST(r);
		mount_on(0, ro[i], 0, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV, 0);
	}
	for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++) {
		long r = sys5(__NR_mount, "/dev/null", masked[i], 0, MS_BIND, 0);
		if (r == -ENOTDIR)
			r = sys5(__NR_mount, "tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1");
		if (r < 0 && r != -ENOENT)
			die(__LINE__, r);
	}
	mount_on(0, "/", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0);
}

static void drop_privileges(void)
{
	const unsigned keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { keep, keep, keep }, { 0, 0, 0 } };
	struct rlimit64 nofile = { 1024, 1024 };

	MUST(sys4(__NR_prlimit64, 0, RLIMIT_NOFILE, &nofile, 0));
	MUST(sys3(__NR_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC));
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if (c > 31 || !(keep & 1u << c))
			MUST(sys5(__NR_prctl, PR_CAPBSET_DROP, c, 0, 0, 0));
	MUST(sys2(__NR_setgroups, 0, 0));
	MUST(sys3(__NR_setresgid, 0, 0, 0));
	MUST(sys3(__NR_setresuid, 0, 0, 0));
	MUST(sys2(__NR_capset, &head, data));
	MUST(sys5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	for (int c = 0; c < 32; c++)
		if (keep & 1u << c)
			MUST(sys5(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0));
	MUST(sys5(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void await_start(void)
{
	char c;
	sys1(__NR_close, g.ready[0]);
	MUST(sys3(__NR_write, g.ready[1], "r", 1));
	sys1(__NR_close, g.ready[1]);
	/* By descriptor: the host's tree is gone by now. */
	MUST(sys3(__NR_read, g.fifo, &c, 1));
}

static void child(void *unused)
{
	(void)unused;
	sys4(__NR_rt_sigprocmask, SIG_SETMASK, &old, 0, 8);
	MUST(sys0(__NR_setsid));
	join_cgroups();
	if (!g.exec) {
		MUST(sys1(__NR_unshare, CLONE_NEWCGROUP));
		MUST(sys3(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "floor", 0));
		set_up_network();
		MUST(sys2(__NR_sethostname, "runc", 4));
		enter_rootfs();
		sys1(__NR_umask, 0);
		mount_all();
		make_devices();
		hide_paths();
	}
	sys1(__NR_umask, 022);
	drop_privileges();
	MUST(sys1(__NR_chdir, "/"));
	if (g.created)
		await_start();
	if (g.filter.len)
		MUST(sys3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &g.filter));
	MUST(sys3(__NR_execve, g.argv[0], g.argv, g.envp));
}

/* The parent. */

static long spawn(unsigned long flags)
{
	struct clone_args a = {
		.flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (unsigned long)&g.pidfd,
		.exit_signal = SIGCHLD,
		.stack = (unsigned long)stack,
		.stack_size = sizeof stack,
	};
	/* The parent of create goes on while the child waits for start, so there
	 * the child must have a copy of the memory. */
	if (!g.created)
		a.flags |= CLONE_VM | CLONE_VFORK;
	if (g.unified >= 0) {
		a.flags |= CLONE_INTO_CGROUP;
		a.cgroup = g.unified;
	}
	MUST(sys4(__NR_rt_sigprocmask, SIG_SETMASK, &all, &old, 8));
	long pid = MUST(clone3_call(&a, sizeof a, child, 0));
	MUST(sys4(__NR_rt_sigprocmask, SIG_SETMASK, &old, 0, 8));
	return pid;
}

static int wait_exit(void)
{
	int info[32];
	MUST(sys5(__NR_waitid, P_PIDFD, g.pidfd, info, WEXITED, 0));
	/* si_code 1 is CLD_EXITED; si_status follows si_pid and si_uid. */
	return info[2] == 1 ? info[6] : 128 + info[6];
}

static void write_state(long pid)
{
	/* As many bytes as a small state.json: a pid and room. */
	static char text[1024];
	long n = 0, v = pid;
	char digits[20];
	while (v)
		digits[n++] = '0' + v % 10, v /= 10;
	for (long i = 0; i < n; i++)
		text[i] = digits[n - 1 - i];
	for (long i = n; i < (long)sizeof text; i++)
		text[i] = '\n';
	int fd = MUST(open_at(join(g.state, "state.json"), O_WRONLY | O_CREAT, 0600));
	MUST(sys3(__NR_write, fd, text, sizeof text));
	sys1(__NR_close, fd);
}

static void remove_state(void)
{
	MUST(sys3(__NR_unlinkat, AT_FDCWD, join(g.state, "state.json"), 0));
	if (g.created)
		MUST(sys3(__NR_unlinkat, AT_FDCWD, join(g.state, "fifo"), 0));
	MUST(sys3(__NR_unlinkat, AT_FDCWD, g.state, AT_REMOVEDIR));
}

static void load_filter(const char *path)
{
	if (equal(path, "-"))
		return;
	int fd = MUST(open_at(path, O_RDONLY, 0));
	long n = MUST(sys3(__NR_read, fd, filter, sizeof filter));
	sys1(__NR_close, fd);
	g.filter.len = n / sizeof *filter;
	g.filter.filter = filter;
}

/* Cuts a list at its "--" and returns what follows it. */
static char **cut(char **list)
{
	while (*list && !equal(*list, "--"))
		list++;
	if (!*list)
		die(__LINE__, 0);
	*list = 0;
	return list + 1;
}

#define NEW_ALL (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID)

static int run(void)
{
	make_dir(g.state, 0711);
	make_cgroups();
	open_tasks();
	write_state(spawn(NEW_ALL));
	int status = wait_exit();
	remove_cgroups();
	remove_state();
	return status;
}

static int create(void)
{
	char c;
	g.created = 1;
	make_dir(g.state, 0711);
	MUST(sys4(__NR_mknodat, AT_FDCWD, join(g.state, "fifo"), S_IFIFO | 0600, 0));
	g.fifo = MUST(open_at(join(g.state, "fifo"), O_RDWR, 0));
	MUST(sys2(__NR_pipe2, g.ready, O_CLOEXEC));
	make_cgroups();
	open_tasks();
	long pid = spawn(NEW_ALL);
	sys1(__NR_close, g.ready[1]);
	if (sys3(__NR_read, g.ready[0], &c, 1) != 1)
		die(__LINE__, 0);
	write_state(pid);
	return 0;
}

static int start(void)
{
	int fd = MUST(open_at(join(g.state, "fifo"), O_WRONLY, 0));
	MUST(sys3(__NR_write, fd, "s", 1));
	return 0;
}

static int delete(void)
{
	g.created = 1;
	remove_cgroups();
	remove_state();
	return 0;
}

static int exec(void)
{
	char text[32];
	long pid = 0;
	int fd = MUST(open_at(join(g.state, "state.json"), O_RDONLY, 0));
	long n = MUST(sys3(__NR_read, fd, text, sizeof text - 1));
	sys1(__NR_close, fd);
	for (long i = 0; i < n && text[i] >= '0'; i++)
		pid = pid * 10 + text[i] - '0';
	g.exec = 1;
	g.unified = -1;
	open_tasks();
	for (char **c = g.cgroups; *c; c++)
		if (has(*c, "/unified/"))
			g.unified = MUST(open_at(*c, O_RDONLY | O_DIRECTORY, 0));
	fd = MUST(sys2(__NR_pidfd_open, pid, 0));
	MUST(sys2(__NR_setns, fd, NEW_ALL | CLONE_NEWCGROUP));
	spawn(0);
	return wait_exit();
}

static int dispatch(int argc, char **argv)
{
	if (argc < 3)
		die(__LINE__, 0);
	g.state = argv[2];
	if (equal(argv[1], "start"))
		return start();
	if (equal(argv[1], "delete")) {
		g.cgroups = argv + 3;
		return delete();
	}
	if (argc < 5)
		die(__LINE__, 0);
	if (equal(argv[1], "exec")) {
		load_filter(argv[3]);
		g.cgroups = argv + 4;
		g.argv = cut(g.cgroups);
		return exec();
	}
	g.rootfs = argv[3];
	load_filter(argv[4]);
	g.cgroups = argv + 5;
	g.hierarchies = cut(g.cgroups);
	g.argv = cut(g.hierarchies);
	return equal(argv[1], "create") ? create() : run();
}

__attribute__((used)) static void floor_main(long *sp)
{
	static char *env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			       "TERM=xterm", 0 };
	g.envp = env;
	int status = dispatch(sp[0], (char **)(sp + 1));
	sys1(__NR_exit_group, status);
}

ENTRY(floor_main)

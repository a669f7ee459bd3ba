/* Modules, file systems and network of a guest that runs one command. */
#include <errno.h>
#include <fcntl.h>
#include <linux/module.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/init.h"

#define NEW_ROOT "/root"
#define PATH_MAX_ 4096

void load_modules(const struct guest_plan *plan)
{
	unsigned i;
	int fd, flags;

	for (i = 0; i < plan->module_count; i++) {
		fd = open(plan->modules[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		flags = strcmp(plan->modules[i] + strlen(plan->modules[i]) - 3, ".ko")
				? MODULE_INIT_COMPRESSED_FILE
				: 0;
		syscall(SYS_finit_module, fd, "", flags);
		close(fd);
		unlink(plan->modules[i]);
	}
}

/* --- file systems --- */

static void make_directories(char *path)
{
	char *at = path;

	while ((at = strchr(at + 1, '/'))) {
		*at = 0;
		mkdir(path, 0755);
		*at = '/';
	}
	mkdir(path, 0755);
}

static const struct share_item *root_share(const struct guest_plan *plan)
{
	unsigned i;

	for (i = 0; i < plan->share_count; i++)
		if (strcmp(plan->shares[i].path, "/") == 0)
			return &plan->shares[i];
	return NULL;
}

static int mount_share(const struct share_item *share, const char *where)
{
	if (mount(share->tag, where, "virtiofs", share->is_readonly ? MS_RDONLY : 0, NULL) < 0)
		return fail("cannot mount the share '%s' at '%s' (has the kernel virtiofs?)",
			    share->tag, share->path);
	return 0;
}

/* The root: a share, below one in memory that takes what is written if it cannot be written. */
static int mount_root(const struct share_item *share)
{
	mkdir(NEW_ROOT, 0755);
	if (!share->is_readonly)
		return mount_share(share, NEW_ROOT);
	mkdir("/lower", 0755);
	mkdir("/over", 0755);
	if (mount_share(share, "/lower") < 0)
		return -1;
	if (mount("none", "/over", "tmpfs", 0, "mode=0755") < 0 || mkdir("/over/upper", 0755) < 0 ||
	    mkdir("/over/work", 0755) < 0)
		return fail("cannot mount a file system in memory");
	if (mount("overlay", NEW_ROOT, "overlay", 0,
		  "lowerdir=/lower,upperdir=/over/upper,workdir=/over/work,redirect_dir=on") < 0)
		return fail("cannot lay a writable file system over '/' (has the kernel overlay?)");
	return 0;
}

/* The others in the order of their depth, so that none covers another. */
static int mount_others(const struct guest_plan *plan, const struct share_item *root)
{
	bool is_done[sizeof(plan->shares) / sizeof(plan->shares[0])] = {false};
	char where[PATH_MAX_];
	unsigned i, left, next;

	for (left = plan->share_count; left; left--) {
		next = plan->share_count;
		for (i = 0; i < plan->share_count; i++)
			if (!is_done[i] && (next == plan->share_count ||
					    strlen(plan->shares[i].path) <
						    strlen(plan->shares[next].path)))
				next = i;
		is_done[next] = true;
		if (&plan->shares[next] == root)
			continue;
		snprintf(where, sizeof(where), NEW_ROOT "%s", plan->shares[next].path);
		make_directories(where);
		if (mount_share(&plan->shares[next], where) < 0)
			return -1;
	}
	return 0;
}

static void mount_kernel(void)
{
	static const struct {
		const char *path, *type, *options;
		unsigned long flags;
	} mounts[] = {
		{NEW_ROOT "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
		{NEW_ROOT "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
		{NEW_ROOT "/dev", "devtmpfs", NULL, MS_NOSUID},
		{NEW_ROOT "/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC},
		{NEW_ROOT "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV},
		{NEW_ROOT "/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV},
	};
	unsigned i;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].path, 0755);
		mount("none", mounts[i].path, mounts[i].type, mounts[i].flags, mounts[i].options);
	}
	symlink("/proc/self/fd", NEW_ROOT "/dev/fd");
	symlink("/proc/self/fd/0", NEW_ROOT "/dev/stdin");
	symlink("/proc/self/fd/1", NEW_ROOT "/dev/stdout");
	symlink("/proc/self/fd/2", NEW_ROOT "/dev/stderr");
	mkdir(NEW_ROOT "/run/lock", 01777);
}

/* --- network --- */

static void set_address(void *to, uint32_t address)
{
	const struct sockaddr_in internet = {.sin_family = AF_INET,
					     .sin_addr.s_addr = htonl(address)};

	memcpy(to, &internet, sizeof(internet));
}

static void bring_up(int fd, const char *name, uint32_t address, uint32_t mask)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	set_address(&request.ifr_addr, address);
	ioctl(fd, SIOCSIFADDR, &request);
	set_address(&request.ifr_netmask, mask);
	ioctl(fd, SIOCSIFNETMASK, &request);
	request.ifr_flags = IFF_UP;
	ioctl(fd, SIOCSIFFLAGS, &request);
}

/* What DHCP would tell, without asking (src/net/user.c). */
static void set_network(bool has_network)
{
	static const char resolver[] = "nameserver 10.0.2.3\n";
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), file;
	struct rtentry route;

	if (fd < 0)
		return;
	bring_up(fd, "lo", 0x7f000001, 0xff000000);
	if (has_network) {
		bring_up(fd, "eth0", 0x0a00020f, 0xffffff00);
		memset(&route, 0, sizeof(route));
		set_address(&route.rt_dst, 0);
		set_address(&route.rt_genmask, 0);
		set_address(&route.rt_gateway, 0x0a000202);
		route.rt_flags = RTF_UP | RTF_GATEWAY;
		ioctl(fd, SIOCADDRT, &route);
		/* It may be a link to what only the host has. */
		unlink("/etc/resolv.conf");
		file = open("/etc/resolv.conf", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (file >= 0 && write(file, resolver, sizeof(resolver) - 1) < 0)
			unlink("/etc/resolv.conf");
		close(file);
	}
	close(fd);
}

int make_system(const struct guest_plan *plan)
{
	const struct share_item *root = root_share(plan);

	if (!root)
		return fail("no share is the root directory");
	if (mount_root(root) < 0 || mount_others(plan, root) < 0)
		return -1;
	mount_kernel();
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		return fail("cannot change the root directory");
	if (plan->host && sethostname(plan->host, strlen(plan->host)) < 0)
		return fail("cannot set the host's name");
	/* A root that can be written is the host's own. */
	set_network(plan->has_network && root->is_readonly);
	if (chdir(plan->directory) < 0)
		return fail("cannot go to '%s'", plan->directory);
	return 0;
}

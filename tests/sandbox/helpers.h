/* What the tests of helpers share: monitors that are processes of their own, and results. */
#ifndef KVIK_TESTS_SANDBOX_HELPERS_H
#define KVIK_TESTS_SANDBOX_HELPERS_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/internal.h"
#include "sandbox/sandbox.h"

static unsigned failures;

static inline void expect(const char *about, long result, long wanted)
{
	failures += result != wanted;
	printf("%s %s: %ld, wanted %ld\n", result == wanted ? "PASS" : "FAIL", about, result, wanted);
}

static inline void pause_ms(unsigned milliseconds)
{
	const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static inline void confine_monitor(void)
{
	const struct sandbox_config config = {.uses_helpers = true};
	struct sandbox_report report;
	struct error error;

	if (sandbox_enter(&config, &report, &error) < 0 || sandbox_lock(&config, &report, &error) < 0) {
		printf("FAIL %s\n", error.message);
		_exit(1);
	}
}

/* Whether all children and orphans of this process end within five seconds. */
static inline bool are_all_gone(void)
{
	unsigned tries;
	pid_t pid;

	for (tries = 0; tries < 500; tries++) {
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			return errno == ECHILD;
		pause_ms(10);
	}
	return false;
}

/* Run a monitor to its end; its failures count here. Then nothing of it may be left. */
static inline void run_monitor(const char *about, void (*monitor)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		failures = 0;
		monitor();
		_exit(failures != 0);
	}
	waitpid(pid, &status, 0);
	expect(about, status, 0);
	expect("nothing is left of it", are_all_gone(), true);
}

/* Start a monitor that says on its descriptor when it is ready; kill it then. */
static inline void kill_monitor(const char *about, void (*monitor)(int ready))
{
	int ends[2];
	pid_t pid;
	char byte = 0;

	if (pipe(ends) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		monitor(ends[1]);
		_exit(1);
	}
	close(ends[1]);
	expect("it is ready", read(ends[0], &byte, 1), 1);
	close(ends[0]);
	kill(pid, SIGKILL);
	expect(about, are_all_gone(), true);
}

/* A field of /proc/PID/status; "" where it cannot be read. */
static inline void read_status(const char *pid, const char *field, char *value, size_t size)
{
	char path[300], line[256];
	FILE *file;

	value[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%s/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, field, strlen(field)) && line[strlen(field)] == ':')
			snprintf(value, size, "%s", line + strlen(field) + 2);
	if (file)
		fclose(file);
}

/* The only child of this process, which is not confined yet; 0: there is none, or several. */
static inline pid_t find_child(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	unsigned children = 0;
	char value[256];
	pid_t child = 0;

	while (processes && (entry = readdir(processes))) {
		read_status(entry->d_name, "PPid", value, sizeof(value));
		if (atoi(value) != getpid())
			continue;
		children++;
		child = atoi(entry->d_name);
	}
	if (processes)
		closedir(processes);
	return children == 1 ? child : 0;
}

/* A helper of this process has no way out of its own. */
static inline void expect_confined_child(void)
{
	char value[256], child[16];

	snprintf(child, sizeof(child), "%d", find_child());
	read_status(child, "NoNewPrivs", value, sizeof(value));
	expect("no_new_privs", atoi(value), 1);
	read_status(child, "Seccomp", value, sizeof(value));
	expect("a filter", atoi(value), 2);
	read_status(child, "CapEff", value, sizeof(value));
	expect("no capabilities", value[0] && strtoull(value, NULL, 16) == 0, true);
}

/* Orphans come to this process. */
static inline void adopt_orphans(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

#endif

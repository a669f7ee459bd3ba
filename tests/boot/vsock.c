/*
 * The guest's side of the vsock test.
 *
 *   vsock echo PORT   connections to that port get back what they send
 *   vsock send PORT   standard input goes to that port of the host, what comes back to standard output
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static void fail(const char *what)
{
	fprintf(stderr, "vsock: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_all(int fd, const char *bytes, ssize_t size)
{
	ssize_t written;

	for (; size > 0; bytes += written, size -= written) {
		written = write(fd, bytes, size);
		if (written < 0)
			fail("write");
	}
}

/* Until `from` ends. */
static void copy(int from, int to)
{
	static char bytes[50000];
	ssize_t size;

	while ((size = read(from, bytes, sizeof(bytes))) > 0)
		write_all(to, bytes, size);
	if (size < 0)
		fail("read");
}

static void echo(int fd)
{
	for (;;) {
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			fail("accept");
		if (fork() == 0) {
			copy(peer, peer);
			exit(0);
		}
		close(peer);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc != 3 || fd < 0)
		fail("socket");
	address.svm_port = atoi(argv[2]);
	if (strcmp(argv[1], "echo") == 0) {
		address.svm_cid = VMADDR_CID_ANY;
		if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
			fail("listen");
		printf("echo on %s\n", argv[2]);
		fflush(stdout);
		echo(fd);
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("connect");
	/* One process sends, the other receives: neither waits for the other. */
	if (fork() == 0) {
		copy(0, fd);
		shutdown(fd, SHUT_WR);
		exit(0);
	}
	copy(fd, 1);
	return 0;
}

/* tray open|close DEVICE: the tray of a CD-ROM drive, as eject(1) moves it. */
#include <fcntl.h>
#include <linux/cdrom.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

int main(int count, char **arguments)
{
	int fd = count == 3 ? open(arguments[2], O_RDONLY | O_NONBLOCK) : -1;

	if (fd < 0 || ioctl(fd, CDROM_LOCKDOOR, 0) < 0 ||
	    ioctl(fd, strcmp(arguments[1], "open") == 0 ? CDROMEJECT : CDROMCLOSETRAY, 0) < 0) {
		perror("tray");
		return 1;
	}
	return 0;
}

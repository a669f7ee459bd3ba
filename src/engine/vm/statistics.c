/* The file of statistics: statistics.h. */
#include "engine/vm/statistics.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* F_SEAL_FUTURE_WRITE leaves our own mapping writable (Linux 5.1). */
#define SEALS (F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

#define DESCRIPTOR_SIZE (sizeof(struct kvm_stats_desc) + STATISTICS_NAME_SIZE)

static void describe(char *file, const char *id, const struct statistics_row *rows, unsigned count)
{
	const struct kvm_stats_header header = {
		.name_size = STATISTICS_NAME_SIZE,
		.num_desc = count,
		.id_offset = sizeof(header),
		.desc_offset = sizeof(header) + STATISTICS_NAME_SIZE,
		.data_offset = sizeof(header) + STATISTICS_NAME_SIZE + count * DESCRIPTOR_SIZE,
	};

	assert(header.data_offset % 8 == 0 && header.data_offset + count * 8 <= STATISTICS_SIZE);
	memcpy(file, &header, sizeof(header));
	snprintf(file + header.id_offset, STATISTICS_NAME_SIZE, "%s", id);
	for (unsigned i = 0; i < count; i++) {
		char *place = file + header.desc_offset + i * DESCRIPTOR_SIZE;
		const struct kvm_stats_desc descriptor = {
			.flags = rows[i].flags | KVM_STATS_BASE_POW10,
			.size = 1,
			.offset = i * sizeof(uint64_t),
		};

		memcpy(place, &descriptor, sizeof(descriptor));
		snprintf(place + sizeof(descriptor), STATISTICS_NAME_SIZE, "%s", rows[i].name);
	}
}

static int create(struct statistics *statistics, const char *id, const struct statistics_row *rows,
		  unsigned count)
{
	int fd = memfd_create("kvm-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING), result;
	void *file;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, STATISTICS_SIZE) < 0) {
		result = -errno;
		goto close_fd;
	}
	file = mmap(NULL, STATISTICS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED) {
		result = -errno;
		goto close_fd;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		result = -errno;
		goto unmap;
	}
	describe(file, id, rows, count);
	statistics->fd = fd;
	statistics->file = file;
	statistics->values = (void *)((char *)file + ((struct kvm_stats_header *)file)->data_offset);
	return 0;

unmap:
	munmap(file, STATISTICS_SIZE);
close_fd:
	close(fd);
	return result;
}

int statistics_open(struct statistics *statistics, const char *id, const struct statistics_row *rows,
		    unsigned count)
{
	char path[32];
	int fd, result;

	if (!statistics->file) {
		result = create(statistics, id, rows, count);
		if (result < 0)
			return result;
	}
	/* Each caller gets a position of its own, where the host's /proc can be reached. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", statistics->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = fcntl(statistics->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

void statistics_close(struct statistics *statistics)
{
	if (!statistics->file)
		return;
	munmap(statistics->file, STATISTICS_SIZE);
	close(statistics->fd);
	*statistics = (struct statistics){ 0 };
}

/* A TPM's two interfaces, and the client of its process, with a process that is a thread here and does odd things. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <endian.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/tpm/tpm.h"
#include "util/endian.h"

/* Codes of commands that the peer knows. */
enum { ECHO = 0x100, HANG, DIE, LIE };

struct peer {
	int control, data;
	uint32_t capabilities;
	uint16_t tag;
	_Atomic unsigned inits, cancels;
	_Atomic uint8_t locality;
	uint8_t kept[4]; /* its permanent state, and none else */
	bool lies_of_state;
	pthread_t thread;
};

static void answer(struct peer *peer, uint32_t code, const uint8_t *data, unsigned size)
{
	uint8_t bytes[64] = {peer->tag >> 8, peer->tag & 0xff};

	put_be32(bytes + 2, 10 + size);
	put_be32(bytes + 6, code);
	if (size)
		memcpy(bytes + 10, data, size);
	if (write(peer->data, bytes, 10 + size) < 0)
		return;
}

/* GET_STATEBLOB, whose numbers stand behind the first two. */
static bool give_state(struct peer *peer, const uint8_t *request)
{
	uint8_t rest[8], reply[20] = {0};
	unsigned type, size = 16;

	(void)request;
	if (recv(peer->control, rest, sizeof(rest), MSG_WAITALL) != sizeof(rest))
		return false;
	type = get_be32(rest);
	if (type == 1) {
		put_be32(reply + 4, 2);
		put_be32(reply + 8, peer->lies_of_state ? UINT32_MAX : 4);
		put_be32(reply + 12, peer->lies_of_state ? UINT32_MAX : 4);
		memcpy(reply + 16, peer->kept, 4);
		size = 20;
	} else if (type == 3) {
		put_be32(reply, 0x803); /* there is none */
	}
	return write(peer->control, reply, size) == (ssize_t)size;
}

static bool take_state(struct peer *peer, const uint8_t *request)
{
	uint8_t rest[12], reply[4] = {0};

	if (get_be32(request + 4) != 2 || recv(peer->control, rest, 12, MSG_WAITALL) != 12 || get_be32(rest) != 1 ||
	    get_be32(rest + 4) != 4)
		return false;
	memcpy(peer->kept, rest + 8, 4);
	return write(peer->control, reply, 4) == 4;
}

/* False: it has gone. */
static bool serve_control(struct peer *peer)
{
	uint8_t bytes[8], reply[16] = {0};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} extra;
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = extra.bytes, .msg_controllen = sizeof(extra.bytes)};
	ssize_t size;
	unsigned replied = 4;

	/* Requests come one at a time: each is answered before the next. */
	size = recvmsg(peer->control, &message, MSG_CMSG_CLOEXEC);
	if (size < 4)
		return false;
	switch (get_be32(bytes)) {
	case 1:
		put_be32(reply + 4, peer->capabilities);
		replied = 8;
		break;
	case 2: peer->inits++; break;
	case 3: return false;
	case 4: replied = 8; break;
	case 5: peer->locality = bytes[4]; break;
	case 9:
		peer->cancels++;
		answer(peer, 0x909, NULL, 0);
		break;
	case 12: return give_state(peer, bytes);
	case 13: return take_state(peer, bytes);
	case 16: memcpy(&peer->data, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int)); break;
	case 17: replied = 16; break;
	default: break;
	}
	return write(peer->control, reply, replied) == (ssize_t)replied;
}

static bool serve_data(struct peer *peer)
{
	uint8_t command[TPM_BUFFER_BYTES], lie[10] = {0x80, 1, 0, 0, 0x13, 0x88};
	ssize_t size;

	/* One command, and not what may stand behind it. */
	if (recv(peer->data, command, 10, MSG_WAITALL) != 10)
		return false;
	size = get_be32(command + 2);
	if (size < 10 || size > (ssize_t)sizeof(command) ||
	    (size > 10 && recv(peer->data, command + 10, size - 10, MSG_WAITALL) != size - 10))
		return false;
	switch (get_be32(command + 6)) {
	case HANG: return true;
	case DIE: return false;
	case LIE: return write(peer->data, lie, sizeof(lie)) == sizeof(lie);
	default: answer(peer, 0, command + 10, size - 10); return true;
	}
}

static void *be_peer(void *context)
{
	struct peer *peer = context;
	struct pollfd fds[2];
	bool lives = true;

	while (lives) {
		fds[0] = (struct pollfd){.fd = peer->control, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = peer->data, .events = POLLIN};
		if (poll(fds, 2, -1) < 0)
			break;
		if (fds[0].revents)
			lives = serve_control(peer);
		if (lives && fds[1].revents)
			lives = serve_data(peer);
	}
	close(peer->control);
	if (peer->data >= 0)
		close(peer->data);
	return NULL;
}

struct rig {
	struct peer peer;
	struct event_loop *loop;
	struct event_timer timer;
	struct tpm_tis *tis;
	struct tpm_crb *crb;
};

static void stop(void *context)
{
	event_loop_stop(context);
}

/* NULL: it cannot be agreed with. */
static struct tpm_emulator *begin(struct rig *rig, uint32_t capabilities, uint16_t tag, struct error *error)
{
	int pair[2];

	memset(rig, 0, sizeof(*rig));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	rig->peer = (struct peer){.control = pair[1], .data = -1, .capabilities = capabilities, .tag = tag};
	rig->loop = event_loop_create(error);
	assert_int_equal(event_timer_init(&rig->timer, rig->loop, stop, rig->loop), 0);
	assert_int_equal(pthread_create(&rig->peer.thread, NULL, be_peer, &rig->peer), 0);
	return tpm_emulator_create(pair[0], error);
}

static void end(struct rig *rig)
{
	if (rig->tis)
		tpm_tis_device_ops.destroy(rig->tis);
	if (rig->crb)
		tpm_crb_device_ops.destroy(rig->crb);
	pthread_join(rig->peer.thread, NULL);
	event_timer_destroy(&rig->timer);
	event_loop_destroy(rig->loop);
}

/* Let the I/O thread work for a moment. */
static void spin(struct rig *rig)
{
	event_timer_set(&rig->timer, monotonic_ns() + 1000000, 0);
	assert_int_equal(event_loop_run(rig->loop), 0);
}

#define GOOD 0xffff

static void begin_tis(struct rig *rig)
{
	struct error error;
	struct tpm_emulator *emulator = begin(rig, GOOD, 0x8001, &error);

	assert_non_null(emulator);
	rig->tis = tpm_tis_create(emulator, rig->loop, &error);
	assert_non_null(rig->tis);
	tpm_tis_device_ops.reset(rig->tis);
}

static uint64_t tis_read(struct rig *rig, unsigned locality, unsigned offset, unsigned size)
{
	return tpm_tis_mmio_ops.read(rig->tis, locality << 12 | offset, size);
}

static void tis_write(struct rig *rig, unsigned locality, unsigned offset, unsigned size, uint64_t value)
{
	tpm_tis_mmio_ops.write(rig->tis, locality << 12 | offset, size, value);
}

static void wait_status(struct rig *rig, unsigned locality, uint32_t bit)
{
	unsigned rounds = 0;

	while (!(tis_read(rig, locality, 0x18, 4) & bit)) {
		assert_true(rounds++ < 20000);
		spin(rig);
	}
}

static void tis_send(struct rig *rig, unsigned locality, uint32_t code)
{
	uint8_t command[14] = {0x80, 1, 0, 0, 0, sizeof(command), 0, 0, code >> 8, code & 0xff, 1, 2, 3, 4};
	unsigned i;

	tis_write(rig, locality, 0x18, 1, 0x40);
	wait_status(rig, locality, 0x40);
	for (i = 0; i < sizeof(command); i++) {
		if (i)
			assert_int_equal(tis_read(rig, locality, 0x18, 1) & 0x88, 0x88); /* valid, and expects more */
		tis_write(rig, locality, i % 2 ? 0x80 : 0x24, 1, command[i]);
	}
	assert_int_equal(tis_read(rig, locality, 0x18, 1) & 0x88, 0x80);
	tis_write(rig, locality, 0x24, 1, 99); /* one too many: dropped */
	tis_write(rig, locality, 0x18, 1, 0x20);
}

/* Its code; `data`, if there has to be an echo. */
static uint32_t tis_receive(struct rig *rig, unsigned locality, bool has_data)
{
	uint8_t bytes[14];
	unsigned i, burst;

	wait_status(rig, locality, 0x10);
	burst = tis_read(rig, locality, 0x18, 4) >> 8 & 0xffff;
	assert_int_equal(burst, has_data ? 14 : 10);
	for (i = 0; i < burst; i++)
		bytes[i] = tis_read(rig, locality, 0x24, 1);
	assert_int_equal(tis_read(rig, locality, 0x18, 1) & 0x10, 0);
	assert_int_equal(tis_read(rig, locality, 0x24, 1), 0xff);
	if (has_data)
		assert_memory_equal(bytes + 10, "\1\2\3\4", 4);
	return get_be32(bytes + 6);
}

static void test_tis(void **state)
{
	struct rig rig;

	(void)state;
	begin_tis(&rig);
	assert_int_equal(tis_read(&rig, 0, 0xf00, 4), 0x00011014);
	assert_int_equal(tis_read(&rig, 0, 0x00, 1), 0x81);
	assert_int_equal(tis_read(&rig, 0, 0x18, 4), 0xffffffff); /* of nobody */
	tis_write(&rig, 0, 0x00, 1, 0x02);
	assert_int_equal(tis_read(&rig, 0, 0x00, 1), 0xa1);
	tis_write(&rig, 0, 0x18, 1, 0x20); /* nothing to execute */
	tis_send(&rig, 0, ECHO);
	assert_int_equal(tis_receive(&rig, 0, true), 0);
	tis_write(&rig, 0, 0x18, 1, 0x02); /* once more */
	assert_int_equal(tis_receive(&rig, 0, true), 0);
	/* Cancelled, and aborted. */
	tis_send(&rig, 0, HANG);
	spin(&rig);
	tis_write(&rig, 0, 0x18, 4, 1 << 24);
	assert_int_equal(tis_receive(&rig, 0, false), 0x909);
	tis_send(&rig, 0, HANG);
	spin(&rig);
	tis_send(&rig, 0, ECHO);
	assert_int_equal(tis_receive(&rig, 0, true), 0);
	assert_int_equal(rig.peer.cancels, 2);
	end(&rig);
}

static void test_localities(void **state)
{
	struct rig rig;

	(void)state;
	begin_tis(&rig);
	tis_write(&rig, 0, 0x00, 1, 0x02);
	tis_write(&rig, 1, 0x00, 1, 0x02);
	assert_int_equal(tis_read(&rig, 0, 0x00, 1), 0xa5); /* another one wants it */
	assert_int_equal(tis_read(&rig, 1, 0x00, 1), 0x83);
	tis_send(&rig, 0, HANG);
	spin(&rig);
	tis_write(&rig, 2, 0x00, 1, 0x08); /* seized from what executes */
	assert_int_equal(tis_read(&rig, 2, 0x00, 1), 0xa5);
	assert_int_equal(tis_read(&rig, 0, 0x00, 1), 0x95);
	tis_write(&rig, 0, 0x00, 1, 0x10);
	assert_int_equal(tis_read(&rig, 0, 0x00, 1), 0x85);
	tis_write(&rig, 1, 0x00, 1, 0x08); /* not from a higher one */
	assert_int_equal(tis_read(&rig, 1, 0x00, 1), 0x83);
	tis_send(&rig, 2, ECHO); /* waits for what was aborted */
	assert_int_equal(tis_receive(&rig, 2, true), 0);
	assert_int_equal(rig.peer.locality, 2);
	tis_write(&rig, 2, 0x00, 1, 0x20);
	assert_int_equal(tis_read(&rig, 1, 0x00, 1), 0xa1); /* it is its turn */
	tis_send(&rig, 1, ECHO);
	assert_int_equal(tis_receive(&rig, 1, true), 0);
	assert_int_equal(rig.peer.locality, 1);
	end(&rig);
}

static void test_reset(void **state)
{
	struct rig rig;

	(void)state;
	begin_tis(&rig);
	tis_write(&rig, 0, 0x00, 1, 0x02);
	tis_send(&rig, 0, HANG);
	spin(&rig);
	tpm_tis_device_ops.reset(rig.tis);
	assert_int_equal(tis_read(&rig, 0, 0x00, 1), 0x81);
	tis_write(&rig, 0, 0x00, 1, 0x02);
	tis_send(&rig, 0, ECHO);
	assert_int_equal(tis_receive(&rig, 0, true), 0);
	assert_int_equal(rig.peer.inits, 3); /* to agree, and at two resets */
	end(&rig);
}

static void save(struct rig *rig, struct state_stream *state)
{
	state_save_begin(state);
	state_section_begin(state, "tpm", 1);
	tpm_tis_device_ops.save(rig->tis, state);
	state_section_end(state);
}

/* What is under way is answered first; then the TPM's own state goes into another, which goes on there. */
static void test_state(void **unused)
{
	struct state_stream state, loading;
	struct rig rig, other;
	const void *bytes;
	struct error error;
	size_t size;

	(void)unused;
	begin_tis(&rig);
	memcpy(rig.peer.kept, "kept", 4);
	tis_write(&rig, 0, 0x00, 1, 0x02);
	tis_send(&rig, 0, ECHO);
	save(&rig, &state);
	assert_int_equal(state_saved(&state, &bytes, &size, &error), 0);
	assert_int_equal(tis_receive(&rig, 0, true), 0);
	begin_tis(&other);
	state_load_begin(&loading, bytes, size);
	state_section_begin(&loading, "tpm", 1);
	tpm_tis_device_ops.load(other.tis, &loading);
	state_section_end(&loading);
	assert_int_equal(state_loaded(&loading, &error), 0);
	assert_memory_equal(other.peer.kept, "kept", 4);
	assert_int_equal(tis_receive(&other, 0, true), 0);
	tis_send(&other, 0, ECHO);
	assert_int_equal(tis_receive(&other, 0, true), 0);
	state_end(&state);
	end(&other);
	/* It has more than anybody would keep; it does not answer. */
	rig.peer.lies_of_state = true;
	save(&rig, &state);
	assert_true(state_saved(&state, &bytes, &size, &error) < 0);
	state_end(&state);
	tis_write(&rig, 0, 0x18, 1, 0x40);
	tis_send(&rig, 0, DIE);
	save(&rig, &state);
	assert_true(state_saved(&state, &bytes, &size, &error) < 0);
	state_end(&state);
	end(&rig);
}

/* A peer that goes, or says what is no answer: commands fail from then on, and nothing hangs. */
static void test_broken(void **state)
{
	static const unsigned codes[] = {DIE, LIE};
	struct rig rig;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		begin_tis(&rig);
		tis_write(&rig, 0, 0x00, 1, 0x02);
		tis_send(&rig, 0, codes[i]);
		assert_int_equal(tis_receive(&rig, 0, false), 0x101);
		tis_send(&rig, 0, ECHO);
		assert_int_equal(tis_receive(&rig, 0, false), 0x101);
		tpm_tis_device_ops.reset(rig.tis);
		tis_write(&rig, 0, 0x00, 1, 0x02);
		tis_send(&rig, 0, ECHO);
		assert_int_equal(tis_receive(&rig, 0, false), 0x101);
		end(&rig);
	}
}

static uint32_t crb_read(struct rig *rig, unsigned offset)
{
	return tpm_crb_mmio_ops.read(rig->crb, offset, 4);
}

static void test_crb(void **state)
{
	static const uint8_t command[] = {0x80, 1, 0, 0, 0, 14, 0, 0, ECHO >> 8, ECHO & 0xff, 1, 2, 3, 4};
	struct error error;
	struct rig rig;
	struct tpm_emulator *emulator = begin(&rig, GOOD, 0x8001, &error);
	unsigned i, rounds = 0;

	(void)state;
	assert_non_null(emulator);
	rig.crb = tpm_crb_create(emulator, rig.loop, &error);
	assert_non_null(rig.crb);
	tpm_crb_device_ops.reset(rig.crb);
	assert_int_equal(crb_read(&rig, 0x00), 0x81);
	assert_int_equal(crb_read(&rig, 0x30) & 0xf, 1);
	assert_int_equal(crb_read(&rig, 0x44), 2);
	assert_int_equal(crb_read(&rig, 0x5c), 0xfed40080);
	assert_int_equal(crb_read(&rig, 0x58), 0xf80);
	tpm_crb_mmio_ops.write(rig.crb, 0x4c, 4, 1); /* nobody may */
	assert_int_equal(crb_read(&rig, 0x4c), 0);
	tpm_crb_mmio_ops.write(rig.crb, 0x08, 4, 1);
	assert_int_equal(crb_read(&rig, 0x0c), 1);
	tpm_crb_mmio_ops.write(rig.crb, 0x40, 4, 1);
	assert_int_equal(crb_read(&rig, 0x44), 0);
	for (i = 0; i < sizeof(command); i++)
		tpm_crb_mmio_ops.write(rig.crb, 0x80 + i, 1, command[i]);
	tpm_crb_mmio_ops.write(rig.crb, 0x4c, 4, 1);
	while (crb_read(&rig, 0x4c)) {
		assert_true(rounds++ < 20000);
		spin(&rig);
	}
	assert_int_equal(be32toh(crb_read(&rig, 0x86)), 0);
	assert_int_equal(crb_read(&rig, 0x8a), 0x04030201);
	tpm_crb_mmio_ops.write(rig.crb, 0x40, 4, 2);
	assert_int_equal(crb_read(&rig, 0x44), 2);
	end(&rig);
}

static void test_refused(void **state)
{
	struct error error;
	struct rig rig;

	(void)state;
	assert_null(begin(&rig, GOOD & ~(1u << 12), 0x8001, &error));
	assert_non_null(strstr(error.message, "cannot do all"));
	end(&rig);
	assert_null(begin(&rig, GOOD, 0x00c4, &error));
	assert_non_null(strstr(error.message, "--tpm2"));
	end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_tis),    cmocka_unit_test(test_localities), cmocka_unit_test(test_reset),
		cmocka_unit_test(test_broken), cmocka_unit_test(test_crb),	  cmocka_unit_test(test_refused),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

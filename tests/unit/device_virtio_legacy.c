/* The legacy interface of virtio over PCI, as a driver of virtio 0.9.5 uses it by ports: a device's identity by
 * its interfaces, queues of one page number, MSI-X's two registers, a network's short headers; drivers that lie,
 * and that mix both interfaces; saved state. */
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "device/virtio/entropy.h"
#include "device/virtio/network.h"
#include "device/virtio/virtio_pci.h"
#include "pci_rig.h"

#define PLACE	     PCI_SLOT_FUNCTION(3, 0)
#define PORT	     0xc000
#define TABLE	     0xd0000000u
#define REGISTERS    0xe0000000u
#define PAGE	     0x10u /* of queue 0; the others 4 pages further each */
#define PAGES_APART  4
#define DATA	     0x80000u
#define PAGE_BYTES   4096u

static struct pci_rig rig;
static struct virtio_pci *device;
static uint16_t available[3], used[3];

static uint32_t in(unsigned offset, unsigned size)
{
	return pio_bus_read(rig.pio, PORT + offset, size);
}

static void out(unsigned offset, unsigned size, uint32_t value)
{
	pio_bus_write(rig.pio, PORT + offset, size, value);
}

static uint32_t config(unsigned offset, unsigned size)
{
	return pci_config_read(rig.bus, PLACE, offset, size);
}

static struct virtio_pci *place(struct virtio_device *virtio, enum virtio_pci_interface interface,
				unsigned slot)
{
	const struct virtio_pci_config where = {.bus = rig.bus, .slot_function = PCI_SLOT_FUNCTION(slot, 0),
						.class_code = 0x00ff00, .interface = interface};
	struct error error;
	struct virtio_pci *pci = virtio_pci_create(&where, virtio, &error);

	assert_non_null(pci);
	return pci;
}

static struct virtio_device *entropy(void)
{
	const struct virtio_host host = {&rig.memory, NULL, VIRTIO_RING_FEATURES};
	struct error error;

	return virtio_entropy_create(&host, &error);
}

static void open_windows(void)
{
	pci_config_write(rig.bus, PLACE, PCI_BAR(0), 4, PORT);
	pci_config_write(rig.bus, PLACE, PCI_BAR(1), 4, TABLE);
	pci_config_write(rig.bus, PLACE, PCI_BAR(4), 4, REGISTERS);
	pci_config_write(rig.bus, PLACE, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

static void open_device(struct virtio_device *virtio)
{
	device = place(virtio, VIRTIO_PCI_TRANSITIONAL, 3);
	open_windows();
	virtio_pci_device_ops.release(device);
	memset(available, 0, sizeof(available));
	memset(used, 0, sizeof(used));
}

static void open_entropy(void)
{
	pci_rig_init(&rig);
	open_device(entropy());
}

static void close_device(void)
{
	virtio_pci_device_ops.destroy(device);
	pci_rig_end(&rig);
}

/* --- a driver --- */

static unsigned queue_size(unsigned queue)
{
	out(VIRTIO_PCI_QUEUE_SEL, 2, queue);
	return in(VIRTIO_PCI_QUEUE_NUM, 2);
}

static void begin(uint32_t features)
{
	out(VIRTIO_PCI_STATUS, 1, 0);
	out(VIRTIO_PCI_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	out(VIRTIO_PCI_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	out(VIRTIO_PCI_GUEST_FEATURES, 4, features);
}

static void put_queue(unsigned queue)
{
	memset(pci_rig_at(&rig, (PAGE + PAGES_APART * queue) * PAGE_BYTES), 0, PAGES_APART * PAGE_BYTES);
	out(VIRTIO_PCI_QUEUE_SEL, 2, queue);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	out(VIRTIO_PCI_QUEUE_PFN, 4, PAGE + PAGES_APART * queue);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), PAGE + PAGES_APART * queue);
	available[queue] = used[queue] = 0;
}

/* A chain of one buffer, and whether it came back: with its length, or -1. */
static int do_chain(unsigned queue, uint32_t gpa, uint32_t size, bool is_writable)
{
	uint32_t base = (PAGE + PAGES_APART * queue) * PAGE_BYTES, number = queue_size(queue), at;
	struct vring_desc *table = pci_rig_at(&rig, base);
	struct vring ring;

	/* §2.7.2 of virtio 1.2, as the driver's header has it. */
	vring_init(&ring, number, table, PAGE_BYTES);
	table[0] = (struct vring_desc){gpa, size, is_writable ? VRING_DESC_F_WRITE : 0, 0};
	ring.avail->ring[available[queue] % number] = 0;
	ring.avail->idx = ++available[queue];
	out(VIRTIO_PCI_QUEUE_NOTIFY, 2, queue);
	if (ring.used->idx == used[queue])
		return -1;
	at = used[queue]++ % number;
	assert_int_equal(ring.used->idx, used[queue]);
	assert_int_equal(ring.used->ring[at].id, 0);
	return ring.used->ring[at].len;
}

/* --- tests --- */

static void test_identity(void **state)
{
	const enum virtio_pci_interface interfaces[] = {VIRTIO_PCI_MODERN, VIRTIO_PCI_TRANSITIONAL,
							VIRTIO_PCI_LEGACY};
	const uint32_t ids[] = {0x10441af4, 0x10051af4, 0x10051af4};
	const uint32_t subsystems[] = {0x11001af4, 0x00041af4, 0x00041af4};
	const uint8_t revisions[] = {1, 0, 0};
	struct virtio_pci *devices[3];
	unsigned i, at, vendors;

	(void)state;
	pci_rig_init(&rig);
	for (i = 0; i < 3; i++) {
		devices[i] = place(entropy(), interfaces[i], 4 + i);
		at = PCI_SLOT_FUNCTION(4 + i, 0);
		assert_int_equal(pci_config_read(rig.bus, at, PCI_VENDOR, 4), ids[i]);
		assert_int_equal(pci_config_read(rig.bus, at, PCI_REVISION, 1), revisions[i]);
		assert_int_equal(pci_config_read(rig.bus, at, PCI_SUBSYSTEM_VENDOR, 4), subsystems[i]);
		/* Ports, where there are any; registers in memory, likewise. */
		pci_config_write(rig.bus, at, PCI_BAR(0), 4, UINT32_MAX);
		assert_int_equal(pci_config_read(rig.bus, at, PCI_BAR(0), 4),
				 interfaces[i] == VIRTIO_PCI_MODERN ? 0 : 0xffffffe1);
		pci_config_write(rig.bus, at, PCI_BAR(4), 4, UINT32_MAX);
		assert_int_equal(pci_config_read(rig.bus, at, PCI_BAR(4), 4),
				 interfaces[i] == VIRTIO_PCI_LEGACY ? 0 : 0xffffc00c);
		vendors = 0;
		for (at = PCI_CAPABILITIES; (at = pci_config_read(rig.bus, PCI_SLOT_FUNCTION(4 + i, 0), at, 1)); at++)
			vendors += pci_config_read(rig.bus, PCI_SLOT_FUNCTION(4 + i, 0), at, 1) == PCI_CAPABILITY_VENDOR;
		/* Of five kinds (§4.1.4), but this device has no configuration. */
		assert_int_equal(vendors, interfaces[i] == VIRTIO_PCI_LEGACY ? 0 : 4);
	}
	for (i = 0; i < 3; i++)
		virtio_pci_device_ops.destroy(devices[i]);
	pci_rig_end(&rig);
}

static void test_queue(void **state)
{
	const uint8_t zeroes[64] = {0};
	uint8_t *data;

	(void)state;
	open_entropy();
	data = pci_rig_at(&rig, DATA);
	assert_int_equal(in(VIRTIO_PCI_HOST_FEATURES, 4), 1u << VIRTIO_RING_F_EVENT_IDX |
								  1u << VIRTIO_RING_F_INDIRECT_DESC |
								  1u << VIRTIO_F_ANY_LAYOUT);
	/* What is not offered is not agreed on, without a word. */
	begin(UINT32_MAX);
	assert_int_equal(in(VIRTIO_PCI_GUEST_FEATURES, 4), in(VIRTIO_PCI_HOST_FEATURES, 4));
	assert_int_equal(in(VIRTIO_PCI_STATUS, 1), 3);
	begin(0);
	/* It may read memory from then on. */
	assert_true(config(PCI_COMMAND, 2) & PCI_COMMAND_MASTER);
	assert_int_equal(queue_size(1), 0);
	assert_true(queue_size(0) >= 8);
	put_queue(0);
	memset(data, 0, 256);
	/* Before DRIVER_OK, as old drivers do. */
	assert_int_equal(do_chain(0, DATA, 64, true), 64);
	assert_memory_not_equal(data, zeroes, 64);
	assert_true(rig.levels[10]);
	assert_int_equal(in(VIRTIO_PCI_ISR, 1), 1);
	assert_false(rig.levels[10]);
	assert_int_equal(in(VIRTIO_PCI_ISR, 1), 0);
	out(VIRTIO_PCI_STATUS, 1, 7);
	assert_int_equal(do_chain(0, DATA + 64, 64, true), 64);
	assert_int_equal(in(VIRTIO_PCI_STATUS, 1), 7);
	/* A queue that is taken away is left alone, and begins anew when it is there again. */
	out(VIRTIO_PCI_QUEUE_PFN, 4, 0);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	assert_int_equal(do_chain(0, DATA + 128, 64, true), -1);
	put_queue(0);
	assert_int_equal(do_chain(0, DATA + 128, 64, true), 64);
	out(VIRTIO_PCI_STATUS, 1, 0);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	assert_int_equal(in(VIRTIO_PCI_STATUS, 1), 0);
	assert_int_equal(in(VIRTIO_PCI_GUEST_FEATURES, 4), 0);
	close_device();
}

static void test_vectors(void **state)
{
	unsigned msix, i;

	(void)state;
	open_entropy();
	for (msix = config(PCI_CAPABILITIES, 1); config(msix, 1) != PCI_CAPABILITY_MSIX;)
		msix = config(msix + 1, 1);
	begin(0);
	put_queue(0);
	/* Without MSI-X there are no such registers, and this device has no configuration. */
	out(VIRTIO_MSI_QUEUE_VECTOR, 2, 1);
	assert_int_equal(in(VIRTIO_MSI_QUEUE_VECTOR, 2), 0);
	pci_config_write(rig.bus, PLACE, msix + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	assert_int_equal(in(VIRTIO_MSI_CONFIG_VECTOR, 2), VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(in(VIRTIO_MSI_QUEUE_VECTOR, 2), VIRTIO_MSI_NO_VECTOR);
	out(VIRTIO_MSI_QUEUE_VECTOR, 2, 2); /* there are two */
	assert_int_equal(in(VIRTIO_MSI_QUEUE_VECTOR, 2), VIRTIO_MSI_NO_VECTOR);
	out(VIRTIO_MSI_QUEUE_VECTOR, 2, 1);
	out(VIRTIO_MSI_CONFIG_VECTOR, 2, 0);
	assert_int_equal(in(VIRTIO_MSI_QUEUE_VECTOR, 2), 1);
	assert_int_equal(in(VIRTIO_MSI_CONFIG_VECTOR, 2), 0);
	for (i = 0; i < 2; i++) {
		pci_rig_set(&rig, TABLE + PCI_MSIX_ENTRY_BYTES * i, 0xfee00000);
		pci_rig_set(&rig, TABLE + PCI_MSIX_ENTRY_BYTES * i + PCI_MSIX_ENTRY_CONTROL, 0);
	}
	assert_int_equal(do_chain(0, DATA, 64, true), 64);
	assert_int_equal(rig.messages, 1);
	assert_false(rig.levels[10]);
	close_device();
}

static void test_hostile(void **state)
{
	const uint32_t pages[] = {0xffffffff, MEMORY_BYTES / PAGE_BYTES - 1, MEMORY_BYTES / PAGE_BYTES};
	unsigned i;

	(void)state;
	open_entropy();
	/* Queues that are not in RAM, or only in part. */
	for (i = 0; i < 3; i++) {
		begin(0);
		out(VIRTIO_PCI_QUEUE_SEL, 2, 0);
		out(VIRTIO_PCI_QUEUE_PFN, 4, pages[i]);
		out(VIRTIO_PCI_STATUS, 1, 7);
		out(VIRTIO_PCI_QUEUE_NOTIFY, 2, 0);
		out(VIRTIO_PCI_QUEUE_NOTIFY, 2, 0xffff);
		/* The bit that tells of it is not for those who do not know it. */
		assert_int_equal(in(VIRTIO_PCI_STATUS, 1), 7);
	}
	/* One that is not there. */
	begin(0);
	out(VIRTIO_PCI_QUEUE_SEL, 2, 7);
	out(VIRTIO_PCI_QUEUE_PFN, 4, PAGE);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	put_queue(0);
	assert_int_equal(do_chain(0, DATA, 8, true), 8);
	/* A buffer outside, and nothing more from that queue until a reset. */
	assert_int_equal(do_chain(0, MEMORY_BYTES - 8, 64, true), -1);
	assert_int_equal(do_chain(0, DATA, 8, true), -1);
	begin(0);
	put_queue(0);
	assert_int_equal(do_chain(0, DATA, 8, true), 8);
	/* Any access at all. */
	srand(7);
	for (i = 0; i < 200000; i++) {
		unsigned size = 1u << rand() % 3, offset = rand() % (32 - size);

		in(offset, size);
		out(offset, size, rand() & rand());
		if (i % 64 == 0)
			virtio_pci_device_ops.reset(device);
	}
	begin(0);
	put_queue(0);
	assert_int_equal(do_chain(0, DATA, 8, true), 8);
	close_device();
}

static void set_modern(unsigned offset, unsigned size, uint64_t value)
{
	mmio_bus_write(rig.mmio, REGISTERS + offset, (const uint8_t *)&value, size);
}

static uint8_t modern_status(void)
{
	uint8_t status;

	mmio_bus_read(rig.mmio, REGISTERS + VIRTIO_PCI_COMMON_STATUS, &status, 1);
	return status;
}

static void agree_modern(void)
{
	set_modern(VIRTIO_PCI_COMMON_STATUS, 1, 3);
	set_modern(VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	set_modern(VIRTIO_PCI_COMMON_GF, 4, 1);
	set_modern(VIRTIO_PCI_COMMON_STATUS, 1, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
}

static void test_mixed(void **state)
{
	(void)state;
	open_entropy();
	agree_modern();
	assert_int_equal(modern_status(), 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	/* Nothing of the other interface until a reset. */
	out(VIRTIO_PCI_GUEST_FEATURES, 4, 0);
	out(VIRTIO_PCI_QUEUE_SEL, 2, 0);
	out(VIRTIO_PCI_QUEUE_PFN, 4, PAGE);
	out(VIRTIO_PCI_STATUS, 1, 7);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	assert_int_equal(modern_status(), 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	/* And the other way round. */
	begin(0);
	put_queue(0);
	agree_modern();
	assert_int_equal(modern_status() & VIRTIO_CONFIG_S_FEATURES_OK, 0);
	assert_int_equal(do_chain(0, DATA, 8, true), 8);
	/* A reset by either is one. */
	set_modern(VIRTIO_PCI_COMMON_STATUS, 1, 0);
	assert_int_equal(in(VIRTIO_PCI_QUEUE_PFN, 4), 0);
	agree_modern();
	assert_int_equal(modern_status(), 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	close_device();
}

static void test_network(void **states)
{
	static const struct virtio_network_config config_of = {.mac = {0x52, 0x54, 0, 1, 2, 3}, .has_mq = true};
	const struct virtio_host host = {&rig.memory, NULL, VIRTIO_RING_FEATURES};
	const uint32_t features[] = {0, 1u << VIRTIO_NET_F_MRG_RXBUF};
	const unsigned headers[] = {10, 12};
	struct net_link link = {.helper = -1};
	uint8_t frame[100], *data;
	struct error error;
	int ends[2];
	unsigned i;

	(void)states;
	pci_rig_init(&rig);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	link.fd = ends[0];
	open_device(virtio_network_create(&host, &link, &config_of, &error));
	assert_int_equal(config(PCI_DEVICE, 2), 0x1000);
	data = pci_rig_at(&rig, DATA);
	for (i = 0; i < 2; i++) {
		begin(features[i]);
		put_queue(0);
		put_queue(1);
		out(VIRTIO_PCI_STATUS, 1, 7);
		memset(data, 0, 200);
		memset(data + headers[i], 7, 60);
		assert_int_equal(do_chain(1, DATA, headers[i] + 60, false), 0);
		assert_int_equal(recv(ends[1], frame, sizeof(frame), 0), 60);
		assert_memory_equal(frame, data + headers[i], 60);
		memset(frame, 9, sizeof(frame));
		memset(data, 0xff, 200);
		assert_int_equal(send(ends[1], frame, sizeof(frame), 0), sizeof(frame));
		assert_int_equal(do_chain(0, DATA, 200, true), headers[i] + sizeof(frame));
		assert_memory_equal(data + headers[i], frame, sizeof(frame));
		assert_int_equal(data[0], 0);
		if (headers[i] == 12)
			assert_int_equal(data[10] | data[11] << 8, 1);
		/* A header alone, or less, is no frame. */
		assert_int_equal(do_chain(1, DATA, headers[i], false), 0);
		assert_int_equal(do_chain(1, DATA, 3, false), 0);
		assert_int_equal(recv(ends[1], frame, sizeof(frame), 0), -1);
	}
	/* Its address is where the configuration begins, and can be written there. */
	assert_int_equal(in(20, 4), 0x01005452);
	out(24, 1, 0xab);
	assert_int_equal(in(24, 2), 0x03ab);
	begin(1u << VIRTIO_NET_F_CTRL_MAC_ADDR);
	assert_int_equal(in(24, 2), 0x0302);
	out(24, 1, 0xcd);
	assert_int_equal(in(24, 2), 0x0302);
	close_device();
	close(ends[1]);
}

static void test_state(void **state)
{
	const void *bytes;
	struct state_stream saved, loading;
	struct virtio_pci *other;
	struct error error;
	size_t size;

	(void)state;
	open_entropy();
	begin(1u << VIRTIO_RING_F_EVENT_IDX);
	put_queue(0);
	assert_int_equal(do_chain(0, DATA, 8, true), 8);
	other = place(entropy(), VIRTIO_PCI_TRANSITIONAL, 4);
	pci_rig_check_state(&virtio_pci_device_ops, device, other);
	virtio_pci_device_ops.destroy(other);
	/* One that has no such interface cannot go on with it. */
	other = place(entropy(), VIRTIO_PCI_MODERN, 4);
	state_save_begin(&saved);
	state_section_begin(&saved, "device", virtio_pci_device_ops.version);
	virtio_pci_device_ops.save(device, &saved);
	state_section_end(&saved);
	assert_int_equal(state_saved(&saved, &bytes, &size, &error), 0);
	state_load_begin(&loading, bytes, size);
	state_section_begin(&loading, "device", virtio_pci_device_ops.version);
	virtio_pci_device_ops.load(other, &loading);
	assert_true(state_loaded(&loading, &error) < 0);
	state_end(&saved);
	state_end(&loading);
	virtio_pci_device_ops.destroy(other);
	close_device();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity), cmocka_unit_test(test_queue),
		cmocka_unit_test(test_vectors),	 cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_mixed),	 cmocka_unit_test(test_network),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

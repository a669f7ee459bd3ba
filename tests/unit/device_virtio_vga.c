/* virtio-vga: where its function has a VGA's half and virtio's. */
#include <linux/virtio_gpu.h>
#include <linux/virtio_pci.h>
#include <stddef.h>

#include "device/display/vga.h"
#include "device/virtio/gpu.h"
#include "device/virtio/virtio_vga.h"
#include "pci_rig.h"

#define PLACE	    PCI_SLOT_FUNCTION(2, 0)
#define FRAMEBUFFER 0xd0000000u
#define REGISTERS   0xe0000000u

static struct pci_rig rig;

static uint32_t peek(uint32_t offset, unsigned size)
{
	uint32_t value = 0;

	mmio_bus_read(rig.mmio, REGISTERS + offset, (uint8_t *)&value, size);
	return value;
}

/* The capabilities say where virtio's half is; before it is the VGA's. */
static void test_vga(void **state)
{
	const struct virtio_gpu_setup setup = {
		.outputs = 2, .width = 1280, .height = 800, .memory_bytes = VIRTIO_GPU_MEMORY_BYTES};
	const struct virtio_host host = {&rig.memory, NULL, VIRTIO_RING_FEATURES};
	struct virtio_pci_config config = {.slot_function = PLACE, .class_code = VIRTIO_VGA_CLASS, .layout = &virtio_vga_layout};
	static const uint32_t places[] = {[VIRTIO_PCI_CAP_COMMON_CFG] = 0x1000, [VIRTIO_PCI_CAP_ISR_CFG] = 0x1800,
					  [VIRTIO_PCI_CAP_DEVICE_CFG] = 0x2000, [VIRTIO_PCI_CAP_NOTIFY_CFG] = 0x3000};
	struct error error;
	struct vga *vga;
	struct virtio_pci *device;
	unsigned at, type, found = 0;
	uint8_t value = 0x12;

	(void)state;
	pci_rig_init(&rig);
	vga = vga_part_create(NULL, 0, &error);
	assert_non_null(vga);
	config.bus = rig.bus;
	config.other = vga;
	device = virtio_pci_create(&config, virtio_gpu_create(&host, &setup, &error), &error);
	assert_non_null(device);
	pci_config_write(rig.bus, PLACE, 0x10, 4, FRAMEBUFFER);
	pci_config_write(rig.bus, PLACE, 0x18, 4, REGISTERS);
	pci_config_write(rig.bus, PLACE, 0x04, 2, 7);
	assert_int_equal(pci_config_read(rig.bus, PLACE, 0, 4), 0x10501af4);
	assert_int_equal(pci_config_read(rig.bus, PLACE, 4, 2), 7);
	assert_int_equal(pci_config_read(rig.bus, PLACE, 8, 4) >> 8, VIRTIO_VGA_CLASS);
	for (at = pci_config_read(rig.bus, PLACE, 0x34, 1); at; at = pci_config_read(rig.bus, PLACE, at + 1, 1)) {
		type = pci_config_read(rig.bus, PLACE, at + 3, 1);
		if (pci_config_read(rig.bus, PLACE, at, 1) != 9 || type == VIRTIO_PCI_CAP_PCI_CFG)
			continue;
		assert_int_equal(pci_config_read(rig.bus, PLACE, at + 4, 1), 2);
		assert_int_equal(pci_config_read(rig.bus, PLACE, at + 8, 4), places[type]);
		found |= 1u << type;
	}
	assert_int_equal(found, 0x1e);
	assert_int_equal(peek(0x1000 + VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	assert_int_equal(peek(0x2000 + offsetof(struct virtio_gpu_config, num_scanouts), 4), 2);
	/* The VBE extensions' identity, and their width there and back; the picture is the framebuffer's. */
	assert_int_equal(peek(0x500, 2) & 0xfff0, 0xb0c0);
	mmio_bus_write(rig.mmio, REGISTERS + 0x502, (const uint8_t *)"\x80\2", 2);
	assert_int_equal(peek(0x502, 2), 640);
	assert_int_equal(peek(0x604, 4), 0x1e1e1e1e);
	mmio_bus_write(rig.mmio, FRAMEBUFFER + 0x10, &value, 1);
	value = 0;
	mmio_bus_read(rig.mmio, FRAMEBUFFER + 0x10, &value, 1);
	assert_int_equal(value, 0x12);
	virtio_pci_device_ops.destroy(device);
	vga_part_device_ops.destroy(vga);
	pci_rig_end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vga)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

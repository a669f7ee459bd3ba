/* Saved and loaded: the interrupt controllers of a split irqchip. */
#include "device_state.h"

#include "device/split_irqchip.h"

/* --- interrupt controllers --- */

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
	(void)fd;
	(void)argument;
	return request == KVM_SIGNAL_MSI;
}

static void no_kick(void *context)
{
	(void)context;
}

static const struct kvm_backend backend = {.name = "fake", .ioctl = fake_ioctl};
static const struct kvm_system kvm = {.backend = &backend};
static const struct kvm_vm vm = {.system = &kvm};

static void irqchip_create(struct world *world)
{
	struct error error;

	world->routes = gsi_routes_create(&vm, &error);
	adopt(world, "irqchip", &split_irqchip_device_ops,
	      split_irqchip_create(&vm, world->routes, world->loop, no_kick, NULL, &error));
}

static void irqchip_stir(struct world *world)
{
	static const uint8_t pic[][2] = {{0, 0x11}, {1, 0x20}, {1, 0x04},
	                                 {1, 0x03}, {1, 0xa0}, {0, 0x0b}};
	static const uint8_t pit[][2] = {{3, 0x34}, {0, 0x10}, {0, 0x27},
	                                 {3, 0xb0}, {2, 0x05}, {3, 0x40}};
	void *device = world->device.device;
	unsigned i;

	for (i = 0; i < sizeof(pic) / sizeof(pic[0]); i++)
		split_irqchip_master_pio_ops.write(device, pic[i][0], 1, pic[i][1]);
	split_irqchip_elcr_pio_ops.write(device, 1, 1, 0x0c);
	for (i = 0; i < sizeof(pit) / sizeof(pit[0]); i++)
		split_irqchip_pit_pio_ops.write(device, pit[i][0], 1, pit[i][1]);
	split_irqchip_port_61_pio_ops.write(device, 0, 1, 0x02);
	split_irqchip_ioapic_mmio_ops.write(device, 0, 4, 0x24);
	split_irqchip_ioapic_mmio_ops.write(device, 0x10, 4,
	                                    0x8031); /* pin 10: level, vector 0x31 */
	split_irqchip_set_line(device, 10, true);
	split_irqchip_set_line(device, 4, true);
}

static size_t irqchip_look(struct world *world, uint8_t *seen)
{
	void *device = world->device.device;
	size_t size = 0;
	unsigned i;
	uint32_t value;

	size += read_ports(&split_irqchip_master_pio_ops, device, 0, 2, seen + size);
	size += read_ports(&split_irqchip_slave_pio_ops, device, 0, 2, seen + size);
	size += read_ports(&split_irqchip_elcr_pio_ops, device, 0, 2, seen + size);
	seen[size++] = split_irqchip_port_61_pio_ops.read(device, 0, 1) & 0x03;
	/* The high byte of channel 2, whose low byte is awaited. */
	split_irqchip_pit_pio_ops.write(device, 3, 1, 0xe8); /* read back its status */
	seen[size++] = split_irqchip_pit_pio_ops.read(device, 2, 1) & 0x3f;
	for (i = 0x10; i < 0x40; i++) {
		split_irqchip_ioapic_mmio_ops.write(device, 0, 4, i);
		value = split_irqchip_ioapic_mmio_ops.read(device, 0x10, 4);
		memcpy(seen + size, &value, 4);
		size += 4;
	}
	return size;
}

const struct subject state_irqchip_subjects[] = {
    {"interrupt controllers", irqchip_create, irqchip_stir, irqchip_look},
    {NULL},
};

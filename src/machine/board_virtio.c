/* How virtio devices come onto a board. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device/e1000e.h"
#include "device/virtio/console.h"
#include "device/virtio/disk.h"
#include "device/virtio/filesystem.h"
#include "device/virtio/network.h"
#include "device/virtio/virtio_mmio.h"
#include "device/virtio/virtio_pci.h"
#include "device/virtio/vsock.h"
#include "machine/board.h"
#include "machine/board_parts.h"

#define CLASS_NET  0x020000 /* Ethernet */
#define CLASS_CONSOLE 0x078000 /* communication, other */
#define CLASS_STORAGE 0x018000 /* mass storage, other */
#define CLASS_DISK 0x010000 /* a SCSI controller, as QEMU has it */

struct virtio_host board_virtio_host(const struct board *board, const struct board_rings *rings)
{
	uint64_t features = VIRTIO_RING_FEATURES;

	if (rings->is_packed)
		features |= VIRTIO_PACKED;
	if (rings->has_no_event_index)
		features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	if (rings->has_no_indirect)
		features &= ~(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	return (struct virtio_host){
		.memory = &board->config.ram->memory,
		.loop = board->config.loop,
		.has_threads = true,
		.ring_features = features,
	};
}

/* Pins of the I/O APIC that nothing else on a microvm has; PCI's only where there is no PCI bus. */
static int choose_gsi(const struct board *board, const char *name, struct error *error)
{
	static const uint8_t gsis[VIRTIO_MMIO_MAX] = {20, 21, 22, 23, 10, 11, 12, 13, 14,
						      15, 5,  6,  7,  16, 17, 18, 19};
	unsigned count = board->pci ? VIRTIO_MMIO_MAX - PCI_PINS : VIRTIO_MMIO_MAX;

	if (board->virtio_count == count)
		return error_set(error, ENOSPC,
				 "%s: a microvm has at most %u virtio devices: use --machine pc", name,
				 count);
	return gsis[board->virtio_count];
}

static int add_mmio(struct board *board, const char *name, struct virtio_device *virtio,
		    unsigned place, struct error *error)
{
	struct virtio_mmio_config config = {
		.irq = board->config.irq,
		.gpa = VIRTIO_MMIO_GPA + board->virtio_count * VIRTIO_MMIO_BYTES,
		.vm = board->config.vm,
	};
	struct virtio_mmio *mmio;
	int gsi = choose_gsi(board, name, error), result;

	if (gsi >= 0 && place != BOARD_ANYWHERE)
		gsi = error_set(error, EINVAL, "%s: a microvm has no PCI slots for it", name);
	if (gsi < 0) {
		virtio->kind->destroy(virtio);
		return gsi;
	}
	config.irq.gsi = gsi;
	mmio = virtio_mmio_create(&config, virtio, error);
	if (!mmio)
		return -ENOMEM;
	result = board_add(board, name, &virtio_mmio_device_ops, mmio, error);
	if (result < 0)
		return result;
	board->virtio_gsi[board->virtio_count++] = gsi;
	return mmio_bus_add(board->config.mmio, config.gpa, VIRTIO_MMIO_BYTES, virtio->kind->name,
			    &virtio_mmio_ops, mmio, error);
}

/* By its place as QEMU has it: a slot of PCI Express is for those who know virtio 1.0. */
static enum virtio_pci_interface choose_interface(enum board_interface interface, unsigned place)
{
	switch (interface) {
	case BOARD_MODERN: return VIRTIO_PCI_MODERN;
	case BOARD_TRANSITIONAL: return VIRTIO_PCI_TRANSITIONAL;
	case BOARD_LEGACY: return VIRTIO_PCI_LEGACY;
	default: break;
	}
	return place != BOARD_ANYWHERE && BOARD_PLACE_PORT(place) ? VIRTIO_PCI_MODERN : VIRTIO_PCI_TRANSITIONAL;
}

/* `config` becomes whole by its place. */
static int add_pci(struct board *board, const char *name, struct virtio_device *virtio, unsigned place,
		   struct virtio_pci_config *config, struct error *error)
{
	struct virtio_pci *pci;
	struct board_seat seat;
	int result = board_find_seat(board, name, place, &seat, error);

	if (result < 0) {
		virtio->kind->destroy(virtio);
		return result;
	}
	config->vm = board->config.vm;
	config->bus = seat.bus;
	config->slot_function = seat.slot_function;
	pci = virtio_pci_create(config, virtio, error);
	return pci ? board_add(board, name, &virtio_pci_device_ops, pci, error) : -ENOMEM;
}

static int add_virtio(struct board *board, const char *name, struct virtio_device *virtio,
		      uint32_t class_code, unsigned place, enum board_interface interface,
		      const struct pci_rom *rom, struct error *error)
{
	struct virtio_pci_config config = {
		.class_code = class_code,
		.interface = choose_interface(interface, place),
		.rom = *rom,
	};

	int result;

	if (board->config.kind == BOARD_MICROVM)
		return add_mmio(board, name, virtio, place, error);
	result = add_pci(board, name, virtio, place, &config, error);
	if (result == 0 && place != BOARD_ANYWHERE && BOARD_PLACE_PORT(place))
		board_note_seat(board, place);
	return result;
}

int board_add_virtio_display(struct board *board, const char *name, struct virtio_device *virtio, uint32_t class_code,
			     const struct virtio_pci_layout *layout, void *other, struct error *error)
{
	unsigned place = board->config.display_place;
	struct virtio_pci_config config = {
		.class_code = class_code, .interface = VIRTIO_PCI_MODERN, .layout = layout, .other = other};

	return board->config.kind == BOARD_MICROVM ? add_mmio(board, name, virtio, place, error)
						   : add_pci(board, name, virtio, place, &config, error);
}

int board_add_virtio(struct board *board, const char *name, struct virtio_device *virtio,
		     uint32_t class_code, unsigned place, enum board_interface interface,
		     struct error *error)
{
	static const struct pci_rom none;

	return add_virtio(board, name, virtio, class_code, place, interface, &none, error);
}

int board_add_virtio_disk(struct board *board, struct board_disk *disk, unsigned number,
			  struct error *error)
{
	struct virtio_host host = board_virtio_host(board, &disk->rings);
	unsigned queues = disk->queues ? disk->queues : board->config.cpus;
	unsigned place = board_is_pc(board) ? board_choose_place(board, disk->pci_place) : disk->pci_place;
	struct virtio_device *virtio;
	char name[STATE_NAME_MAX + 1], path[BOARD_BOOT_PATH];
	int result;

	if (queues > VIRTIO_DISK_QUEUES_MAX)
		queues = VIRTIO_DISK_QUEUES_MAX;
	virtio = virtio_disk_create(&host, disk->block, queues, error);
	disk->block = NULL;
	if (!virtio)
		return -EINVAL;
	snprintf(name, sizeof(name), "disk%u", number);
	if (place != BOARD_ANYWHERE)
		board_add_boot(board, disk, "%s/disk@0,0", board_pci_path(board, place, "scsi", path));
	result = board_add_virtio(board, name, virtio, CLASS_DISK, place, disk->interface, error);
	if (result == 0)
		board_note_seat(board, disk->pci_place);
	return result;
}

static void keep_nic(struct board *board, const struct board_net *net, int helper, struct e1000 *e1000,
		     struct virtio_device *virtio)
{
	struct board_nic *nic;

	if (board->nic_count == BOARD_NETS_MAX)
		return;
	nic = &board->nics[board->nic_count++];
	*nic = (struct board_nic){.seat = board_seat(board, net->place), .helper = helper, .e1000 = e1000, .virtio = virtio};
	strcpy(nic->name, net->name);
}

void board_forget_nics(struct board *board, unsigned seat)
{
	unsigned i;

	for (i = board->nic_count; i-- > 0;)
		if (board->nics[i].seat == seat)
			board->nics[i] = board->nics[--board->nic_count];
}

static const struct board_nic *find_nic(const struct board *board, const char *name)
{
	unsigned i;

	for (i = 0; i < board->nic_count; i++)
		if (strcmp(board->nics[i].name, name) == 0)
			return &board->nics[i];
	return NULL;
}

int board_set_link(struct board *board, const char *name, bool is_up)
{
	const struct board_nic *nic = find_nic(board, name);

	if (nic && nic->e1000)
		e1000_set_link(nic->e1000, is_up);
	else if (nic)
		virtio_network_set_link(nic->virtio, is_up);
	return nic ? 0 : -ENODEV;
}

int board_read_filter(struct board *board, const char *name, struct network_filter *filter, uint8_t mac[MAC_BYTES])
{
	const struct board_nic *nic = find_nic(board, name);

	if (!nic || !nic->virtio)
		return nic ? -ENOTSUP : -ENODEV;
	virtio_network_read_filter(nic->virtio, filter, mac);
	return 0;
}

/* virtio_network_listener. */
static void filter_changes(void *context)
{
	const struct board *board = context;

	event_signal_raise(&board->nic_signal);
}

static void tell_filters(void *context)
{
	const struct board *board = context;
	const struct board_config *config = &board->config;
	unsigned i;

	for (i = 0; i < board->nic_count; i++)
		if (board->nics[i].virtio && virtio_network_take_change(board->nics[i].virtio) && config->filter_changed)
			config->filter_changed(config->filter_context, board->nics[i].name);
}

static int watch_filters(struct board *board, struct error *error)
{
	int result = board->nic_signal.raised || !board->config.loop
			     ? 0
			     : event_signal_init(&board->nic_signal, board->config.loop, tell_filters, board);

	return result < 0 ? error_set_errno(error, -result, "cannot create a network device") : 0;
}

int board_net_helper(const struct board *board, const char *name)
{
	const struct board_nic *nic = find_nic(board, name);

	return nic ? nic->helper : -1;
}

static int add_e1000(struct board *board, struct board_net *net, const char *name, unsigned place,
		     const struct pci_rom *rom, struct error *error)
{
	bool is_e1000e = net->model == BOARD_NET_E1000E;
	struct net_link link = net->link;
	struct board_seat seat;
	struct e1000 *e1000;
	int result;

	if (!board->pci)
		return error_set(error, ENODEV, "%s: an %s needs PCI: use --machine pc", name,
				 is_e1000e ? "e1000e" : "e1000");
	result = board_find_seat(board, name, place, &seat, error);
	if (result < 0)
		return result;
	net->link = (struct net_link){.fd = -1, .helper = -1};
	e1000 = (is_e1000e ? e1000e_create : e1000_create)(seat.bus, seat.slot_function, &link, net->mac, rom, NULL, error);
	result = e1000 ? board_add(board, name, &e1000_device_ops, e1000, error) : -EINVAL;
	if (result == 0)
		keep_nic(board, net, link.helper, e1000, NULL);
	return result;
}

static int add_virtio_net(struct board *board, struct board_net *net, const char *name, unsigned place,
			  const struct pci_rom *rom, struct error *error)
{
	struct virtio_host host = board_virtio_host(board, &net->rings);
	struct virtio_network_config config = {.has_mq = net->has_queues,
					       .without = net->without,
					       .mtu = net->mtu,
					       .listener = {filter_changes, board}};
	struct virtio_device *virtio;
	int helper = net->link.helper, result = watch_filters(board, error);

	if (result < 0)
		return result;
	memcpy(config.mac, net->mac, MAC_BYTES);
	virtio = virtio_network_create(&host, &net->link, &config, error);
	net->link = (struct net_link){.fd = -1, .helper = -1};
	result = virtio ? add_virtio(board, name, virtio, CLASS_NET, place, net->interface, rom, error) : -EINVAL;
	if (result == 0)
		keep_nic(board, net, helper, NULL, virtio);
	return result;
}

int board_add_net(struct board *board, struct board_net *net, unsigned number, struct error *error)
{
	char name[STATE_NAME_MAX + 1];
	struct pci_rom rom = {net->rom, net->rom_size, net->rom_is_adapted};
	unsigned place = board_is_pc(board) ? board_choose_place(board, net->place) : net->place;
	int result;

	snprintf(name, sizeof(name), "net%u", number);
	if (place != BOARD_ANYWHERE)
		board_add_net_boot(board, net, place);
	result = net->model == BOARD_NET_VIRTIO ? add_virtio_net(board, net, name, place, &rom, error)
						: add_e1000(board, net, name, place, &rom, error);
	board_net_close(net);
	if (result == 0)
		board_note_seat(board, net->place);
	return result;
}

int board_add_nets(struct board *board, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < board->config.net_count && result == 0; i++)
		result = board_add_net(board, &board->config.nets[i], i, error);
	return result;
}

static int add_share(struct board *board, struct board_share *share, unsigned number,
		     struct error *error)
{
	struct virtio_host host = board_virtio_host(board, &share->rings);
	struct virtio_device *virtio =
		virtio_filesystem_create(&host, &share->share, share->tag, error);
	char name[STATE_NAME_MAX + 1];

	share->share = (struct share){.socket = -1};
	if (!virtio)
		return -EINVAL;
	snprintf(name, sizeof(name), "share%u", number);
	return board_add_virtio(board, name, virtio, CLASS_STORAGE, share->place,
				share->interface, error);
}

int board_add_shares(struct board *board, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < board->config.share_count && result == 0; i++)
		result = add_share(board, &board->config.shares[i], i, error);
	return result;
}

int board_add_vsock(struct board *board, struct error *error)
{
	struct board_vsock *vsock = board->config.vsock;
	struct virtio_device *virtio;
	struct virtio_host host;

	if (!vsock || !vsock->guest_cid)
		return 0;
	host = board_virtio_host(board, &vsock->rings);
	virtio = virtio_vsock_create(&host, &vsock->host, vsock->guest_cid, error);
	vsock->guest_cid = 0;
	return virtio ? board_add_virtio(board, "vsock0", virtio, CLASS_CONSOLE,
					 vsock->place, BOARD_MODERN, error)
		      : -EINVAL;
}

int board_add_console(struct board *board, struct error *error)
{
	struct virtio_host host = board_virtio_host(board, &board->config.console_rings);
	struct virtio_device *virtio;

	if (!board->config.port_count)
		return 0;
	virtio = virtio_console_create(&host, board->config.ports, board->config.port_count,
				       &board->config.console_listener, error);
	return virtio ? board_add_virtio(board, "console0", virtio, CLASS_CONSOLE,
					 board->config.console_place,
					 board->config.console_interface, error)
		      : -EINVAL;
}

/*
 * QEMU's firmware configuration device (QEMU docs/specs/fw_cfg.rst): selector and data
 * ports, the DMA interface, the file directory.
 *
 * Items are made before the guest runs. It may write to those that say so, by DMA, and cannot make one grow. A DMA
 * descriptor is read from guest memory once and worked on as a copy.
 */
#include "device/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PORT_SELECTOR 0
#define PORT_DATA     1
#define PORT_DMA_HIGH 4
#define PORT_DMA_LOW  8

#define KEY_SIGNATURE 0x00
#define KEY_ID	      0x01
#define KEY_DIRECTORY 0x19
#define KEY_FIRST_FILE 0x20

#define ID_TRADITIONAL 0x1
#define ID_DMA	       0x2

#define DMA_ERROR  0x01
#define DMA_READ   0x02
#define DMA_SKIP   0x04
#define DMA_SELECT 0x08
#define DMA_WRITE  0x10

#define MAX_FILES 32
#define MAX_KEYS  (KEY_FIRST_FILE + MAX_FILES)
#define KEY_LOCAL 0x8000 /* from here on are the architecture's own */
#define MAX_LOCAL 4
#define NAME_BYTES 56

/* Reading zeroes beyond an item's end by DMA is done in pieces of this size. */
#define ZERO_BYTES 4096

struct item {
	uint8_t *data;
	size_t size;
	bool is_writable;
};

struct directory_entry {
	uint32_t size_be;
	uint16_t key_be;
	uint16_t reserved;
	char name[NAME_BYTES];
};

struct dma_descriptor {
	uint32_t control_be, length_be;
	uint64_t address_be;
};

struct fw_cfg {
	pthread_mutex_t lock; /* guards selector, offset, dma_address_high, and the bytes of items */
	const struct guest_memory *memory;
	uint16_t selector;
	size_t offset; /* into the selected item */
	uint32_t dma_address_high;
	struct item items[MAX_KEYS], local[MAX_LOCAL]; /* fixed while the guest runs */
	unsigned file_count;
};

/* Where the item with this key is; NULL: there is no such key. */
static struct item *item_at(struct fw_cfg *fw_cfg, uint16_t key)
{
	if (key < MAX_KEYS)
		return &fw_cfg->items[key];
	return key >= KEY_LOCAL && key - KEY_LOCAL < MAX_LOCAL ? &fw_cfg->local[key - KEY_LOCAL]
							       : NULL;
}

static const struct item *selected_item(struct fw_cfg *fw_cfg)
{
	static const struct item none;
	const struct item *item = item_at(fw_cfg, fw_cfg->selector);

	return item ? item : &none;
}

static void select_item(struct fw_cfg *fw_cfg, uint16_t key)
{
	fw_cfg->selector = key;
	fw_cfg->offset = 0;
}

/* Bytes of the selected item from the offset on, zeroes beyond; the offset stops at the end. */
static uint32_t read_data(struct fw_cfg *fw_cfg, unsigned size)
{
	const struct item *item = selected_item(fw_cfg);
	uint32_t value = 0;
	unsigned i;

	for (i = 0; i < size && fw_cfg->offset < item->size; i++)
		value |= (uint32_t)item->data[fw_cfg->offset++] << (8 * i);
	return value;
}

/* Copy `length` bytes to the guest; false when they don't all go to RAM. */
static bool read_by_dma(struct fw_cfg *fw_cfg, uint64_t gpa, uint64_t length)
{
	static const uint8_t zeroes[ZERO_BYTES];
	const struct item *item = selected_item(fw_cfg);
	uint64_t available = item->size - fw_cfg->offset;
	uint64_t chunk = length < available ? length : available;

	if (gpa + length < gpa || !guest_memory_contains(fw_cfg->memory, gpa, length))
		return false;
	if (chunk &&
	    guest_memory_write(fw_cfg->memory, gpa, item->data + fw_cfg->offset, chunk) < 0)
		return false;
	fw_cfg->offset += chunk;
	for (gpa += chunk, length -= chunk; length; gpa += chunk, length -= chunk) {
		chunk = length < ZERO_BYTES ? length : ZERO_BYTES;
		if (guest_memory_write(fw_cfg->memory, gpa, zeroes, chunk) < 0)
			return false;
	}
	return true;
}

/* Copy `length` bytes from the guest, all inside the selected item; false when they are not, or it is only read. */
static bool write_by_dma(struct fw_cfg *fw_cfg, uint64_t gpa, uint64_t length)
{
	struct item *item = item_at(fw_cfg, fw_cfg->selector);

	if (!item || !item->is_writable || length > item->size - fw_cfg->offset ||
	    guest_memory_read(fw_cfg->memory, gpa, item->data + fw_cfg->offset, length) < 0)
		return false;
	fw_cfg->offset += length;
	return true;
}

static void run_dma(struct fw_cfg *fw_cfg, uint64_t descriptor_gpa)
{
	struct dma_descriptor descriptor;
	uint32_t control, length, result_be;
	uint64_t address, available;
	bool is_good = true;

	if (guest_memory_read(fw_cfg->memory, descriptor_gpa, &descriptor, sizeof(descriptor)) < 0)
		return; /* nowhere to report it */
	control = be32toh(descriptor.control_be);
	length = be32toh(descriptor.length_be);
	address = be64toh(descriptor.address_be);
	if (control & DMA_SELECT)
		select_item(fw_cfg, control >> 16);
	if (control & DMA_READ) {
		is_good = read_by_dma(fw_cfg, address, length);
	} else if (control & DMA_WRITE) {
		is_good = write_by_dma(fw_cfg, address, length);
	} else if (control & DMA_SKIP) {
		available = selected_item(fw_cfg)->size - fw_cfg->offset;
		fw_cfg->offset += length < available ? length : available;
	}
	result_be = htobe32(is_good ? 0 : DMA_ERROR);
	guest_memory_write(fw_cfg->memory, descriptor_gpa, &result_be, sizeof(result_be));
}

static uint32_t fw_cfg_read(void *device, uint16_t offset, unsigned size)
{
	/* Reading the DMA register gives a signature, big-endian: "QEMU CFG" (fw_cfg.rst). */
	static const char signature[8] = "QEMU CFG";
	struct fw_cfg *fw_cfg = device;
	uint32_t value = 0;

	pthread_mutex_lock(&fw_cfg->lock);
	if (offset == PORT_DATA)
		value = read_data(fw_cfg, size);
	else if (offset >= PORT_DMA_HIGH && offset + size <= FW_CFG_PORTS)
		memcpy(&value, signature + (offset - PORT_DMA_HIGH), size);
	pthread_mutex_unlock(&fw_cfg->lock);
	return value;
}

static void fw_cfg_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct fw_cfg *fw_cfg = device;

	pthread_mutex_lock(&fw_cfg->lock);
	if (offset == PORT_SELECTOR && size == 2) {
		select_item(fw_cfg, value);
	} else if (offset == PORT_DMA_HIGH && size == 4) {
		fw_cfg->dma_address_high = be32toh(value);
	} else if (offset == PORT_DMA_LOW && size == 4) {
		run_dma(fw_cfg, (uint64_t)fw_cfg->dma_address_high << 32 | be32toh(value));
		fw_cfg->dma_address_high = 0;
	}
	pthread_mutex_unlock(&fw_cfg->lock);
}

const struct pio_ops fw_cfg_pio_ops = {
	.read = fw_cfg_read,
	.write = fw_cfg_write,
	.widest_access = 4,
};

int fw_cfg_add(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t size)
{
	struct item *item = item_at(fw_cfg, key);
	uint8_t *copy;

	if (!item || size > UINT32_MAX)
		return -EINVAL;
	copy = malloc(size ? size : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, size);
	free(item->data);
	*item = (struct item){copy, size, false};
	return 0;
}

int fw_cfg_add_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size)
{
	struct directory_entry *entry;
	struct item *directory = &fw_cfg->items[KEY_DIRECTORY];
	uint32_t count_be;
	uint8_t *larger;
	int result;

	if (fw_cfg->file_count == MAX_FILES || strlen(name) >= NAME_BYTES)
		return -EINVAL;
	larger = realloc(directory->data, directory->size + sizeof(*entry));
	if (!larger)
		return -ENOMEM;
	directory->data = larger;
	result = fw_cfg_add(fw_cfg, KEY_FIRST_FILE + fw_cfg->file_count, data, size);
	if (result < 0)
		return result;
	entry = (struct directory_entry *)(larger + directory->size);
	memset(entry, 0, sizeof(*entry));
	entry->size_be = htobe32(size);
	entry->key_be = htobe16(KEY_FIRST_FILE + fw_cfg->file_count);
	memcpy(entry->name, name, strlen(name));
	directory->size += sizeof(*entry);
	fw_cfg->file_count++;
	count_be = htobe32(fw_cfg->file_count);
	memcpy(directory->data, &count_be, sizeof(count_be));
	return 0;
}

int fw_cfg_add_writable_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size)
{
	int result = fw_cfg_add_file(fw_cfg, name, data, size);

	if (result == 0)
		fw_cfg->items[KEY_FIRST_FILE + fw_cfg->file_count - 1].is_writable = true;
	return result;
}

/* The file of that name and size, or NULL. */
static struct item *find_file(struct fw_cfg *fw_cfg, const char *name, size_t size)
{
	const struct item *directory = &fw_cfg->items[KEY_DIRECTORY];
	const struct directory_entry *entries;
	struct item *item;
	unsigned i;

	entries = (const struct directory_entry *)(directory->data + sizeof(uint32_t));
	for (i = 0; i < fw_cfg->file_count; i++)
		if (strcmp(entries[i].name, name) == 0)
			break;
	item = &fw_cfg->items[KEY_FIRST_FILE + i];
	return i < fw_cfg->file_count && item->size == size ? item : NULL;
}

int fw_cfg_renew(struct fw_cfg *fw_cfg, uint16_t key, const void *data, size_t size)
{
	struct item *item = item_at(fw_cfg, key);

	if (!item || item->size != size)
		return -EINVAL;
	pthread_mutex_lock(&fw_cfg->lock);
	memcpy(item->data, data, size);
	pthread_mutex_unlock(&fw_cfg->lock);
	return 0;
}

int fw_cfg_renew_file(struct fw_cfg *fw_cfg, const char *name, const void *data, size_t size)
{
	struct item *item = find_file(fw_cfg, name, size);

	if (!item)
		return -EINVAL;
	pthread_mutex_lock(&fw_cfg->lock);
	memcpy(item->data, data, size);
	pthread_mutex_unlock(&fw_cfg->lock);
	return 0;
}

int fw_cfg_read_file(struct fw_cfg *fw_cfg, const char *name, void *data, size_t size)
{
	const struct item *item = find_file(fw_cfg, name, size);

	if (!item)
		return -EINVAL;
	pthread_mutex_lock(&fw_cfg->lock);
	memcpy(data, item->data, size);
	pthread_mutex_unlock(&fw_cfg->lock);
	return 0;
}

static void fw_cfg_reset(void *device)
{
	struct fw_cfg *fw_cfg = device;

	pthread_mutex_lock(&fw_cfg->lock);
	select_item(fw_cfg, KEY_SIGNATURE);
	fw_cfg->dma_address_high = 0;
	pthread_mutex_unlock(&fw_cfg->lock);
}

/* The items aren't part of it: whoever loads has made a board with the same ones. */
static void transfer(struct state_stream *state, struct fw_cfg *fw_cfg)
{
	uint64_t offset = fw_cfg->offset;

	state_u16(state, "selector", &fw_cfg->selector);
	state_u64(state, "offset", &offset);
	state_u32(state, "dma_address_high", &fw_cfg->dma_address_high);
	fw_cfg->offset = offset;
}

static void fw_cfg_save(void *device, struct state_stream *state)
{
	struct fw_cfg *fw_cfg = device;

	pthread_mutex_lock(&fw_cfg->lock);
	transfer(state, fw_cfg);
	pthread_mutex_unlock(&fw_cfg->lock);
}

static void fw_cfg_load(void *device, struct state_stream *state)
{
	struct fw_cfg *fw_cfg = device;
	struct fw_cfg loaded = {.selector = 0};

	transfer(state, &loaded);
	/* Its items, borrowed to check the offset. */
	memcpy(loaded.items, fw_cfg->items, sizeof(loaded.items));
	memcpy(loaded.local, fw_cfg->local, sizeof(loaded.local));
	state_check(state, "offset", loaded.offset <= selected_item(&loaded)->size);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&fw_cfg->lock);
	fw_cfg->selector = loaded.selector;
	fw_cfg->offset = loaded.offset;
	fw_cfg->dma_address_high = loaded.dma_address_high;
	pthread_mutex_unlock(&fw_cfg->lock);
}

static void fw_cfg_destroy(void *device)
{
	struct fw_cfg *fw_cfg = device;
	unsigned i;

	for (i = 0; i < MAX_KEYS; i++)
		free(fw_cfg->items[i].data);
	for (i = 0; i < MAX_LOCAL; i++)
		free(fw_cfg->local[i].data);
	pthread_mutex_destroy(&fw_cfg->lock);
	free(fw_cfg);
}

const struct device_ops fw_cfg_device_ops = {
	.version = 1,
	.reset = fw_cfg_reset,
	.save = fw_cfg_save,
	.load = fw_cfg_load,
	.destroy = fw_cfg_destroy,
};

struct fw_cfg *fw_cfg_create(const struct guest_memory *memory, struct error *error)
{
	struct fw_cfg *fw_cfg = calloc(1, sizeof(*fw_cfg));
	uint32_t id = htole32(ID_TRADITIONAL | ID_DMA), no_files = 0;

	if (!fw_cfg) {
		error_set_errno(error, ENOMEM, "cannot create the firmware configuration device");
		return NULL;
	}
	pthread_mutex_init(&fw_cfg->lock, NULL);
	fw_cfg->memory = memory;
	if (fw_cfg_add(fw_cfg, KEY_SIGNATURE, "QEMU", 4) < 0 ||
	    fw_cfg_add(fw_cfg, KEY_ID, &id, sizeof(id)) < 0 ||
	    fw_cfg_add(fw_cfg, KEY_DIRECTORY, &no_files, sizeof(no_files)) < 0)
		goto fail;
	return fw_cfg;

fail:
	fw_cfg_destroy(fw_cfg);
	error_set_errno(error, ENOMEM, "cannot create the firmware configuration device");
	return NULL;
}

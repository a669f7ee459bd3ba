/* The display as a BIOS and drivers program it, by what is on the screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "device/display/vga.h"

#define FRAMEBUFFER 0xd0000000u
#define REGISTERS   0xd1000000u

struct setting {
	struct pci_bus *bus;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct vga *vga;
	struct picture picture;
};

static int setup(void **state)
{
	static struct setting setting;
	struct pci_bus_config config = {.pio = NULL};
	struct error error;

	setting = (struct setting){.pio = pio_bus_create(), .mmio = mmio_bus_create()};
	config.pio = setting.pio;
	config.mmio = setting.mmio;
	setting.bus = pci_bus_create(&config, &error);
	setting.vga = vga_create(setting.bus, 2 << 3, false, NULL, 0, &error);
	assert_non_null(setting.vga);
	assert_int_equal(pio_bus_add(setting.pio, VGA_FIRST_PORT, VGA_PORTS, "VGA", &vga_pio_ops,
				     setting.vga, &error), 0);
	assert_int_equal(pio_bus_add(setting.pio, VGA_DISPI_FIRST_PORT, VGA_DISPI_PORTS, "VBE",
				     &vga_dispi_pio_ops, setting.vga, &error), 0);
	assert_int_equal(mmio_bus_add(setting.mmio, VGA_WINDOW_GPA, VGA_WINDOW_BYTES, "window",
				      &vga_window_ops, setting.vga, &error), 0);
	pci_config_write(setting.bus, 2 << 3, 0x10, 4, FRAMEBUFFER);
	pci_config_write(setting.bus, 2 << 3, 0x18, 4, REGISTERS);
	pci_config_write(setting.bus, 2 << 3, 0x04, 2, 3);
	*state = &setting;
	return 0;
}

static int teardown(void **state)
{
	struct setting *setting = *state;

	picture_free(&setting->picture);
	vga_device_ops.destroy(setting->vga);
	pci_bus_device_ops.destroy(setting->bus);
	mmio_bus_destroy(setting->mmio);
	pio_bus_destroy(setting->pio);
	return 0;
}

static void set(struct setting *setting, uint16_t port, uint8_t index, uint8_t value)
{
	pio_bus_write(setting->pio, port, 2, index | value << 8);
}

static void set_dispi(struct setting *setting, uint16_t index, uint16_t value)
{
	pio_bus_write(setting->pio, 0x1ce, 2, index);
	pio_bus_write(setting->pio, 0x1cf, 2, value);
}

static uint16_t get_dispi(struct setting *setting, uint16_t index)
{
	pio_bus_write(setting->pio, 0x1ce, 2, index);
	return pio_bus_read(setting->pio, 0x1cf, 2);
}

static void poke(struct setting *setting, uint64_t gpa, uint8_t value)
{
	mmio_bus_write(setting->mmio, gpa, &value, 1);
}

static uint8_t peek(struct setting *setting, uint64_t gpa)
{
	uint8_t value;

	mmio_bus_read(setting->mmio, gpa, &value, 1);
	return value;
}

static void look(struct setting *setting)
{
	picture_free(&setting->picture);
	assert_int_equal(vga_take_picture(setting->vga, &setting->picture), 0);
}

static unsigned pixel(const struct setting *setting, unsigned x, unsigned y)
{
	const uint8_t *at = setting->picture.pixels + 3 * (y * setting->picture.width + x);

	assert_true(x < setting->picture.width && y < setting->picture.height);
	return at[0] << 16 | at[1] << 8 | at[2];
}

/* Colour n of the first 16 is attribute n, palette entry n, of red 4n, green 63 - n and blue n (of 63). */
static unsigned colour(unsigned n)
{
	const unsigned parts[] = {n * 4 & 0x3f, 63 - n, n};
	unsigned i, value = 0;

	for (i = 0; i < 3; i++)
		value = value << 8 | (parts[i] << 2 | parts[i] >> 4);
	return value;
}

static void set_palette(struct setting *setting)
{
	unsigned i;

	pio_bus_write(setting->pio, 0x3c2, 1, 1); /* colour */
	pio_bus_read(setting->pio, 0x3da, 1);
	for (i = 0; i < 16; i++) {
		pio_bus_write(setting->pio, 0x3c0, 1, i);
		pio_bus_write(setting->pio, 0x3c0, 1, i);
	}
	pio_bus_write(setting->pio, 0x3c0, 1, 0x20); /* the screen is on */
	pio_bus_write(setting->pio, 0x3c8, 1, 0);
	for (i = 0; i < 16; i++) {
		pio_bus_write(setting->pio, 0x3c9, 1, i * 4 & 0x3f);
		pio_bus_write(setting->pio, 0x3c9, 1, 63 - i);
		pio_bus_write(setting->pio, 0x3c9, 1, i);
	}
}

/* Columns of characters, scan lines a row, lines; a row in memory is as wide as one on the screen. */
static void set_size(struct setting *setting, unsigned columns, unsigned scan, unsigned lines)
{
	set(setting, 0x3d4, 0x11, 0);
	set(setting, 0x3d4, 0x01, columns - 1);
	set(setting, 0x3d4, 0x09, scan - 1);
	set(setting, 0x3d4, 0x12, lines - 1);
	set(setting, 0x3d4, 0x07, (lines - 1) >> 7 & 2);
	set(setting, 0x3d4, 0x13, columns / 2);
}

/* Text: a font in plane 2, characters and colours by odd and even addresses at 0xb8000, a cursor. */
static void test_text(void **state)
{
	struct setting *setting = *state;
	unsigned i;

	look(setting);
	assert_int_equal(pixel(setting, 0, 0), 0);
	set_palette(setting);
	set_size(setting, 40, 16, 400);
	set(setting, 0x3c4, 1, 1); /* eight dots */
	/* 'A' is a checkerboard's half: 0xf0 in all lines. */
	set(setting, 0x3c4, 4, 0x06);
	set(setting, 0x3c4, 2, 0x04);
	set(setting, 0x3ce, 5, 0);
	set(setting, 0x3ce, 6, 0x04);
	for (i = 0; i < 16; i++)
		poke(setting, 0xa0000 + 'A' * 32 + i, 0xf0);
	set(setting, 0x3c4, 4, 0x02);
	set(setting, 0x3c4, 2, 0x03);
	set(setting, 0x3ce, 5, 0x10);
	set(setting, 0x3ce, 6, 0x0e);
	poke(setting, 0xb8000 + 2 * 41, 'A');
	poke(setting, 0xb8000 + 2 * 41 + 1, 0x2e);
	assert_int_equal(peek(setting, 0xb8000 + 2 * 41), 'A');
	assert_int_equal(peek(setting, 0xb8000 + 2 * 41 + 1), 0x2e);
	/* Another window's addresses are nobody's. */
	assert_int_equal(peek(setting, 0xa0000), 0xff);
	set(setting, 0x3d4, 0x0a, 14);
	set(setting, 0x3d4, 0x0b, 15);
	set(setting, 0x3d4, 0x0e, 0);
	set(setting, 0x3d4, 0x0f, 41);
	look(setting);
	assert_int_equal(setting->picture.width, 320);
	assert_int_equal(setting->picture.height, 400);
	assert_int_equal(pixel(setting, 8, 16), colour(14));
	assert_int_equal(pixel(setting, 11, 29), colour(14));
	assert_int_equal(pixel(setting, 12, 16), colour(2));
	assert_int_equal(pixel(setting, 12, 29), colour(2));
	assert_int_equal(pixel(setting, 12, 30), colour(14)); /* the cursor */
	assert_int_equal(pixel(setting, 16, 16), colour(0));
	/* Scrolled by a row. */
	set(setting, 0x3d4, 0x0d, 40);
	look(setting);
	assert_int_equal(pixel(setting, 8, 0), colour(14));
	/* Nine dots: a ninth that is empty. */
	set(setting, 0x3c4, 1, 0);
	look(setting);
	assert_int_equal(setting->picture.width, 360);
	assert_int_equal(pixel(setting, 9, 0), colour(14));
	assert_int_equal(pixel(setting, 17, 0), colour(2));
	/* The palette is not the program's while the screen is on. */
	pio_bus_read(setting->pio, 0x3da, 1);
	pio_bus_write(setting->pio, 0x3c0, 1, 0x20 | 14);
	pio_bus_write(setting->pio, 0x3c0, 1, 3);
	look(setting);
	assert_int_equal(pixel(setting, 9, 0), colour(14));
}

/* Planes: 16 colours, by the write modes; and reading back. */
static void test_planes(void **state)
{
	struct setting *setting = *state;

	set_palette(setting);
	set_size(setting, 80, 1, 480);
	set(setting, 0x3c4, 4, 0x06);
	set(setting, 0x3c4, 2, 0x0f);
	set(setting, 0x3ce, 5, 0);
	set(setting, 0x3ce, 6, 0x05);
	/* Mode 0, a colour by set/reset, some of eight pixels. */
	set(setting, 0x3ce, 0, 0x0b);
	set(setting, 0x3ce, 1, 0x0f);
	set(setting, 0x3ce, 8, 0x81);
	peek(setting, 0xa0000 + 80);
	poke(setting, 0xa0000 + 80, 0);
	/* Mode 2, the colour is what is written; others stay as they were. */
	set(setting, 0x3ce, 1, 0);
	set(setting, 0x3ce, 5, 2);
	set(setting, 0x3ce, 8, 0x02);
	peek(setting, 0xa0000 + 80);
	poke(setting, 0xa0000 + 80, 0x05);
	look(setting);
	assert_int_equal(setting->picture.width, 640);
	assert_int_equal(setting->picture.height, 480);
	assert_int_equal(pixel(setting, 0, 1), colour(11));
	assert_int_equal(pixel(setting, 1, 1), colour(0));
	assert_int_equal(pixel(setting, 6, 1), colour(5));
	assert_int_equal(pixel(setting, 7, 1), colour(11));
	assert_int_equal(pixel(setting, 0, 0), colour(0));
	/* Plane 0 has bits of 11 and of 5, plane 3 of 11 alone; read mode 1 finds a colour. */
	set(setting, 0x3ce, 4, 0);
	assert_int_equal(peek(setting, 0xa0000 + 80), 0x83);
	set(setting, 0x3ce, 4, 3);
	assert_int_equal(peek(setting, 0xa0000 + 80), 0x81);
	set(setting, 0x3ce, 5, 0x08);
	set(setting, 0x3ce, 2, 5);
	set(setting, 0x3ce, 7, 0x0f);
	assert_int_equal(peek(setting, 0xa0000 + 80), 0x02);
	/* Mode 1 copies all planes; mode 3 and a function of what was there. */
	set(setting, 0x3ce, 5, 0x01);
	peek(setting, 0xa0000 + 80);
	poke(setting, 0xa0000 + 160, 0);
	set(setting, 0x3ce, 5, 0x03);
	set(setting, 0x3ce, 3, 0x18); /* XOR */
	set(setting, 0x3ce, 0, 0x0f);
	set(setting, 0x3ce, 8, 0xff);
	peek(setting, 0xa0000 + 160);
	poke(setting, 0xa0000 + 160, 0x80);
	look(setting);
	assert_int_equal(pixel(setting, 0, 2), colour(11 ^ 15));
	assert_int_equal(pixel(setting, 6, 2), colour(5));
	/* Mode 13h: a byte a pixel, lines doubled. */
	set(setting, 0x3ce, 3, 0);
	set(setting, 0x3ce, 5, 0x40);
	set(setting, 0x3c4, 4, 0x0e);
	set_size(setting, 80, 2, 400);
	poke(setting, 0xa0000 + 320 + 7, 9);
	look(setting);
	assert_int_equal(setting->picture.width, 320);
	assert_int_equal(setting->picture.height, 200);
	assert_int_equal(pixel(setting, 7, 1), colour(9));
}

/* Linear modes by the VBE extensions: by ports and by memory, banks, panning, limits. */
static void test_linear(void **state)
{
	struct setting *setting = *state;
	uint16_t value = 0x41;

	assert_int_equal(get_dispi(setting, 0), 0xb0c5);
	assert_int_equal(get_dispi(setting, 10), 256);
	set_dispi(setting, 4, 2);
	assert_int_equal(get_dispi(setting, 1), 2560);
	set_dispi(setting, 4, 0);
	set_dispi(setting, 1, 640);
	set_dispi(setting, 1, 2561); /* too wide */
	set_dispi(setting, 2, 480);
	set_dispi(setting, 3, 32);
	poke(setting, FRAMEBUFFER, 0x77);
	mmio_bus_write(setting->mmio, REGISTERS + 0x508, (uint8_t *)&value, 2);
	assert_int_equal(get_dispi(setting, 4), 0x41);
	assert_int_equal(peek(setting, FRAMEBUFFER), 0); /* cleared */
	poke(setting, FRAMEBUFFER + (2 * 640 + 3) * 4, 0x11);
	poke(setting, FRAMEBUFFER + (2 * 640 + 3) * 4 + 1, 0x22);
	poke(setting, FRAMEBUFFER + (2 * 640 + 3) * 4 + 2, 0x33);
	look(setting);
	assert_int_equal(setting->picture.width, 640);
	assert_int_equal(setting->picture.height, 480);
	assert_int_equal(pixel(setting, 3, 2), 0x332211);
	set_dispi(setting, 6, 1000); /* a wider virtual screen, panned */
	set_dispi(setting, 8, 2);
	set_dispi(setting, 9, 1);
	poke(setting, FRAMEBUFFER + (1000 + 2) * 4, 0x99);
	look(setting);
	assert_int_equal(pixel(setting, 0, 0), 0x000099);
	/* No further than there is memory. */
	set_dispi(setting, 9, 0xffff);
	assert_int_equal(get_dispi(setting, 9), (16u << 20) / 4000 - 480);
	look(setting);
	/* 16 bits: five, six, five. */
	set_dispi(setting, 4, 0);
	set_dispi(setting, 3, 16);
	set_dispi(setting, 4, 0x41);
	poke(setting, FRAMEBUFFER, 0xe0);
	poke(setting, FRAMEBUFFER + 1, 0x07);
	look(setting);
	assert_int_equal(pixel(setting, 0, 0), 0x00ff00);
	/* The window shows 64 KiB of it. */
	set(setting, 0x3c4, 4, 0x0e);
	set_dispi(setting, 5, 2);
	poke(setting, 0xa0000 + 4, 0x5a);
	assert_int_equal(peek(setting, FRAMEBUFFER + 0x20004), 0x5a);
	assert_int_equal(peek(setting, 0xb0000), 0xff);
}

static void test_file(void **state)
{
	struct setting *setting = *state;
	int fd = memfd_create("picture", 0);
	char header[16] = "";

	/* A longer picture was there before. */
	assert_int_equal(ftruncate(fd, 10 << 20), 0);
	look(setting);
	assert_int_equal(picture_write(&setting->picture, PICTURE_PPM, fd), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 15 + 640 * 480 * 3);
	assert_int_equal(pread(fd, header, 15, 0), 15);
	assert_string_equal(header, "P6\n640 480\n255\n");
	close(fd);
	assert_true(picture_write(&setting->picture, PICTURE_PPM, -1) < 0);
}

static uint32_t number(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* Read back by the format's own rules: chunks, their checksums, the rows in one zlib stream. */
static void test_png(void **state)
{
	struct setting *setting = *state;
	static const uint8_t magic[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
	static uint8_t file[1 << 20], rows[(640 * 3 + 1) * 480];
	const uint8_t *at = file + 8, *compressed = NULL;
	uLongf size = sizeof(rows), packed = 0;
	int fd = memfd_create("picture", 0);
	unsigned y;

	look(setting);
	setting->picture.pixels[640 * 3 * 7 + 5] = 0x42;
	assert_int_equal(picture_write(&setting->picture, PICTURE_PNG, fd), 0);
	assert_true(pread(fd, file, sizeof(file), 0) > 100);
	assert_memory_equal(file, magic, 8);
	assert_int_equal(number(at + 8), 640);
	assert_int_equal(number(at + 12), 480);
	for (;; at += number(at) + 12) {
		assert_int_equal(number(at + 8 + number(at)), crc32(0, at + 4, number(at) + 4));
		if (memcmp(at + 4, "IDAT", 4) == 0) {
			compressed = at + 8;
			packed = number(at);
		}
		if (memcmp(at + 4, "IEND", 4) == 0)
			break;
	}
	assert_int_equal(lseek(fd, 0, SEEK_END), at + 12 - file);
	assert_int_equal(uncompress(rows, &size, compressed, packed), Z_OK);
	assert_int_equal(size, sizeof(rows));
	for (y = 0; y < 480; y++) {
		assert_int_equal(rows[y * 1921], 0);
		assert_memory_equal(rows + y * 1921 + 1, setting->picture.pixels + y * 1920, 1920);
	}
	close(fd);
	assert_true(picture_write(&setting->picture, PICTURE_PNG, -1) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_planes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_linear, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_png, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

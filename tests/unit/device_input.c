/* Keyboard and mouse behind the keyboard controller: what a driver sees of keys and motions. */
#include "device/i8042.h"
#include "device_fixture.h"

#include <stdio.h>

struct world {
	struct fixture keyboard, mouse;
	struct i8042 *controller;
};

static void begin(struct world *world)
{
	struct error error;

	fixture_init(&world->keyboard);
	fixture_init(&world->mouse);
	world->controller =
		i8042_create(&world->keyboard.irq, &world->mouse.irq, &world->keyboard.power, &error);
	assert_non_null(world->controller);
}

static void end(struct world *world)
{
	i8042_device_ops.destroy(world->controller);
}

static uint8_t status(struct world *world)
{
	return i8042_command_pio_ops.read(world->controller, 0, 1);
}

static void command(struct world *world, uint8_t value)
{
	i8042_command_pio_ops.write(world->controller, 0, 1, value);
}

static void data(struct world *world, uint8_t value)
{
	i8042_data_pio_ops.write(world->controller, 0, 1, value);
}

static void configure(struct world *world, uint8_t value)
{
	command(world, 0x60);
	data(world, value);
}

/* All that is there to be read, from the mouse or not, is these bytes. */
static void expect(struct world *world, bool is_aux, const char *hex)
{
	char seen[128] = "";
	unsigned used = 0;

	while ((status(world) & 1) && used + 3 < sizeof(seen)) {
		assert_int_equal(status(world) & 0x20, is_aux ? 0x20 : 0);
		assert_int_equal(world->keyboard.irq_level + 2 * world->mouse.irq_level, is_aux ? 2 : 1);
		used += snprintf(seen + used, sizeof(seen) - used, used ? " %02x" : "%02x",
				 i8042_data_pio_ops.read(world->controller, 0, 1));
	}
	assert_string_equal(seen, hex);
}

static void key(struct world *world, const char *name, bool is_down)
{
	const struct key *key = key_by_name(name, strlen(name));

	assert_non_null(key);
	i8042_key(world->controller, key, is_down);
}

static void mouse(struct world *world, uint8_t value)
{
	command(world, 0xd4);
	data(world, value);
}

/* The controller's own table makes set 1 of what keyboards send in set 2: two sources that must agree. */
static void test_sets_agree(void **state)
{
	unsigned i, made;

	(void)state;
	for (i = 0; i < pc_key_count; i++) {
		if (pc_keys[i].set1 == KEY_PAUSE)
			continue;
		made = pc_keys[i].set2 & 0xff;
		made = made == 0x83 ? 0x41 : made == 0x84 ? 0x54 : key_set2_to_set1[made];
		assert_int_equal((pc_keys[i].set2 & 0xff00) | made, pc_keys[i].set1);
		assert_ptr_equal(key_by_set1(pc_keys[i].set1), &pc_keys[i]);
		assert_ptr_equal(key_by_name(pc_keys[i].name, strlen(pc_keys[i].name)), &pc_keys[i]);
	}
	assert_null(key_by_name("nothing", 7));
	assert_null(key_by_name("es", 2));
}

static void test_translated(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	configure(&world, 0x47);
	key(&world, "a", true);
	key(&world, "a", false);
	key(&world, "delete", true);
	key(&world, "delete", false);
	key(&world, "f7", true);
	key(&world, "f7", false);
	expect(&world, false, "1e 9e e0 53 e0 d3 41 c1");
	assert_int_equal(world.keyboard.irq_rises, 8);
	key(&world, "pause", true);
	key(&world, "pause", false);
	expect(&world, false, "e1 1d 45 e1 9d c5");
	end(&world);
}

static void test_sets(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	configure(&world, 0x07);
	key(&world, "a", true);
	key(&world, "a", false);
	key(&world, "up", true);
	key(&world, "up", false);
	expect(&world, false, "1c f0 1c e0 75 e0 f0 75");
	data(&world, 0xf0);
	data(&world, 0x01);
	expect(&world, false, "fa fa");
	key(&world, "a", true);
	key(&world, "up", false);
	expect(&world, false, "1e e0 c8");
	data(&world, 0xf0);
	data(&world, 0x00);
	expect(&world, false, "fa fa 01");
	data(&world, 0xf0);
	data(&world, 0x03); /* there is no set 3 */
	expect(&world, false, "fa fe");
	/* Disabled, it loses keys; while its clock is held, it keeps them. */
	data(&world, 0xf5);
	expect(&world, false, "fa");
	key(&world, "a", true);
	expect(&world, false, "");
	data(&world, 0xf4);
	expect(&world, false, "fa");
	command(&world, 0xad);
	key(&world, "b", true);
	expect(&world, false, "");
	command(&world, 0xae);
	expect(&world, false, "32");
	/* An answer goes before the keys. */
	command(&world, 0xad);
	key(&world, "b", true);
	data(&world, 0xee);
	expect(&world, false, "ee 32");
	end(&world);
}

/* Whole keys are lost, never parts of them. */
static void test_full(void **state)
{
	struct world world;
	unsigned i, bytes = 0;

	(void)state;
	begin(&world);
	configure(&world, 0x07);
	for (i = 0; i < 200; i++)
		key(&world, "up", false);
	while (status(&world) & 1) {
		static const uint8_t code[] = {0xe0, 0xf0, 0x75};

		assert_int_equal(i8042_data_pio_ops.read(world.controller, 0, 1), code[bytes++ % 3]);
	}
	assert_true(bytes >= 48 && bytes % 3 == 0);
	end(&world);
}

static void test_mouse(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	configure(&world, 0x47);
	command(&world, 0xa9);
	assert_int_equal(i8042_data_pio_ops.read(world.controller, 0, 1), 0);
	command(&world, 0xd3); /* loops back */
	data(&world, 0x5a);
	expect(&world, true, "5a");
	mouse(&world, 0xff);
	expect(&world, true, "fa aa 00");
	i8042_move(world.controller, 5, 5, 0); /* nobody listens yet */
	expect(&world, true, "");
	mouse(&world, 0xf4);
	expect(&world, true, "fa");
	i8042_move(world.controller, 5, -6, 0);
	expect(&world, true, "28 05 fa");
	i8042_press(world.controller, MOUSE_RIGHT, true);
	i8042_press(world.controller, MOUSE_RIGHT, false);
	expect(&world, true, "0a 00 00 08 00 00");
	i8042_move(world.controller, -300, 0, 7); /* no wheel yet; two packets */
	expect(&world, true, "18 01 00 18 d3 00");
	mouse(&world, 0xe9);
	expect(&world, true, "fa 20 02 64");
	/* A keyboard's key goes before the mouse's motion. */
	i8042_move(world.controller, 1, 0, 0);
	key(&world, "a", true);
	assert_int_equal(status(&world) & 0x20, 0x20);
	i8042_data_pio_ops.read(world.controller, 0, 1);
	assert_int_equal(i8042_data_pio_ops.read(world.controller, 0, 1), 0x1e);
	expect(&world, true, "01 00");
	end(&world);
}

static void knock(struct world *world, const uint8_t *rates)
{
	unsigned i;

	for (i = 0; i < 3; i++) {
		mouse(world, 0xf3);
		mouse(world, rates[i]);
		while (status(world) & 1)
			i8042_data_pio_ops.read(world->controller, 0, 1);
	}
	mouse(world, 0xf2);
}

static void test_wheel(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	configure(&world, 0x47);
	knock(&world, (const uint8_t[]){200, 100, 60});
	expect(&world, true, "fa 00");
	knock(&world, (const uint8_t[]){200, 100, 80});
	expect(&world, true, "fa 03");
	mouse(&world, 0xf4);
	expect(&world, true, "fa");
	i8042_move(world.controller, 0, 1, -2);
	i8042_press(world.controller, MOUSE_SIDE, true); /* it has no such button */
	expect(&world, true, "08 00 01 fe");
	knock(&world, (const uint8_t[]){200, 200, 80});
	expect(&world, true, "fa 04");
	i8042_press(world.controller, MOUSE_EXTRA, true);
	i8042_move(world.controller, 0, 0, -1);
	expect(&world, true, "08 00 00 20 08 00 00 2f");
	/* Remote: when it is asked. */
	mouse(&world, 0xf0);
	i8042_move(world.controller, 3, 0, 0);
	expect(&world, true, "fa");
	mouse(&world, 0xeb);
	expect(&world, true, "fa 08 03 00 20");
	end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets_agree), cmocka_unit_test(test_translated),
		cmocka_unit_test(test_sets),	   cmocka_unit_test(test_full),
		cmocka_unit_test(test_mouse),	   cmocka_unit_test(test_wheel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

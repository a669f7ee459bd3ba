/* The owners of a VM's GSI routing table, over a backend that only keeps the table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "device/gsi_routes.h"

#define ROUTES_MAX 44 /* of the backend: four messages beside the controllers' */
#define BAD_DATA   0xbad

static struct {
	unsigned sets;
	unsigned count;
	struct kvm_irq_routing_entry entries[ROUTES_MAX];
} kept;

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
	const struct kvm_irq_routing *table = argument;
	unsigned i;

	(void)fd;
	if (request == KVM_CHECK_EXTENSION)
		return (intptr_t)argument == KVM_CAP_IRQ_ROUTING ? ROUTES_MAX : 0;
	assert_int_equal(request, KVM_SET_GSI_ROUTING);
	assert_true(table->nr <= ROUTES_MAX && table->flags == 0);
	for (i = 0; i < table->nr; i++)
		if (table->entries[i].type == KVM_IRQ_ROUTING_MSI &&
		    table->entries[i].u.msi.data == BAD_DATA)
			return -EINVAL;
	kept.sets++;
	kept.count = table->nr;
	memcpy(kept.entries, table->entries, table->nr * sizeof(kept.entries[0]));
	return 0;
}

static const struct kvm_backend backend = {.name = "fake", .ioctl = fake_ioctl};
static const struct kvm_system kvm = {.backend = &backend};
static const struct kvm_vm vm = {.system = &kvm};

static const struct kvm_irq_routing_entry *find(unsigned gsi)
{
	unsigned i;

	for (i = 0; i < kept.count; i++)
		if (kept.entries[i].gsi == gsi)
			return &kept.entries[i];
	return NULL;
}

static void test_owners(void **state)
{
	struct kvm_irq_routing_entry chips[2] = {
		{.gsi = 1, .type = KVM_IRQ_ROUTING_IRQCHIP},
		{.gsi = 2, .type = KVM_IRQ_ROUTING_MSI, .u.msi.data = BAD_DATA},
	};
	struct gsi_routes *routes;
	struct error error;
	int first, second;

	(void)state;
	memset(&kept, 0, sizeof(kept));
	routes = gsi_routes_create(&vm, &error);
	assert_non_null(routes);
	first = gsi_routes_claim(routes);
	second = gsi_routes_claim(routes);
	assert_true(first >= GSI_ROUTES_MESSAGES && second >= GSI_ROUTES_MESSAGES);
	assert_int_not_equal(first, second);
	assert_int_equal(gsi_routes_set_message(routes, second, 0x1fee00000, 0x41), 0);
	assert_int_equal(gsi_routes_set_chips(routes, chips, 1), 0);
	assert_int_equal(kept.count, 2);
	assert_int_equal(find(1)->type, KVM_IRQ_ROUTING_IRQCHIP);
	assert_int_equal(find(second)->type, KVM_IRQ_ROUTING_MSI);
	assert_int_equal(find(second)->u.msi.address_lo, 0xfee00000);
	assert_int_equal(find(second)->u.msi.address_hi, 1);
	assert_int_equal(find(second)->u.msi.data, 0x41);
	/* The same again is no change; a bad table changes nothing. */
	assert_int_equal(kept.sets, 2);
	assert_int_equal(gsi_routes_set_chips(routes, chips, 1), 0);
	assert_int_equal(kept.sets, 2);
	assert_int_equal(gsi_routes_set_chips(routes, chips, 2), -EINVAL);
	assert_int_equal(kept.count, 2);
	/* A bad message is gone, and the others can be changed after it. */
	assert_int_equal(gsi_routes_set_message(routes, first, 0xfee00000, 0x42), 0);
	assert_int_equal(gsi_routes_set_message(routes, first, 0xfee00000, BAD_DATA), -EINVAL);
	assert_null(find(first));
	assert_int_equal(gsi_routes_set_message(routes, second, 0xfee00000, 0x43), 0);
	assert_int_equal(find(second)->u.msi.data, 0x43);
	assert_int_equal(kept.count, 2);
	gsi_routes_destroy(routes);
}

static void test_limit(void **state)
{
	struct gsi_routes *routes;
	struct error error;
	unsigned i;

	(void)state;
	memset(&kept, 0, sizeof(kept));
	routes = gsi_routes_create(&vm, &error);
	assert_non_null(routes);
	for (i = 0; i < ROUTES_MAX - GSI_ROUTES_CHIPS; i++)
		assert_int_equal(gsi_routes_claim(routes), GSI_ROUTES_MESSAGES + i);
	assert_int_equal(gsi_routes_claim(routes), -ENOSPC);
	assert_int_equal(gsi_routes_set_message(routes, GSI_ROUTES_MESSAGES + 1, 0, 1), 0);
	/* A place that was given back is without its last owner's message. */
	gsi_routes_release(routes, GSI_ROUTES_MESSAGES + 1);
	assert_int_equal(gsi_routes_claim(routes), GSI_ROUTES_MESSAGES + 1);
	assert_int_equal(gsi_routes_set_message(routes, GSI_ROUTES_MESSAGES, 0, 2), 0);
	assert_null(find(GSI_ROUTES_MESSAGES + 1));
	gsi_routes_destroy(routes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The I/O loop: what callbacks may do to sources, their own and others of the same batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/event_loop.h"
#include "util/event_signal.h"

#define SOURCES 8

/* A ready eventfd whose callback does something to all sources that are left. */
struct node {
	struct event_source source;
	struct group *group;
	unsigned index;
};

struct group {
	struct event_loop *loop;
	struct node *nodes[SOURCES]; /* NULL: freed */
	unsigned calls;
	unsigned calls_of[SOURCES];
	void (*act)(struct group *group, unsigned caller);
};

static void node_ready(void *context)
{
	struct node *node = context;
	struct group *group = node->group;

	group->calls++;
	group->calls_of[node->index]++;
	group->act(group, node->index);
}

static void add_node(struct group *group, unsigned index, int fd)
{
	struct node *node = calloc(1, sizeof(*node));

	assert_non_null(node);
	node->group = group;
	node->index = index;
	node->source.fd = fd;
	node->source.ready = node_ready;
	node->source.context = node;
	group->nodes[index] = node;
	assert_int_equal(event_loop_add(group->loop, &node->source), 0);
}

static void free_node(struct group *group, unsigned index)
{
	struct node *node = group->nodes[index];

	if (!node)
		return;
	event_loop_remove(&node->source);
	close(node->source.fd);
	/* Whoever looks at it again sees a source that calls nowhere. */
	memset(node, 0x5a, sizeof(*node));
	free(node);
	group->nodes[index] = NULL;
}

static int ready_fd(void)
{
	int fd = eventfd(1, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void group_init(struct group *group, void (*act)(struct group *group, unsigned caller))
{
	struct error error;
	unsigned i;

	memset(group, 0, sizeof(*group));
	group->act = act;
	group->loop = event_loop_create(&error);
	assert_non_null(group->loop);
	for (i = 0; i < SOURCES; i++)
		add_node(group, i, ready_fd());
}

static void group_destroy(struct group *group)
{
	unsigned i;

	for (i = 0; i < SOURCES; i++)
		free_node(group, i);
	event_loop_destroy(group->loop);
}

/* The first that is called frees all others, which are ready in the same batch. */
static void free_others(struct group *group, unsigned caller)
{
	unsigned i;

	for (i = 0; i < SOURCES; i++)
		if (i != caller)
			free_node(group, i);
	event_loop_stop(group->loop);
}

static void test_free_others(void **state)
{
	struct group group;

	(void)state;
	group_init(&group, free_others);
	assert_int_equal(event_loop_run(group.loop), 0);
	assert_int_equal(group.calls, 1);
	group_destroy(&group);
}

static void free_all(struct group *group, unsigned caller)
{
	unsigned i;

	(void)caller;
	for (i = 0; i < SOURCES; i++)
		free_node(group, i);
	event_loop_stop(group->loop);
}

static void test_free_all(void **state)
{
	struct group group;

	(void)state;
	group_init(&group, free_all);
	assert_int_equal(event_loop_run(group.loop), 0);
	assert_int_equal(group.calls, 1);
	group_destroy(&group);
}

/* New sources take the others' places, descriptors and all, but aren't ready. */
static void replace_others(struct group *group, unsigned caller)
{
	unsigned i;

	for (i = 0; i < SOURCES; i++) {
		if (i != caller) {
			free_node(group, i);
			add_node(group, i, eventfd(0, EFD_CLOEXEC));
		}
	}
	event_loop_stop(group->loop);
}

static void test_replace_others(void **state)
{
	struct group group;

	(void)state;
	group_init(&group, replace_others);
	assert_int_equal(event_loop_run(group.loop), 0);
	assert_int_equal(group.calls, 1);
	group_destroy(&group);
}

static void disable_others(struct group *group, unsigned caller)
{
	unsigned i;

	for (i = 0; i < SOURCES; i++)
		if (i != caller)
			event_source_enable(&group->nodes[i]->source, false);
	if (group->calls == 3)
		event_loop_stop(group->loop);
}

static void test_disable_others(void **state)
{
	struct group group;
	unsigned i, called = 0;

	(void)state;
	group_init(&group, disable_others);
	assert_int_equal(event_loop_run(group.loop), 0);
	for (i = 0; i < SOURCES; i++)
		called += group.calls_of[i] != 0;
	assert_int_equal(called, 1);
	/* What was disabled is still ready when it is enabled again. */
	group.calls = 2;
	for (i = 0; i < SOURCES; i++)
		event_source_enable(&group.nodes[i]->source, group.calls_of[i] == 0);
	assert_int_equal(event_loop_run(group.loop), 0);
	for (i = 0, called = 0; i < SOURCES; i++)
		called += group.calls_of[i] != 0;
	assert_int_equal(called, 2);
	group_destroy(&group);
}

/* Regular files are always ready, and removed in the same ways. */
static void test_always_ready(void **state)
{
	struct group group;
	FILE *file = tmpfile();
	unsigned i;

	(void)state;
	assert_non_null(file);
	group_init(&group, free_others);
	for (i = 0; i < SOURCES; i++) {
		free_node(&group, i);
		add_node(&group, i, dup(fileno(file)));
	}
	assert_int_equal(event_loop_run(group.loop), 0);
	assert_int_equal(group.calls, 1);
	group_destroy(&group);
	fclose(file);
}

/* More sources than a wait fetches: none is forgotten. */
static void stop_after_many(struct group *group, unsigned caller)
{
	uint64_t value;

	assert_int_equal(read(group->nodes[caller]->source.fd, &value, sizeof(value)),
	                 sizeof(value));
	if (group->calls == SOURCES)
		event_loop_stop(group->loop);
}

static void test_many(void **state)
{
	struct group groups[8];
	unsigned i, k;

	(void)state;
	group_init(&groups[0], stop_after_many);
	for (k = 1; k < 8; k++) {
		memset(&groups[k], 0, sizeof(groups[k]));
		groups[k].act = stop_after_many;
		groups[k].loop = groups[0].loop;
		for (i = 0; i < SOURCES; i++)
			add_node(&groups[k], i, ready_fd());
	}
	for (k = 0; k < 8; k++)
		while (groups[k].calls < SOURCES)
			assert_int_equal(event_loop_run(groups[0].loop), 0);
	for (k = 0; k < 8; k++)
		for (i = 0; i < SOURCES; i++)
			assert_int_equal(groups[k].calls_of[i], 1);
	for (k = 1; k < 8; k++)
		for (i = 0; i < SOURCES; i++)
			free_node(&groups[k], i);
	group_destroy(&groups[0]);
}

/* -- signals -- */

struct raised {
	struct event_loop *loop;
	struct event_signal signal, last;
	unsigned times;
};

static void raised(void *context)
{
	struct raised *raised = context;

	/* Raised again from within, it comes again. */
	if (++raised->times == 1)
		event_signal_raise(&raised->signal);
	else
		event_signal_raise(&raised->last);
}

static void last_raised(void *context)
{
	struct raised *raised = context;

	event_signal_destroy(&raised->last);
	event_loop_stop(raised->loop);
}

/* What is raised before the loop looks comes as one; one may be destroyed by what it calls. */
static void test_signal(void **state)
{
	struct raised raising = {.loop = event_loop_create(NULL)};

	assert_non_null(raising.loop);
	event_signal_raise(&raising.signal); /* none yet: nothing */
	event_signal_destroy(&raising.signal);
	assert_int_equal(event_signal_init(&raising.signal, raising.loop, raised, &raising), 0);
	assert_int_equal(event_signal_init(&raising.last, raising.loop, last_raised, &raising), 0);
	event_signal_raise(&raising.signal);
	event_signal_raise(&raising.signal);
	event_signal_raise(&raising.signal);
	assert_int_equal(event_loop_run(raising.loop), 0);
	assert_int_equal(raising.times, 2);
	event_signal_raise(&raising.last); /* no more */
	event_signal_destroy(&raising.signal);
	event_signal_destroy(&raising.signal);
	event_loop_destroy(raising.loop);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_free_others),    cmocka_unit_test(test_free_all),
	    cmocka_unit_test(test_replace_others), cmocka_unit_test(test_disable_others),
	    cmocka_unit_test(test_always_ready),   cmocka_unit_test(test_many),
	    cmocka_unit_test(test_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "engine/run/jit/cache/view.h"

#include <errno.h>

#include "engine/run/jit/frame.h"
#include "util/zeroes.h"

#define GLOBAL TLB_CONTEXTS /* the list of global pages */
#define LISTS  (TLB_CONTEXTS + 1)

static size_t pages_size(const struct jit_views *views)
{
	return (size_t)TLB_CONTEXTS * 2 * views->limit * sizeof(*views->pages);
}

static uint64_t *page_at(const struct jit_views *views, unsigned context, bool is_user, unsigned index)
{
	return &views->pages[((size_t)context * 2 + is_user) * views->limit + index];
}

int jit_views_create(struct jit_views *views, unsigned limit)
{
	*views = (struct jit_views){ .limit = limit };
	views->pages = zeroes_map(pages_size(views));
	if (!views->pages)
		return -ENOMEM;
	for (unsigned i = 0; i < LISTS; i++) {
		views->lists[i].used = zeroes_map(limit * sizeof(*views->lists[i].used));
		views->lists[i].is_used = zeroes_map(limit);
		if (!views->lists[i].used || !views->lists[i].is_used)
			return -ENOMEM;
	}
	return 0;
}

void jit_views_destroy(struct jit_views *views)
{
	for (unsigned i = 0; i < LISTS; i++) {
		zeroes_unmap(views->lists[i].used, views->limit * sizeof(*views->lists[i].used));
		zeroes_unmap(views->lists[i].is_used, views->limit);
	}
	zeroes_unmap(views->pages, pages_size(views));
	*views = (struct jit_views){0};
}

static void clear_in(struct jit_views *views, unsigned context, unsigned index)
{
	*page_at(views, context, false, index) = *page_at(views, context, true, index) = 0;
}

static void clear_list(struct jit_views *views, unsigned which)
{
	struct jit_view_list *list = &views->lists[which];

	for (unsigned i = 0; i < list->count; i++) {
		unsigned index = list->used[i];

		list->is_used[index] = 0;
		if (which != GLOBAL)
			clear_in(views, which, index);
		else
			jit_views_new_page(views, index);
	}
	list->count = 0;
}

void jit_views_forget(struct jit_views *views)
{
	for (unsigned i = 0; i < LISTS; i++)
		clear_list(views, i);
}

void jit_views_update(struct jit_views *views, const struct tlb *tlb, struct jit_frame *frame)
{
	unsigned current = tlb->current;

	if (views->global_generation != tlb->global_generation)
		jit_views_forget(views);
	else if (views->losses[current] != tlb->context[current].losses)
		clear_list(views, current);
	views->global_generation = tlb->global_generation;
	views->losses[current] = tlb->context[current].losses;
	views->generation = tlb->generation;
	views->current = current;
	frame->pages[0] = page_at(views, current, false, 0);
	frame->pages[1] = page_at(views, current, true, 0);
}

void jit_views_new_page(struct jit_views *views, unsigned index)
{
	for (unsigned i = 0; i < TLB_CONTEXTS; i++)
		clear_in(views, i, index);
}

void jit_view_add(struct jit_views *views, unsigned index, bool is_user, uint64_t gva, bool is_global)
{
	struct jit_view_list *list = &views->lists[is_global ? GLOBAL : views->current];

	for (unsigned i = 0; i < TLB_CONTEXTS; i++)
		if (is_global || i == views->current)
			*page_at(views, i, is_user, index) = gva + 1;
	if (list->is_used[index])
		return;
	list->is_used[index] = 1;
	list->used[list->count++] = index;
}

bool jit_view_has(const struct jit_views *views, unsigned index, bool is_user, uint64_t gva)
{
	return *page_at(views, views->current, is_user, index) == gva + 1;
}

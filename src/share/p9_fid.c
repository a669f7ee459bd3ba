/* What a 9P peer's numbers for files stand for. */
#include <errno.h>
#include <stdlib.h>

#include "share/p9_call.h"

#define FIDS_MAX (1u << 20)

static struct p9_fid **bucket(struct p9 *p9, uint32_t number)
{
	return &p9->fids[number % P9_BUCKETS];
}

struct p9_fid *p9_fid_find(struct p9 *p9, uint32_t number)
{
	struct p9_fid *fid = *bucket(p9, number);

	while (fid && fid->number != number)
		fid = fid->next;
	return fid;
}

struct p9_fid *p9_fid_of(struct p9_call *call)
{
	uint32_t number = p9_u32(call);

	return call->is_malformed ? NULL : p9_fid_find(call->p9, number);
}

struct p9_fid *p9_fid_create(struct p9 *p9, uint32_t number, struct share_node *node, uint32_t user)
{
	bool may_be = number != P9_NO_FID && p9->fid_count < FIDS_MAX && !p9_fid_find(p9, number);
	struct p9_fid *fid = may_be ? calloc(1, sizeof(*fid)) : NULL, **at = bucket(p9, number);

	if (!fid) {
		node_forget(&p9->fuse.folder, node, 1);
		return NULL;
	}
	*fid = (struct p9_fid){.number = number, .node = node, .user = user, .next = *at};
	*at = fid;
	p9->fid_count++;
	return fid;
}

/* Close what it has open. */
static void close_fid(struct p9 *p9, struct p9_fid *fid)
{
	struct opening *opening;

	if (!fid->is_open)
		return;
	opening = opening_find(&p9->fuse.openings, fid->opening, fid->node->type == S_IFDIR);
	if (opening)
		opening_destroy(&p9->fuse.openings, &p9->fuse.folder, opening);
	fid->is_open = false;
}

void p9_fid_destroy(struct p9 *p9, struct p9_fid *fid)
{
	struct p9_fid **at = bucket(p9, fid->number);

	while (*at != fid)
		at = &(*at)->next;
	*at = fid->next;
	p9->fid_count--;
	close_fid(p9, fid);
	node_forget(&p9->fuse.folder, fid->node, 1);
	free(fid->name);
	free(fid->value);
	free(fid);
}

void p9_fid_destroy_all(struct p9 *p9)
{
	unsigned i;

	for (i = 0; i < P9_BUCKETS; i++)
		while (p9->fids[i])
			p9_fid_destroy(p9, p9->fids[i]);
}

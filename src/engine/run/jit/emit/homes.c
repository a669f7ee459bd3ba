/*
 * What the scratch registers still have of guest registers that live in struct cpu.
 *
 * Who writes such a register stores it in its home at once, so that homes are never behind. But who reads it next
 * need not wait for the store, which takes some five cycles each time in a chain of operations, as long as only
 * instructions on registers have come between. Whatever else uses the scratch registers has them forgotten, and so
 * does every place that is jumped to.
 */
#include "engine/run/jit/emit/translation.h"

static uint8_t *home_in(struct translation *t, unsigned host)
{
	return &t->homes[host - HOST_R13];
}

void homes_forget(struct translation *t)
{
	t->homes[0] = t->homes[1] = 0;
}

uint16_t homes_of(const struct translation *t, uint16_t registers)
{
	for (unsigned i = 0; i < CPU_REGISTERS; i++)
		if (i < HOST_R13 || t->map[i] != HOST_NONE)
			registers &= ~(1u << i);
	return registers;
}

struct home_hosts homes_hosts(const struct translation *t, uint16_t homes)
{
	unsigned needed = guest_home_count(homes);

	return (struct home_hosts){ { t->scratch[0], t->scratch[1] },
				    needed > t->scratch_count ? needed : t->scratch_count };
}

/* One that has nothing, else what the item does not use. */
static unsigned choose(struct translation *t, const struct home_hosts *hosts, uint16_t used)
{
	for (unsigned i = 0; i < hosts->count; i++)
		if (!*home_in(t, hosts->host[i]))
			return hosts->host[i];
	for (unsigned i = 0; i < hosts->count; i++)
		if (!(used >> *home_in(t, hosts->host[i]) & 1))
			return hosts->host[i];
	t->failed = true;
	return hosts->host[0];
}

unsigned emit_home(struct translation *t, unsigned guest, const struct home_hosts *hosts, uint16_t used,
		   bool is_read)
{
	unsigned host;

	for (unsigned i = 0; i < hosts->count; i++)
		if (*home_in(t, hosts->host[i]) == guest)
			return hosts->host[i];
	host = choose(t, hosts, used);
	*home_in(t, host) = guest;
	if (is_read)
		emit_load_state(&t->e, host, home(guest));
	return host;
}

unsigned homes_result(struct translation *t, unsigned guest, const struct home_hosts *hosts)
{
	unsigned host = HOST_NONE;

	for (unsigned i = 0; i < hosts->count; i++)
		if (*home_in(t, hosts->host[i]) == guest)
			host = hosts->host[i];
	for (unsigned i = 0; i < hosts->count && host == HOST_NONE; i++)
		if (!*home_in(t, hosts->host[i]))
			host = hosts->host[i];
	if (host == HOST_NONE)
		host = hosts->host[0];
	*home_in(t, host) = guest;
	return host;
}

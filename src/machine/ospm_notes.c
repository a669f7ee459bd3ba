#include "machine/ospm_notes.h"

#include <stdatomic.h>

static void hear_all(void *context)
{
	struct ospm_notes *notes = context;
	uint64_t ejected = atomic_exchange(&notes->ejected, 0), reported = atomic_exchange(&notes->reported, 0);
	unsigned i;

	for (i = 0; i < OSPM_NOTES_MAX; i++)
		if ((ejected | reported) >> i & 1)
			notes->hear(notes->context, i, reported >> i & 1, ejected >> i & 1);
}

int ospm_notes_init(struct ospm_notes *notes, struct event_loop *loop,
		    void (*hear)(void *context, unsigned number, bool is_reported, bool is_ejected), void *context)
{
	notes->hear = hear;
	notes->context = context;
	return event_signal_init(&notes->signal, loop, hear_all, notes);
}

void ospm_notes_destroy(struct ospm_notes *notes)
{
	event_signal_destroy(&notes->signal);
}

void ospm_note_ejected(struct ospm_notes *notes, unsigned number)
{
	atomic_fetch_or(&notes->ejected, 1ull << number);
	event_signal_raise(&notes->signal);
}

void ospm_note_reported(struct ospm_notes *notes, unsigned number)
{
	atomic_fetch_or(&notes->reported, 1ull << number);
	event_signal_raise(&notes->signal);
}
